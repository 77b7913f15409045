//! Lines that name an agent: `NAME: ..`, `- NAME: ..`, `@NAME ..`.

/// A line that begins with what may be a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The name.
    pub(super) name: &'a str,
    /// What comes after it.
    pub(super) rest: &'a str,
    /// Whether it is marked as a name.
    is_marked: bool,
    /// Whether it goes on with what the lines before it say.
    is_indented: bool,
}

impl Line<'_> {
    /// Whether this must be meant as a name, though there is no such agent. `beside_others`: other lines do name agents.
    pub(super) fn is_name(&self, beside_others: bool) -> bool {
        let has_letter = self.name.contains(|c: char| c.is_ascii_alphabetic());
        let looks_so = has_letter && self.name.contains(|c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | '.'));
        self.is_marked || (!self.is_indented && (beside_others || looks_so))
    }
}

/// The longest name of an agent.
const LONGEST_NAME: usize = 64;

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Reads a line, if it begins with what may be a name.
pub(super) fn read(line: &str) -> Option<Line<'_>> {
    let text = line.trim_start();
    let is_indented = text.len() < line.len();
    let text = text.strip_prefix("- ").or_else(|| text.strip_prefix("* ")).map_or(text, str::trim_start);
    let (is_marked, text) = text.strip_prefix('@').map_or((false, text), |text| (true, text));
    let end = text.find(|c| !is_of_name(c)).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    if name.is_empty() || name.len() > LONGEST_NAME {
        return None;
    }
    let after = rest.strip_prefix(':').or_else(|| rest.strip_prefix(',').filter(|_| is_marked));
    let rest = match after {
        Some(rest) => rest,
        None if is_marked => rest,
        None => return None,
    };
    // `http://..`, `12:30`, `@types/node` are none.
    let ends_there = rest.is_empty() || rest.starts_with(char::is_whitespace);
    ends_there.then(|| Line { name, rest: rest.trim(), is_marked, is_indented })
}
