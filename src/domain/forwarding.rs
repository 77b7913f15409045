//! Which machine of a peer gets work that no worker here can take.

use super::matching::{Needs, Offer, misfits};
use muster_protocol::ids::WorkerId;
use muster_protocol::peer::PeerMachine;
use std::collections::BTreeMap;

/// A machine of a peer.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The name under which it is reached here.
    pub agent: String,
    /// Its server.
    pub server: String,
    /// What it has.
    pub machine: PeerMachine,
}

/// The machine that can do what is needed: of the server with the most free capacity, and there the one with the most. `codebase` is the name of the
/// one where it must run.
#[must_use]
pub fn choose<'a>(needs: &Needs, codebase: Option<&str>, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
    let mut free: BTreeMap<&str, u32> = BTreeMap::new();
    for candidate in candidates {
        *free.entry(&candidate.server).or_default() += candidate.machine.free;
    }
    let fitting = candidates.iter().filter(|candidate| fits(needs, codebase, candidate));
    fitting.max_by_key(|candidate| {
        let of_server = free.get(candidate.server.as_str()).copied().unwrap_or(0);
        // Among equals the first by name, so that the choice can be told.
        (candidate.machine.free > 0, of_server, candidate.machine.free, std::cmp::Reverse(&candidate.agent))
    })
}

fn fits(needs: &Needs, codebase: Option<&str>, candidate: &Candidate) -> bool {
    let machine = &candidate.machine;
    let id = WorkerId(candidate.agent.clone());
    let offer = Offer { worker: &id, capabilities: &machine.capabilities, labels: &machine.labels, models: &machine.models };
    misfits(needs, &offer).is_empty() && codebase.is_none_or(|name| machine.codebases.iter().any(|own| own == name))
}

#[cfg(test)]
mod tests {
    use super::{Candidate, choose};
    use crate::domain::matching::Needs;
    use muster_protocol::peer::PeerMachine;

    fn candidate(agent: &str, server: &str, free: u32, model: &str) -> Candidate {
        let machine = PeerMachine {
            capabilities: vec!["opencode".to_owned()],
            models: vec![model.to_owned()],
            codebases: vec!["web".to_owned()],
            slots: 4,
            free,
            ..PeerMachine::default()
        };
        Candidate { agent: agent.to_owned(), server: server.to_owned(), machine }
    }

    fn chosen(needs: &Needs, codebase: Option<&str>) -> Option<String> {
        let all = [
            candidate("b1", "B", 1, "x/m"),
            candidate("c1", "C", 2, "x/m"),
            candidate("c2", "C", 3, "x/m"),
            candidate("d1", "D", 4, "x/n"),
        ];
        choose(needs, codebase, &all).map(|chosen| chosen.agent.clone())
    }

    #[test]
    fn the_server_with_the_most_free_capacity_comes_first() {
        let needs = Needs { model: Some("x/m".to_owned()), mode: "build".to_owned(), ..Needs::default() };
        assert_eq!(chosen(&needs, None).as_deref(), Some("c2"));
        assert_eq!(chosen(&needs, Some("web")).as_deref(), Some("c2"));
        assert_eq!(chosen(&needs, Some("other")), None);
        let needs = Needs { model: Some("x/n".to_owned()), ..needs };
        assert_eq!(chosen(&needs, None).as_deref(), Some("d1"));
        let needs = Needs { capabilities: vec!["gpu".to_owned()], ..needs };
        assert_eq!(chosen(&needs, None), None);
    }
}
