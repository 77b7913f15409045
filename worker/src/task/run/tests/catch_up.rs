//! Catching up: wherever events are lost and whenever what is stored is read, everything is told once.

use super::*;
use crate::opencode::events::Part;
use muster_protocol::task::Usage;
use std::collections::{BTreeMap, BTreeSet};

/// A run as events tell it.
struct Told {
    name: &'static str,
    /// The id of the prompt's message.
    prompt: String,
    events: Vec<SessionEvent>,
    /// What is stored after each event, where a text is stored when it is whole, as OpenCode 1.18 does, and where it is stored as it grows.
    stored: [Vec<Stored>; 2],
    /// What a reader knows at the end, the verdict, and the usage, where nothing is lost.
    wanted: (Known, Option<Verdict>, Usage),
}

impl Told {
    fn new(name: &'static str, prompt: &str, events: Vec<SessionEvent>) -> Self {
        let mut run = run(prompt);
        let known = known(&feed(&mut run, &events));
        let wanted = (known, run.verdict().cloned(), run.usage());
        let stored = [false, true].map(|growing| (0..=events.len()).map(|read| Stored::after(&events[..read], growing)).collect());
        Self { name, prompt: prompt.to_owned(), events, stored, wanted }
    }
}

fn part(value: &Value) -> SessionEvent {
    event("message.part.updated", json!({ "part": value }))
}

fn ended_text(id: &str, message: &str, kind: &str, text: &str) -> SessionEvent {
    part(&json!({"id": id, "messageID": message, "type": kind, "text": text, "time": {"start": 1, "end": 2}}))
}

/// A text or reasoning part in pieces.
fn spoken(id: &str, message: &str, kind: &str, pieces: &[&str]) -> Vec<SessionEvent> {
    let mut events = vec![part(&json!({"id": id, "messageID": message, "type": kind, "text": "", "time": {"start": 1}}))];
    events.extend(pieces.iter().map(|piece| delta(id, message, piece)));
    events.push(ended_text(id, message, kind, &pieces.concat()));
    events
}

/// A tool that changes a file, in all its states.
fn edit(id: &str, message: &str) -> Vec<SessionEvent> {
    let state = |status: &str| {
        let metadata = json!({"filepath": "/d/same.txt"});
        part(&json!({"id": id, "messageID": message, "type": "tool", "tool": "write", "callID": id,
            "state": {"status": status, "input": {}, "output": "", "metadata": metadata}}))
    };
    vec![state("pending"), state("running"), state("completed")]
}

fn step(id: &str, message: &str) -> SessionEvent {
    part(&json!({"id": id, "messageID": message, "type": "step-start"}))
}

fn patch(id: &str, message: &str) -> SessionEvent {
    part(&json!({"id": id, "messageID": message, "type": "patch", "files": ["/d/same.txt"]}))
}

/// Two steps that think, speak and change the same file.
fn two_steps() -> Vec<SessionEvent> {
    let mut events = vec![user(), own(Event::Busy), assistant("a", false, None, &Value::Null), step("s1", "a")];
    events.extend(spoken("r", "a", "reasoning", &["hm", " hm"]));
    events.extend(spoken("p", "a", "text", &["one", "", " ü ", "two"]));
    events.extend(edit("t1", "a"));
    events.extend([patch("x1", "a"), assistant("a", true, Some("tool-calls"), &Value::Null), own(Event::Busy)]);
    events.extend([assistant("b", false, None, &Value::Null), step("s2", "b")]);
    events.extend(edit("t2", "b"));
    events.push(patch("x2", "b"));
    events.extend(spoken("q", "b", "text", &["one", " ü ", "one"]));
    events.extend([assistant("b", true, Some("stop"), &Value::Null), own(Event::Idle)]);
    events
}

/// An answer that is broken off twice; OpenCode keeps nothing of the broken texts.
fn broken_off() -> Vec<SessionEvent> {
    let mut events = vec![user(), own(Event::Busy), assistant("a", false, None, &Value::Null)];
    events.extend([text_part("p", "a", ""), delta("p", "a", "bro"), delta("p", "a", "ken"), retry(1, 50, 0), own(Event::Busy)]);
    events.extend([text_part("q", "a", ""), delta("q", "a", "bro"), delta("q", "a", "ken"), retry(2, 60, 0), own(Event::Busy)]);
    events.extend(spoken("r", "a", "text", &["broken", " at", " last"]));
    events.extend([assistant("a", true, Some("stop"), &Value::Null), own(Event::Idle)]);
    events
}

fn runs() -> Vec<Told> {
    let write = recorded(71, 113);
    let Event::Message(prompt) = &write[0].event else { panic!("{:?}", write[0]) };
    let prompt = prompt.id.clone();
    vec![
        Told::new("a recorded text", "msg_2026d8e82001EHp97A52JXiyG6", recorded(0, 28)),
        Told::new("a recorded tool", "msg_2026d9084001dMIiY3xKIAEU1O", recorded(28, 71)),
        Told::new("a recorded write", &prompt, write),
        Told::new("two steps", "msg_u", two_steps()),
        Told::new("broken off", "msg_u", broken_off()),
    ]
}

/// What OpenCode has stored and shows after some events.
#[derive(Default)]
struct Stored {
    messages: Vec<Message>,
    status: Option<Event>,
}

impl Stored {
    fn after(events: &[SessionEvent], growing: bool) -> Self {
        let mut stored = Self::default();
        for event in events {
            match &event.event {
                Event::Message(info) => match stored.messages.iter_mut().find(|message| message.info.id == info.id) {
                    Some(known) => known.info = (**info).clone(),
                    None => stored.messages.push(Message { info: (**info).clone(), parts: Vec::new() }),
                },
                Event::Part(part) => stored.put(part),
                Event::Delta { part, delta, .. } if growing => {
                    let parts = stored.messages.iter_mut().flat_map(|message| &mut message.parts);
                    parts.filter(|known| known.id == *part).for_each(|known| known.text.push_str(delta));
                }
                Event::Busy | Event::Retry { .. } => stored.status = Some(event.event.clone()),
                Event::Idle => stored.status = None,
                _ => {}
            }
        }
        stored
    }

    fn put(&mut self, part: &Part) {
        let Some(message) = self.messages.iter_mut().find(|message| message.info.id == part.message_id) else { return };
        match message.parts.iter_mut().find(|known| known.id == part.id) {
            Some(known) => *known = part.clone(),
            None => message.parts.push(part.clone()),
        }
    }

    /// Gives it to the run, as the executor does.
    fn show(&self, run: &mut Run, prompt: &str) -> Vec<Action> {
        let mut actions = Vec::new();
        if let Some(retry @ Event::Retry { .. }) = &self.status {
            actions.extend(run.on_retry_shown(retry, 0));
        }
        let from = self.messages.iter().position(|message| message.info.id == prompt);
        actions.extend(run.observe(from.map(|from| &self.messages[from..]), self.status.is_some(), 0));
        actions
    }
}

/// What a reader of the stream knows at the end: texts without those that were broken off, tools, files, usage.
#[derive(Debug, PartialEq)]
struct Known {
    texts: BTreeMap<String, String>,
    tools: BTreeMap<String, String>,
    files: Vec<Value>,
    usage: Option<Value>,
}

fn known(actions: &[Action]) -> Known {
    let mut texts = BTreeMap::<String, String>::new();
    for action in actions {
        if let Action::Say { part, delta, .. } = action {
            texts.entry(part.clone()).or_default().push_str(delta);
        }
    }
    let notes = told(actions, &EntryKind::Status);
    let discards: BTreeSet<&str> =
        notes.iter().filter_map(|note| note["discards"].as_array()).flatten().filter_map(Value::as_str).collect();
    texts.retain(|part, text| !discards.contains(part.as_str()) && !text.is_empty());
    let mut tools = BTreeMap::<String, String>::new();
    for call in told(actions, &EntryKind::Tool) {
        let states = tools.entry(call["call"].as_str().unwrap().to_owned()).or_default();
        states.push_str(call["state"].as_str().unwrap());
        states.push(' ');
    }
    Known { texts, tools, files: told(actions, &EntryKind::File), usage: told(actions, &EntryKind::Usage).last().cloned() }
}

/// Which events are lost, and when what is stored is read.
#[derive(Debug, Clone, Copy)]
struct Cut {
    from: usize,
    to: usize,
    read: usize,
    growing: bool,
    /// Whether the run is told of it; else it reads by itself, and nothing is lost.
    gap: bool,
}

fn follow(told: &Told, cuts: &[Cut]) -> (Vec<Action>, Run) {
    let mut run = run(&told.prompt);
    let mut actions = Vec::new();
    let mut at = 0;
    for cut in cuts {
        actions.extend(feed(&mut run, &told.events[at..cut.from]));
        if cut.gap && run.verdict().is_none() {
            assert_eq!(feed(&mut run, &[own(Event::Gap)]), [Action::Recheck]);
        }
        actions.extend(told.stored[usize::from(cut.growing)][cut.read].show(&mut run, &told.prompt));
        at = cut.to;
    }
    actions.extend(feed(&mut run, &told.events[at..]));
    (actions, run)
}

fn ensure_told_once(told: &Told, cuts: &[Cut]) {
    let (actions, run) = follow(told, cuts);
    let (wanted, verdict, usage) = &told.wanted;
    let found = known(&actions);
    let case = || format!("{} with {cuts:?}", told.name);
    assert_eq!(found.texts, wanted.texts, "{}", case());
    assert_eq!((&found.files, &found.usage), (&wanted.files, &wanted.usage), "{}", case());
    assert_eq!((run.verdict(), &run.usage()), (verdict.as_ref(), usage), "{}", case());
    ensure_retries_told_once(&actions, &case());
    for (call, states) in &wanted.tools {
        let found = found.tools.get(call).unwrap_or_else(|| panic!("{call} is not told: {}", case()));
        let mut rest = states.split(' ');
        assert!(found.split(' ').all(|state| rest.any(|wanted| wanted == state)), "{call} is told as {found}: {}", case());
        assert_eq!(found.contains("completed"), states.contains("completed"), "{call}: {}", case());
    }
}

/// A retry is told again only where that takes back what was said since.
fn ensure_retries_told_once(actions: &[Action], case: &str) {
    let mut known = BTreeSet::new();
    for note in told(actions, &EntryKind::Status).iter().filter(|note| note["retry"].is_number()) {
        let is_news = known.insert(note["retry"].as_u64());
        assert!(is_news || note["discards"].is_array(), "told twice: {note}: {case}");
    }
}

/// Every way to lose the events `from..to` and to read what is stored after `read`; `to` is where the new connection begins.
fn every_cut(length: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..=length).flat_map(move |from| (from..=length).flat_map(move |to| (to..=length).map(move |read| (from, to, read))))
}

#[test]
fn wherever_events_are_lost_and_whenever_what_is_stored_is_read_everything_is_told_once() {
    for told in runs() {
        for (from, to, read) in every_cut(told.events.len()) {
            ensure_told_once(&told, &[Cut { from, to, read, growing: false, gap: true }]);
            // Of what is broken off only that nothing of it is kept tells, so it must not be stored as it grows.
            if told.name == "two steps" {
                ensure_told_once(&told, &[Cut { from, to, read, growing: true, gap: true }]);
            }
        }
    }
}

#[test]
fn what_is_stored_may_be_read_at_any_time_although_no_event_is_lost() {
    for told in runs() {
        for (from, _, read) in every_cut(told.events.len()).filter(|(from, to, _)| from == to) {
            ensure_told_once(&told, &[Cut { from, to: from, read, growing: false, gap: false }]);
            if told.name != "broken off" {
                ensure_told_once(&told, &[Cut { from, to: from, read, growing: true, gap: false }]);
            }
        }
    }
}

#[test]
fn a_stream_that_is_cut_twice_is_caught_up_twice() {
    for told in runs() {
        let length = told.events.len();
        // Every first loss of up to three events with every second one of as many, read at once and late.
        for (from, again) in (0..=length).flat_map(|from| (from..=length).map(move |again| (from, again))) {
            for lost in 0..=3 {
                let (to, to_again) = ((from + lost).min(length), (again.max(from + lost) + lost).min(length));
                let late = |to: usize| (to + 2).min(length);
                let first = Cut { from, to, read: late(to), growing: false, gap: true };
                let second = Cut { from: again.max(to), to: to_again.max(again.max(to)), read: late(to_again), growing: false, gap: true };
                ensure_told_once(&told, &[first, Cut { read: second.read.max(second.to), ..second }]);
            }
        }
    }
}

#[test]
fn after_a_gap_nothing_is_said_twice_and_nothing_is_left_out() {
    let mut run = accepted();
    let start = [assistant("a", false, None, &Value::Null), text_part("p", "a", ""), delta("p", "a", "one ")];
    let mut actions = feed(&mut run, &start);
    let gap = feed(&mut run, &[own(Event::Gap)]);
    assert_eq!(gap, [Action::Recheck]);
    // A piece after the gap cannot be placed; the whole text can.
    actions.extend(feed(&mut run, &[delta("p", "a", "three"), text_part("p", "a", "one two three")]));
    let stored: Vec<Message> = serde_json::from_value(json!([
        {"info": {"id": "msg_u", "role": "user", "time": {"created": 10}}, "parts": []},
        {"info": {"id": "a", "role": "assistant", "time": {"created": 11, "completed": 12}, "finish": "stop"},
         "parts": [{"id": "p", "messageID": "a", "type": "text", "text": "one two three"}, {"id": "q", "messageID": "a", "type": "text", "text": " four"}]}]))
    .unwrap();
    actions.extend(run.observe(Some(&stored), false, 5));
    assert_eq!(said(&actions), "one two three four");
    assert_eq!(run.verdict(), Some(&Verdict::Answered("a".to_owned())));
}

#[test]
fn a_look_that_fails_after_a_gap_is_repeated_before_the_run_is_over() {
    let mut run = accepted();
    assert_eq!(feed(&mut run, &[own(Event::Gap)]), [Action::Recheck]);
    // The answer itself came in the gap, and what is stored could not be read.
    let mut actions =
        feed(&mut run, &[ended_text("p", "a", "text", "all"), assistant("a", true, Some("stop"), &Value::Null), own(Event::Idle)]);
    assert_eq!(run.verdict(), None, "what was said in the gap is not told yet");
    assert_eq!(run.on_tick(1_500), [Action::Recheck]);
    let events = [user(), assistant("a", true, Some("stop"), &Value::Null), ended_text("p", "a", "text", "all"), own(Event::Idle)];
    actions.extend(Stored::after(&events, false).show(&mut run, "msg_u"));
    assert_eq!((said(&actions).as_str(), run.verdict()), ("all", Some(&Verdict::Answered("a".to_owned()))));
}
