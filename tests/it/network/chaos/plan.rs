//! What is to happen, made from a seed.

/// How many servers there are.
pub(super) const SERVERS: usize = 4;
/// How much happens.
const ACTS: usize = 36;

/// What happens to the server with this index, if it can.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// So much happens there.
    Events(usize, usize),
    /// It is started; where it was not before, it joins one of the others.
    Start(usize),
    /// It is ended as it should.
    Stop(usize),
    /// It is ended in the middle of what it does.
    Kill(usize),
    /// Nobody gets through to it, and all that are connected to it lose it.
    Cut(usize),
    /// They get through again.
    Mend(usize),
    /// It neither answers nor goes away.
    Hold(usize),
    /// It goes on.
    Release(usize),
    /// Its directory is copied.
    Copy(usize),
    /// Its directory is what was copied.
    Restore(usize),
    /// Its directory is emptied.
    Wipe(usize),
    /// A second one is started on a copy of its directory; the one of before is ended.
    Clone(usize),
    /// Time goes by, in hundredths of a second.
    Wait(usize),
}

/// `splitmix64`: the same numbers for a seed for ever.
struct Dice(u64);

impl Dice {
    fn below(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % (sides as u64)).unwrap_or(0)
    }
}

/// The acts of a seed.
pub(super) fn plan(seed: u64) -> Vec<Act> {
    let mut dice = Dice(seed);
    let first = dice.below(SERVERS);
    let mut acts = vec![Act::Start(first), Act::Events(first, 5), Act::Start((first + 1) % SERVERS), Act::Start((first + 2) % SERVERS)];
    for _ in 0..ACTS {
        let who = dice.below(SERVERS);
        acts.push(match dice.below(24) {
            0..7 => Act::Events(who, 1 + dice.below(30)),
            7..11 => Act::Start(who),
            11 => Act::Stop(who),
            12 | 13 => Act::Kill(who),
            14 | 15 => Act::Cut(who),
            16 => Act::Mend(who),
            17 => Act::Hold(who),
            18 => Act::Release(who),
            19 => Act::Copy(who),
            20 => Act::Restore(who),
            21 => Act::Wipe(who),
            22 => Act::Clone(who),
            _ => Act::Wait(dice.below(300)),
        });
    }
    acts
}
