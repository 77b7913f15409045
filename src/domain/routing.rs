//! Which agent answers a message that names none.

/// The agents among which content decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// Answers from the event log and the registry.
    Monitor,
    /// Splits work.
    Coordinator,
    /// The default agent.
    Default,
}

/// Decides by the whole text: `status`, `report` and `status report` go to the monitor, what begins with "coordinate " to the coordinator,
/// anything else to the default agent.
#[must_use]
pub fn by_content(text: &str) -> Route {
    let words: Vec<String> = text.split_whitespace().map(str::to_lowercase).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["status" | "report"] | ["status", "report"] => Route::Monitor,
        ["coordinate", _, ..] => Route::Coordinator,
        _ => Route::Default,
    }
}

#[cfg(test)]
mod tests {
    use super::{Route, by_content};

    #[test]
    fn content_decides_only_where_it_is_plain() {
        assert_eq!(by_content("Status  report\n"), Route::Monitor);
        assert_eq!(by_content("report"), Route::Monitor);
        assert_eq!(by_content("coordinate distributed analytics task"), Route::Coordinator);
        assert_eq!(by_content("coordinate"), Route::Default);
        assert_eq!(by_content("write a status report about whales"), Route::Default);
        assert_eq!(by_content("Hello Server-A"), Route::Default);
    }
}
