//! How values look to people.

use muster_protocol::time::Timestamp;

/// How long ago, in the largest unit that fits: `3 min ago`. A time to come reads `in 3 min`.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    if at > now { format!("in {}", span(at.since(now) + 999)) } else { recent(now.since(at)) }
}

fn recent(ms: u64) -> String {
    if ms < 1_000 { "now".to_owned() } else { format!("{} ago", span(ms)) }
}

/// Milliseconds in the largest unit that fits.
pub(crate) fn span(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} min", s / 60),
        3_600..86_400 => format!("{} h", s / 3_600),
        86_400..172_800 => "1 day".to_owned(),
        _ => format!("{} days", s / 86_400),
    }
}

/// How long something took, exactly enough: `0.4 s`, `2 min 5 s`.
pub(crate) fn took(ms: u64) -> String {
    let s = ms / 1_000;
    match s {
        0..60 => format!("{s}.{} s", ms % 1_000 / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// A number with thousands apart: `12,345`.
pub(crate) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number with its noun: `1 file`, `2 files`.
pub(crate) fn counted(n: usize, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

/// US dollars, to a hundredth of a cent below one dollar.
pub(crate) fn cost(dollars: f64) -> String {
    if dollars >= 1.0 { format!("${dollars:.2}") } else { format!("${dollars:.4}") }
}

/// `text` without the characters that command a terminal; line breaks and tabs stay.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

/// The beginning of `text` in one line of at most `max` characters.
pub(crate) fn one_line(text: &str, max: usize) -> String {
    let mut words = text.split_whitespace().map(printable);
    let mut line = words.next().unwrap_or_default();
    for word in words {
        if line.len() > max * 4 {
            break;
        }
        line.push(' ');
        line.push_str(&word);
    }
    shorten(&line, max)
}

/// At most `max` characters; what is cut shows as an ellipsis.
pub(crate) fn shorten(text: &str, max: usize) -> String {
    if text.chars().count() <= max {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(max.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `word` as a shell reads it as one word.
pub(crate) fn shell_word(word: &str) -> String {
    let is_safe = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(is_safe) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_largest_unit_that_fits() {
        let now = Timestamp(1_000_000_000);
        let before = |ms: i64| ago(Timestamp(now.0 - ms), now);
        assert_eq!(before(0), "now");
        assert_eq!(before(59_999), "59 s ago");
        assert_eq!(before(3 * 60_000), "3 min ago");
        assert_eq!(before(7_200_000), "2 h ago");
        assert_eq!(before(86_400_000), "1 day ago");
        assert_eq!(before(-300_000), "in 5 min");
        assert_eq!(before(400 * 86_400_000), "400 days ago");
    }

    #[test]
    fn durations_numbers_and_money_read_well() {
        assert_eq!((took(420), took(125_000), took(7_260_000)), ("0.4 s".into(), "2 min 5 s".into(), "2 h 1 min".into()));
        assert_eq!((count(0), count(999), count(1_000), count(1_234_567)), ("0".into(), "999".into(), "1,000".into(), "1,234,567".into()));
        assert_eq!((cost(0.0), cost(0.01234), cost(12.345)), ("$0.0000".into(), "$0.0123".into(), "$12.35".into()));
        assert_eq!((counted(1, "file"), counted(2, "file")), ("1 file".into(), "2 files".into()));
    }

    #[test]
    fn nothing_that_a_server_says_commands_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\r\u{9b}c\td\n"), "a[2Jbc\td\n");
        assert_eq!(one_line("  first\n\x07second   third ", 100), "first second third");
    }

    #[test]
    fn a_long_line_is_cut_by_characters() {
        assert_eq!(one_line("größer als erlaubt", 7), "größer…");
        assert_eq!(one_line(&"x ".repeat(1_000_000), 5), "x x …");
        assert_eq!(shorten("exactly", 7), "exactly");
    }

    #[test]
    fn words_are_quoted_for_the_shell_where_needed() {
        assert_eq!(shell_word("0192-ab"), "0192-ab");
        assert_eq!(shell_word("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(shell_word(""), "''");
    }
}
