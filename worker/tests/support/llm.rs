//! The fake LLM: an OpenAI-compatible server whose answers follow from the prompt.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

pub(crate) struct Llm {
    child: Mutex<Child>,
    pub(crate) url: String,
}

impl Llm {
    pub(crate) fn start() -> Self {
        let script = super::root().join("tests/support/fake_llm.py");
        let mut child = Command::new("python3").arg(script).stdout(Stdio::piped()).spawn().expect("python3 is needed for the fake LLM");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.split_whitespace().last().unwrap().to_owned();
        Self { child: Mutex::new(child), url }
    }

    /// The configuration with which OpenCode uses it.
    pub(crate) fn opencode_config(&self) -> Value {
        let model = |name: &str| json!({"name": name, "limit": {"context": 128_000, "output": 8_192}, "cost": {"input": 1, "output": 2}});
        json!({
            "model": "fake/echo",
            "small_model": "fake/small",
            "enabled_providers": ["fake"],
            "provider": {"fake": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Fake LLM",
                "options": {"baseURL": format!("{}/v1", self.url), "apiKey": "fake-key"},
                "models": {"echo": model("Echo"), "small": model("Small"), "thinker": model("Thinker")},
            }},
        })
    }

    /// A counter of `GET /_stats`.
    pub(crate) fn stat(&self, name: &str) -> u64 {
        let address = self.url.trim_start_matches("http://");
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /_stats HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str::<Value>(body).unwrap()[name].as_u64().unwrap_or(0)
    }
}

impl Llm {
    /// Ends it.
    pub(crate) fn end(&self) {
        if let Ok(mut child) = self.child.lock() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Llm {
    fn drop(&mut self) {
        self.end();
    }
}
