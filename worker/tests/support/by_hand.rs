//! A second OpenCode on the home of a daemon's, as the user's own would be.

use super::daemon::Daemon;
use super::opencode;
use muster_worker::opencode::environment::isolated;
use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub(crate) struct ByHand {
    child: Child,
    address: String,
}

impl ByHand {
    /// Starts it with the home of an isolated daemon.
    pub(crate) fn start(daemon: &Daemon, config: &Value) -> Self {
        let base = daemon.dir.join("state/opencode");
        let mut command = Command::new(opencode().unwrap());
        command
            .args(["serve", "--hostname", "127.0.0.1", "--port", "0"])
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .envs(isolated(&base).unwrap())
            .env("OPENCODE_CONFIG_CONTENT", config.to_string())
            .current_dir(base.join("home"));
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.by_ref().map_while(Result::ok).find(|line| line.contains("listening on ")).expect("it says where it listens");
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let address = line.rsplit('/').next().unwrap().to_owned();
        Self { child, address }
    }

    /// A call of its HTTP API; the answer, or null.
    pub(crate) fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        let body = body.to_string();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        // Some answers come in chunks: from the first to the last brace it is the JSON.
        let (from, to) = (body.find(['{', '[', 't']), body.rfind(['}', ']', 'e']));
        from.zip(to).and_then(|(from, to)| serde_json::from_str(body.get(from..=to)?).ok()).unwrap_or(Value::Null)
    }

    /// Makes a session.
    pub(crate) fn session(&self, directory: &Path, title: &str) -> String {
        let made = self.call("POST", &format!("/session?directory={}", directory.display()), &json!({"title": title}));
        made["id"].as_str().unwrap_or_else(|| panic!("no session: {made}")).to_owned()
    }

    /// Gives a prompt and does not wait for the answer.
    pub(crate) fn prompt(&self, session: &str, text: &str) {
        let model = json!({"providerID": "fake", "modelID": "echo"});
        let body = json!({"agent": "build", "model": model, "parts": [{"type": "text", "text": text}]});
        self.call("POST", &format!("/session/{session}/prompt_async"), &body);
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
