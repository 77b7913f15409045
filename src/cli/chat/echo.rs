//! The terminal while an answer comes.

use rustix::termios::{InputModes, LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io;

/// What is typed meanwhile is kept for the next message, and not written into the answer; Ctrl-C stays what it is. The terminal is as before when
/// this is dropped.
pub(super) struct Silenced(Option<Termios>);

impl Silenced {
    pub(super) fn new() -> Self {
        let before = tcgetattr(io::stdin()).ok();
        if let Some(mut modes) = before.clone() {
            modes.local_modes.remove(LocalModes::ECHO);
            // Enter must mean the same to the editor that reads it later.
            modes.input_modes.remove(InputModes::ICRNL);
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, &modes);
        }
        Self(before)
    }
}

impl Drop for Silenced {
    fn drop(&mut self) {
        if let Some(modes) = &self.0 {
            let _ = tcsetattr(io::stdin(), OptionalActions::Now, modes);
        }
    }
}
