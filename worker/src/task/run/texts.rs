//! Texts and reasoning of the answers: each byte is said once, whether it comes in pieces, as a whole, or is read from what is stored.
//!
//! What is stored runs ahead of the events that still wait to be read. So two places are kept of each text: how much of it is said,
//! and how far the events have come in it; a piece is said as far as it goes beyond what is said.

use super::Action;
use crate::opencode::events::Part;
use muster_protocol::stream::EntryKind;
use std::collections::HashMap;

/// Where the whole of a part comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From an event, in its turn.
    Event,
    /// From what is stored: it may be ahead of the events, or tell what they have missed.
    Stored,
}

/// All texts of a run, by part.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<String, Text>);

#[derive(Debug)]
struct Text {
    kind: EntryKind,
    message: String,
    said: String,
    heard: Heard,
    /// Nothing is added to it any more: it is whole, or was broken off.
    ended: bool,
    /// OpenCode has kept something of it.
    kept: bool,
}

/// How far the events have come in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// No event has told of it yet.
    Nothing,
    /// Up to this byte.
    UpTo(usize),
    /// Nobody knows: some are missing. Only a whole text tells.
    Unclear,
}

impl Texts {
    /// Some events are missing.
    pub(super) fn doubt(&mut self) {
        let heard = self.0.values_mut().map(|text| &mut text.heard).filter(|heard| **heard != Heard::Nothing);
        heard.for_each(|heard| *heard = Heard::Unclear);
    }

    /// A piece of a text. Pieces of unknown parts are left out: the whole comes at the end.
    pub(super) fn on_delta(&mut self, part: &str, delta: &str, actions: &mut Vec<Action>) {
        let Some(text) = self.0.get_mut(part).filter(|text| !text.ended) else { return };
        let Heard::UpTo(from) = text.heard else { return };
        let known = text.said.len().saturating_sub(from).min(delta.len());
        text.heard = match delta.get(known..) {
            Some(news) => {
                text.say(part, news, actions);
                Heard::UpTo(from + delta.len())
            }
            // It is not what was said in its place.
            None => Heard::Unclear,
        };
    }

    /// A text as it is.
    pub(super) fn on_whole(&mut self, part: &Part, kind: EntryKind, source: Source, actions: &mut Vec<Action>) {
        let text = self.0.entry(part.id.clone()).or_insert_with(|| Text::new(kind, &part.message_id));
        text.ended |= !part.time["end"].is_null();
        text.kept |= !part.text.is_empty();
        let news = part.text.strip_prefix(&text.said);
        if source == Source::Event {
            let fits = news.is_some() || text.said.starts_with(&part.text);
            text.heard = if fits { Heard::UpTo(part.text.len()) } else { Heard::Unclear };
        }
        text.say(&part.id, news.unwrap_or_default(), actions);
    }

    /// The request that was being answered is made again, as an event says or as is shown, which may be before its event is read.
    /// Gives the texts of which something was said in vain.
    pub(super) fn break_off(&mut self, source: Source) -> Vec<String> {
        // A text that no event has told of yet belongs to the new answer.
        self.end(|text| source == Source::Stored || text.heard != Heard::Nothing)
    }

    /// A message is complete: gives the texts of which it has kept nothing. The news that they were broken off is missing.
    pub(super) fn end_unkept(&mut self, message: &str) -> Vec<String> {
        self.end(|text| text.message == message && !text.kept)
    }

    fn end(&mut self, wanted: impl Fn(&Text) -> bool) -> Vec<String> {
        let open = self.0.iter_mut().filter(|(_, text)| !text.ended && wanted(text));
        let mut said: Vec<String> = open
            .filter_map(|(part, text)| {
                text.ended = true;
                (!text.said.is_empty()).then(|| part.clone())
            })
            .collect();
        said.sort();
        said
    }
}

impl Text {
    fn new(kind: EntryKind, message: &str) -> Self {
        Self { kind, message: message.to_owned(), said: String::new(), heard: Heard::Nothing, ended: false, kept: false }
    }

    fn say(&mut self, part: &str, news: &str, actions: &mut Vec<Action>) {
        if !news.is_empty() {
            self.said.push_str(news);
            actions.push(Action::Say { kind: self.kind.clone(), part: part.to_owned(), delta: news.to_owned() });
        }
    }
}
