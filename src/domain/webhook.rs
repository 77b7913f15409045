//! Webhooks: which addresses may be called, and what follows a try in vain.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// The pause after the first try in vain; each further one doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause, also where the receiver asks for a longer one.
pub const LONGEST_PAUSE: Duration = Duration::from_hours(1);
/// After so many tries in vain, about half a day, a receiver is given up.
pub const MOST_FAILURES: u32 = 30;
/// After so many refusals, about a quarter of a minute, it is given up: they will hardly end by themselves.
pub const MOST_REFUSALS: u32 = 5;

/// Networks of IPv4 that are not public, and the bits of their prefixes.
const NOT_PUBLIC_V4: [([u8; 4], u32); 15] = [
    // This network, loopback, link-local (where clouds tell machines their credentials).
    ([0, 0, 0, 0], 8),
    ([127, 0, 0, 0], 8),
    ([169, 254, 0, 0], 16),
    // Private, and shared by the customers of a provider.
    ([10, 0, 0, 0], 8),
    ([172, 16, 0, 0], 12),
    ([192, 168, 0, 0], 16),
    ([100, 64, 0, 0], 10),
    // Protocol assignments, documentation, relays of 6to4, benchmarks.
    ([192, 0, 0, 0], 24),
    ([192, 0, 2, 0], 24),
    ([198, 51, 100, 0], 24),
    ([203, 0, 113, 0], 24),
    ([192, 88, 99, 0], 24),
    ([198, 18, 0, 0], 15),
    // Multicast; reserved, with broadcast.
    ([224, 0, 0, 0], 4),
    ([240, 0, 0, 0], 4),
];

/// Global unicast of IPv6: the first two groups, and the bits of the prefix.
const GLOBAL_V6: (u16, u16, u32) = (0x2000, 0, 3);
/// What of it is not public: protocol assignments (with Teredo, benchmarks, ORCHID), documentation, 6to4.
const NOT_PUBLIC_V6: [(u16, u16, u32); 4] = [(0x2001, 0, 23), (0x2001, 0x0db8, 32), (0x3fff, 0, 20), (0x2002, 0, 16)];

/// What became of a try, by the status of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Try {
    /// It was taken.
    Taken,
    /// It may be taken later.
    Failed,
    /// It is not wanted as it is.
    Refused,
    /// Nothing is wanted there any more.
    Gone,
}

impl Try {
    /// What an answer's status means. Redirects are not followed, so they are refusals.
    #[must_use]
    pub fn of_status(status: u16) -> Self {
        match status {
            200..=299 => Self::Taken,
            408 | 425 | 429 | 500..=599 => Self::Failed,
            410 => Self::Gone,
            _ => Self::Refused,
        }
    }

    /// The pause after this try, the `failures`-th in vain in a row; `None` when the receiver is given up. `asked` is what the receiver asked
    /// for; `random` is any number, so that those who fail together do not come back together.
    #[must_use]
    pub fn pause(self, failures: u32, asked: Option<Duration>, random: u64) -> Option<Duration> {
        let most = match self {
            Self::Taken => return Some(Duration::ZERO),
            Self::Failed => MOST_FAILURES,
            Self::Refused => MOST_REFUSALS,
            Self::Gone => return None,
        };
        if failures >= most {
            return None;
        }
        let doublings = failures.saturating_sub(1).min(16);
        let full = FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
        // From a half to the whole of it.
        let part = u32::try_from(random % 1_000).unwrap_or(0);
        let pause = full / 2 + full / 2 * part / 1_000;
        Some(asked.map_or(pause, |asked| asked.min(LONGEST_PAUSE).max(pause)))
    }
}

/// Whether an address is one of the public internet: not of this machine, of a network around it, or reserved.
///
/// The ranges are those of the IANA registries of special-purpose addresses (RFC 6890) and of multicast. Of IPv6 only global unicast is public;
/// an address that only carries one of IPv4 (mapped, compatible, NAT64, 6to4, Teredo) is not, whatever it carries.
#[must_use]
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    NOT_PUBLIC_V4.iter().all(|([a, b, c, d], bits)| {
        let network = Ipv4Addr::new(*a, *b, *c, *d).to_bits();
        (address.to_bits() ^ network) >> (32 - bits) != 0
    })
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let is_in = |(first, second, bits): &(u16, u16, u32)| {
        let network = (u32::from(*first) << 16) | u32::from(*second);
        let [a, b, ..] = address.segments();
        (((u32::from(a) << 16) | u32::from(b)) ^ network).checked_shr(32 - bits).unwrap_or(0) == 0
    };
    is_in(&GLOBAL_V6) && !NOT_PUBLIC_V6.iter().any(is_in)
}

#[cfg(test)]
mod tests;
