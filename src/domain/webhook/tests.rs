//! Which addresses are public, and how long is waited after what.

use super::{LONGEST_PAUSE, MOST_FAILURES, MOST_REFUSALS, Try, is_public};
use std::time::Duration;

#[test]
fn only_addresses_of_the_public_internet_are_public() {
    let public = [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.0",
        "192.0.1.0",
        "192.167.255.255",
        "192.169.0.0",
        "198.17.255.255",
        "198.20.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2001:200::1",
        "2a00:1450::1",
        "3fff:1000::1",
    ];
    for address in public {
        assert!(is_public(address.parse().unwrap()), "{address}");
    }
    let others = [
        ("this network", "0.0.0.0"),
        ("this network", "0.1.2.3"),
        ("private", "10.0.0.1"),
        ("private", "172.16.0.1"),
        ("private", "172.31.255.255"),
        ("private", "192.168.1.1"),
        ("a provider's", "100.64.0.1"),
        ("a provider's", "100.127.255.255"),
        ("loopback", "127.0.0.1"),
        ("loopback", "127.255.255.254"),
        ("link-local", "169.254.169.254"),
        ("assignments", "192.0.0.8"),
        ("documentation", "192.0.2.1"),
        ("documentation", "198.51.100.1"),
        ("documentation", "203.0.113.1"),
        ("relays", "192.88.99.1"),
        ("benchmarks", "198.18.0.1"),
        ("benchmarks", "198.19.255.255"),
        ("multicast", "224.0.0.1"),
        ("multicast", "239.255.255.255"),
        ("reserved", "240.0.0.1"),
        ("broadcast", "255.255.255.255"),
        ("unspecified", "::"),
        ("loopback", "::1"),
        ("mapped", "::ffff:127.0.0.1"),
        ("mapped", "::ffff:10.0.0.1"),
        ("mapped, though public", "::ffff:8.8.8.8"),
        ("compatible", "::127.0.0.1"),
        ("translated", "::ffff:0:127.0.0.1"),
        ("NAT64", "64:ff9b::7f00:1"),
        ("NAT64 of a network", "64:ff9b:1::7f00:1"),
        ("discarded", "100::1"),
        ("Teredo", "2001::1"),
        ("benchmarks", "2001:2::1"),
        ("ORCHID", "2001:20::1"),
        ("documentation", "2001:db8::1"),
        ("documentation", "3fff::1"),
        ("6to4", "2002:7f00:1::1"),
        ("segment routing", "5f00::1"),
        ("unique local", "fc00::1"),
        ("unique local", "fd12:3456::1"),
        ("link-local", "fe80::1"),
        ("site-local", "fec0::1"),
        ("multicast", "ff02::1"),
    ];
    for (what, address) in others {
        assert!(!is_public(address.parse().unwrap()), "{what}: {address}");
    }
}

#[test]
fn an_answer_means_taken_later_not_like_this_or_never() {
    let cases = [
        (Try::Taken, [200, 202, 204].as_slice()),
        (Try::Failed, &[408, 425, 429, 500, 502, 503, 599]),
        (Try::Refused, &[100, 301, 302, 307, 400, 401, 403, 404, 413, 422, 600]),
        (Try::Gone, &[410]),
    ];
    for (wanted, statuses) in cases {
        for status in statuses {
            assert_eq!(Try::of_status(*status), wanted, "{status}");
        }
    }
}

#[test]
fn pauses_double_up_to_an_hour_and_end_after_half_a_day() {
    let pause = |failures, random| Try::Failed.pause(failures, None, random).unwrap();
    assert_eq!(pause(1, 0), Duration::from_millis(500));
    assert_eq!(pause(4, 0), Duration::from_secs(4));
    assert!(pause(4, 999) > Duration::from_millis(7_990) && pause(4, 999) <= Duration::from_secs(8));
    assert_eq!(pause(MOST_FAILURES - 1, 0), LONGEST_PAUSE / 2);
    assert_eq!(Try::Failed.pause(MOST_FAILURES, None, 0), None);
    let all: Duration = (1..MOST_FAILURES).map(|failures| pause(failures, 500)).sum();
    assert!(all > Duration::from_hours(12) && all < Duration::from_hours(16), "{all:?}");
}

#[test]
fn a_refusal_is_given_up_soon_and_what_is_gone_at_once() {
    assert!(Try::Refused.pause(MOST_REFUSALS - 1, None, 0).is_some());
    assert_eq!(Try::Refused.pause(MOST_REFUSALS, None, 0), None);
    assert_eq!(Try::Gone.pause(1, Some(Duration::from_secs(1)), 0), None);
}

#[test]
fn a_receiver_is_left_alone_as_long_as_it_asks_for_within_an_hour() {
    let asked = |seconds| Try::Failed.pause(1, Some(Duration::from_secs(seconds)), 0).unwrap();
    assert_eq!(asked(30), Duration::from_secs(30));
    assert_eq!(asked(0), Duration::from_millis(500));
    assert_eq!(asked(86_400), LONGEST_PAUSE);
}
