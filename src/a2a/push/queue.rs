//! Whose turn it is. Receivers take turns, and those whose last try was in vain have a lane of their own: one that is slow or dead, or has a
//! thousand webhooks, holds up nobody else. Nor does a host that is a thousand receivers, by as many ports: it never has more than half a lane.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// How many requests may be under way at once, and how many of them to one receiver.
const MOST: usize = 64;
const MOST_TO_ONE: usize = 16;
/// Beside these, how many to receivers whose last try was in vain, and how many of them to one.
const MOST_FAILING: usize = 16;
const MOST_TO_FAILING: usize = 2;
/// How many to one host, whatever its ports, of what a lane takes: one of so many.
const SHARE_OF_HOST: usize = 2;
/// How many may be under way in all.
pub(super) const MOST_AT_ONCE: usize = MOST + MOST_FAILING;
/// How many receivers are remembered that nothing waits for.
const MOST_REMEMBERED: usize = 1_024;

/// What waits, by receiver (scheme, host and port).
#[derive(Debug)]
pub(super) struct Queue<T> {
    receivers: HashMap<Arc<str>, Receiver<T>>,
    good: Lane,
    failing: Lane,
}

#[derive(Debug)]
struct Lane {
    /// Receivers that may get another request, each once.
    turns: VecDeque<Arc<str>>,
    running: usize,
    most: usize,
    /// Hosts to which something is under way.
    hosts: HashMap<String, Host>,
}

#[derive(Debug, Default)]
struct Host {
    running: usize,
    /// Receivers whose turn it is and that wait for another one of this host to be done.
    parked: VecDeque<Arc<str>>,
}

#[derive(Debug)]
struct Receiver<T> {
    waiting: VecDeque<T>,
    running: usize,
    is_failing: bool,
    has_turn: bool,
}

/// Something that runs.
#[derive(Debug, Clone)]
pub(super) struct Ticket {
    receiver: Arc<str>,
    was_failing: bool,
}

impl Ticket {
    /// Whether it is for this receiver.
    pub(super) fn is_for(&self, receiver: &Arc<str>) -> bool {
        self.receiver == *receiver
    }
}

impl<T> Default for Receiver<T> {
    fn default() -> Self {
        Self { waiting: VecDeque::new(), running: 0, is_failing: false, has_turn: false }
    }
}

impl<T> Receiver<T> {
    fn may_run(&self) -> bool {
        let most = if self.is_failing { MOST_TO_FAILING } else { MOST_TO_ONE };
        !self.has_turn && !self.waiting.is_empty() && self.running < most
    }

    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running == 0
    }
}

impl Lane {
    /// The receiver whose turn it is, if there is room.
    fn take(&mut self) -> Option<Arc<str>> {
        while self.running < self.most {
            let name = self.turns.pop_front()?;
            let host = self.hosts.entry(host_of(&name).to_owned()).or_default();
            if host.running < self.most / SHARE_OF_HOST {
                host.running += 1;
                self.running += 1;
                return Some(name);
            }
            host.parked.push_back(name);
        }
        None
    }

    /// Gives back what was taken.
    fn give_back(&mut self, name: &str) {
        self.running = self.running.saturating_sub(1);
        let Some(host) = self.hosts.get_mut(host_of(name)) else { return };
        host.running = host.running.saturating_sub(1);
        self.turns.extend(host.parked.pop_front());
        if host.running == 0 && host.parked.is_empty() {
            self.hosts.remove(host_of(name));
        }
    }
}

/// A receiver without its scheme and port.
fn host_of(receiver: &str) -> &str {
    let (_, authority) = receiver.split_once("://").unwrap_or(("", receiver));
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => authority,
    }
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        let lane = |most| Lane { turns: VecDeque::new(), running: 0, most, hosts: HashMap::new() };
        Self { receivers: HashMap::new(), good: lane(MOST), failing: lane(MOST_FAILING) }
    }
}

impl<T> Queue<T> {
    /// Puts something at the end of what waits for a receiver.
    pub(super) fn push(&mut self, receiver: &Arc<str>, item: T) {
        self.receivers.entry(Arc::clone(receiver)).or_default().waiting.push_back(item);
        self.give_turn(receiver);
    }

    /// What is next; it runs until it is done.
    pub(super) fn next(&mut self) -> Option<(Ticket, T)> {
        for was_failing in [false, true] {
            let lane = if was_failing { &mut self.failing } else { &mut self.good };
            let Some(name) = lane.take() else { continue };
            let item = self.receivers.get_mut(&name).and_then(|receiver| {
                receiver.has_turn = false;
                let item = receiver.waiting.pop_front()?;
                receiver.running += 1;
                Some(item)
            });
            let Some(item) = item else {
                lane.give_back(&name);
                continue;
            };
            self.give_turn(&name);
            return Some((Ticket { receiver: name, was_failing }, item));
        }
        None
    }

    /// Something that ran is done: whether in vain, if anything was sent at all.
    pub(super) fn done(&mut self, ticket: &Ticket, failed: Option<bool>) {
        let lane = if ticket.was_failing { &mut self.failing } else { &mut self.good };
        lane.give_back(&ticket.receiver);
        if let Some(receiver) = self.receivers.get_mut(&ticket.receiver) {
            receiver.running = receiver.running.saturating_sub(1);
            receiver.is_failing = failed.unwrap_or(receiver.is_failing);
            if receiver.is_idle() && !receiver.is_failing {
                self.receivers.remove(&ticket.receiver);
            }
        }
        if self.receivers.len() > MOST_REMEMBERED {
            self.receivers.retain(|_, receiver| !receiver.is_idle());
        }
        self.give_turn(&ticket.receiver);
    }

    fn give_turn(&mut self, name: &Arc<str>) {
        let Some(receiver) = self.receivers.get_mut(name).filter(|receiver| receiver.may_run()) else { return };
        receiver.has_turn = true;
        let lane = if receiver.is_failing { &mut self.failing } else { &mut self.good };
        lane.turns.push_back(Arc::clone(name));
    }
}

#[cfg(test)]
mod tests {
    use super::{MOST, MOST_FAILING, MOST_REMEMBERED, MOST_TO_FAILING, MOST_TO_ONE, Queue, Ticket, host_of};
    use std::sync::Arc;

    fn all_next(queue: &mut Queue<usize>) -> Vec<(Ticket, usize)> {
        std::iter::from_fn(|| queue.next()).collect()
    }

    fn receivers(count: usize) -> Vec<Arc<str>> {
        (0..count).map(|n| n.to_string().into()).collect()
    }

    #[test]
    fn receivers_take_turns_and_each_keeps_its_order() {
        let (mut queue, names) = (Queue::default(), receivers(2));
        for n in 0..3 {
            queue.push(&names[0], n);
        }
        queue.push(&names[1], 10);
        let order: Vec<_> = all_next(&mut queue).into_iter().map(|(_, item)| item).collect();
        assert_eq!(order, [0, 10, 1, 2]);
    }

    #[test]
    fn a_thousand_for_one_receiver_leave_room_for_the_others() {
        let (mut queue, names) = (Queue::default(), receivers(2));
        for n in 0..1_000 {
            queue.push(&names[0], n);
        }
        let running = all_next(&mut queue);
        assert_eq!(running.len(), MOST_TO_ONE);
        queue.push(&names[1], 1);
        assert_eq!(queue.next().map(|(_, item)| item), Some(1));
        // Once it fails it gets two at a time.
        for (ticket, _) in &running {
            queue.done(ticket, Some(true));
        }
        let running = all_next(&mut queue);
        assert_eq!(running.len(), MOST_TO_FAILING);
        queue.done(&running[0].0, Some(false));
        assert_eq!(all_next(&mut queue).len(), MOST_TO_ONE - 1);
    }

    #[test]
    fn failing_receivers_leave_all_the_room_to_the_good_ones() {
        let (mut queue, names) = (Queue::default(), receivers(2 * MOST));
        for name in &names {
            queue.push(name, 0);
        }
        let first = all_next(&mut queue);
        assert_eq!(first.len(), MOST);
        for (ticket, _) in &first {
            queue.done(ticket, Some(true));
            queue.push(&ticket.receiver, 1);
        }
        let next = all_next(&mut queue);
        let again = next.iter().filter(|(_, item)| *item == 1).count();
        assert_eq!((next.len(), again), (MOST + MOST_FAILING, MOST_FAILING));
    }

    #[test]
    fn a_host_of_many_ports_leaves_half_of_each_lane_to_the_others() {
        let ports = (1..=1_000).map(|port| format!("http://one:{port}").into()).collect::<Vec<Arc<str>>>();
        let (mut queue, other) = (Queue::default(), Arc::<str>::from("http://other"));
        for name in &ports {
            queue.push(name, 1);
        }
        let mut first = all_next(&mut queue);
        assert_eq!(first.len(), MOST / 2);
        queue.push(&other, 2);
        assert_eq!(all_next(&mut queue).len(), 1);
        // They fail: half of the other lane is theirs, and the place of each that is done is taken by the next one.
        for (ticket, _) in first.drain(..) {
            queue.done(&ticket, Some(true));
            queue.push(&ticket.receiver, 3);
        }
        let next = all_next(&mut queue);
        let failing = next.iter().filter(|(_, item)| *item == 3).count();
        assert_eq!((next.len(), failing), (MOST / 2 + MOST_FAILING / 2, MOST_FAILING / 2));
        // In the end each had its turn, and nothing of the host is left.
        let mut done = 33;
        let mut running = next;
        while let Some((ticket, item)) = running.pop() {
            queue.done(&ticket, Some(false));
            done += usize::from(item == 1);
            running.extend(all_next(&mut queue));
        }
        assert_eq!(done, 1_001);
        assert!(queue.receivers.len() <= 1 && queue.failing.hosts.is_empty());
        assert!(queue.good.hosts.len() <= 1 && queue.good.turns.is_empty());
    }

    #[test]
    fn a_host_is_known_by_any_of_its_addresses() {
        for name in ["http://h:81", "https://h", "https://h:8443"] {
            assert_eq!(host_of(name), "h", "{name}");
        }
        assert_eq!((host_of("http://[::1]:80"), host_of("http://[::1]"), host_of("")), ("[::1]", "[::1]", ""));
    }

    #[test]
    fn receivers_without_anything_are_forgotten() {
        let (mut queue, names) = (Queue::default(), receivers(2 * MOST_REMEMBERED));
        for name in &names {
            queue.push(name, 0);
            let (ticket, _) = queue.next().unwrap();
            queue.done(&ticket, Some(true));
        }
        assert!(queue.receivers.len() <= MOST_REMEMBERED && queue.good.turns.is_empty() && queue.good.running == 0);
    }
}
