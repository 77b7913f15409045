//! What is typed in a chat: a message, or a command.

use crate::cli::render::one_line;

/// What a line means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Typed {
    Nothing,
    Message(String),
    Command(Command),
    /// It looks like a command and is none: what to say of it.
    Unknown(String),
}

/// The commands. `None` asks what is set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Command {
    Help,
    Model(Option<String>),
    Mode(Option<String>),
    History,
    Cancel,
    New,
    Session,
    Quit,
}

/// Each command as it is typed, and what it does.
const COMMANDS: [(&str, &str); 8] = [
    ("/help", "this list"),
    ("/model [M]", "list the models, or take another one; \"default\" is the machine's"),
    ("/mode [M]", "show or change OpenCode's agent: build, plan, .."),
    ("/history", "show this conversation's last messages"),
    ("/cancel", "cancel what was left running here"),
    ("/new", "begin a new conversation at the same place"),
    ("/session", "show the machine, the session, and how to continue later"),
    ("/quit", "leave; so do Ctrl-D, and Ctrl-C on an empty line"),
];

/// A model or mode that means none in particular.
const DEFAULT: &str = "default";

/// The names of the commands.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().filter_map(|(usage, _)| usage.split_whitespace().next())
}

/// The answer to `/help`.
pub(super) fn help() -> String {
    let commands = COMMANDS.iter().map(|(usage, what)| format!("  {usage:<11} {what}"));
    let keys = [
        ("Enter", "sends; after a \\ at the end of the line, or with Alt, it begins another line"),
        ("Up, Ctrl-R", "earlier messages"),
        ("Ctrl-C", "while an answer comes: cancels that turn; a second one leaves it running"),
        ("//...", "a message that begins with a slash"),
    ];
    let keys = keys.iter().map(|(key, what)| format!("  {key:<11} {what}"));
    commands.chain(keys).collect::<Vec<_>>().join("\n")
}

/// Reads what was typed. A path (`/etc/hosts: ..`) is a message.
pub(super) fn read(text: &str) -> Typed {
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Typed::Nothing;
    }
    if let Some(message) = trimmed.strip_prefix("//") {
        return Typed::Message(format!("/{message}"));
    }
    let (word, rest) = trimmed.split_once(char::is_whitespace).unwrap_or((trimmed, ""));
    let is_command = word.strip_prefix('/').is_some_and(|name| name.chars().all(|c| c.is_ascii_alphabetic()));
    if !is_command || trimmed.contains('\n') {
        return Typed::Message(text.trim_end().to_owned());
    }
    let rest = Some(rest.trim().to_owned()).filter(|rest| !rest.is_empty());
    Typed::Command(match word {
        "/help" | "/" => Command::Help,
        "/model" => Command::Model(rest),
        "/mode" => Command::Mode(rest),
        "/history" => Command::History,
        "/cancel" => Command::Cancel,
        "/new" => Command::New,
        "/session" => Command::Session,
        "/quit" | "/exit" => Command::Quit,
        other => {
            let names: Vec<&str> = names().collect();
            let other = one_line(other, 40);
            return Typed::Unknown(format!(
                "there is no command {other}; there are {}. Send it as a message with /{other}",
                names.join(" ")
            ));
        }
    })
}

/// What a model or mode is changed to.
pub(super) fn chosen(word: String) -> Option<String> {
    (word != DEFAULT).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::{Command, Typed, chosen, help, names, read};

    fn message(text: &str) -> Typed {
        Typed::Message(text.to_owned())
    }

    #[test]
    fn a_command_is_one_word_after_a_slash_on_a_single_line() {
        assert_eq!(read(" /model  a/b "), Typed::Command(Command::Model(Some("a/b".to_owned()))));
        assert_eq!(read("/mode"), Typed::Command(Command::Mode(None)));
        assert_eq!(read("/exit"), Typed::Command(Command::Quit));
        assert_eq!(read("/etc/hosts has what?"), message("/etc/hosts has what?"));
        assert_eq!(read("/new\nline"), message("/new\nline"), "what was pasted is a message");
        assert_eq!(read("//help me"), message("/help me"));
    }

    #[test]
    fn a_message_keeps_its_lines_and_its_beginning() {
        assert_eq!(read("  indented\n\n  more\n\n"), message("  indented\n\n  more"));
        assert_eq!(read(" \n "), Typed::Nothing);
    }

    #[test]
    fn an_unknown_command_says_what_there_is() {
        let Typed::Unknown(text) = read("/modle x") else { panic!("understood") };
        assert!(text.contains("/modle") && names().all(|name| text.contains(name)), "{text}");
    }

    #[test]
    fn every_command_that_the_help_names_is_understood() {
        for name in names() {
            assert!(matches!(read(name), Typed::Command(_)) && help().contains(name), "{name}");
        }
    }

    #[test]
    fn the_default_is_chosen_by_its_name() {
        assert_eq!((chosen("default".to_owned()), chosen("plan".to_owned())), (None, Some("plan".to_owned())));
    }
}
