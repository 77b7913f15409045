//! The few styles there are, and whether they are used.

/// How a piece of text looks where colours are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Dim,
    Bold,
    Good,
    Bad,
    Warn,
    Busy,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Plain => "0",
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Good => "32",
            Self::Bad => "31",
            Self::Warn => "33",
            Self::Busy => "36",
        }
    }

    /// `text` in this style, or as it is.
    pub(crate) fn paint(self, text: &str, coloured: bool) -> String {
        if coloured && self != Self::Plain && !text.is_empty() { format!("\x1b[{}m{text}\x1b[0m", self.code()) } else { text.to_owned() }
    }

    /// The style of a state or status, by its word.
    pub(crate) fn of_word(word: &str) -> Self {
        match word {
            "completed" | "active" => Self::Good,
            "failed" | "rejected" => Self::Bad,
            "working" | "running" => Self::Busy,
            "input-required" | "auth-required" | "waiting" | "stale" | "draining" | "disconnected" => Self::Warn,
            "canceled" | "cancelled" | "offline" | "revoked" | "expired" => Self::Dim,
            _ => Self::Plain,
        }
    }
}

/// Whether a stream gets colours: only a terminal that can show them, and never with `NO_COLOR` (<https://no-color.org>).
pub(crate) fn wants_colour(is_terminal: bool, no_color: Option<&str>, term: Option<&str>) -> bool {
    is_terminal && no_color.is_none_or(str::is_empty) && term != Some("dumb")
}

#[cfg(test)]
mod tests {
    use super::{Style, wants_colour};

    #[test]
    fn colours_are_for_terminals_whose_owner_did_not_decline() {
        assert!(wants_colour(true, None, Some("xterm")));
        assert!(wants_colour(true, Some(""), None));
        assert!(!wants_colour(true, Some("1"), Some("xterm")));
        assert!(!wants_colour(true, None, Some("dumb")));
        assert!(!wants_colour(false, None, Some("xterm")));
    }

    #[test]
    fn text_without_colours_has_no_escape_sequences() {
        assert_eq!(Style::Bad.paint("no", false), "no");
        assert_eq!(Style::Bad.paint("no", true), "\x1b[31mno\x1b[0m");
    }
}
