//! Controls a browser with the WebDriver protocol (<https://www.w3.org/TR/webdriver2>).

use std::process::{Command, Stdio};

use harness::{ChildGuard, Log, can_run, check_requirement, free_port, launch};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A headless Chromium, which ends when this is dropped.
pub struct Browser {
    session_url: String,
    _driver: ChildGuard,
    /// A folder for the temporary files of the browser, because it does not delete all of them.
    _folder: TempDir,
}

impl Browser {
    /// Starts a browser. Returns None if this system has no `chromedriver`, see [`check_requirement`].
    pub fn start() -> Option<Self> {
        if !check_requirement("chromedriver", can_run("chromedriver", &["--version"])) {
            return None;
        }
        let mut command = Command::new("chromedriver");
        let folder = TempDir::new().expect("a temporary folder");
        let port = free_port().expect("a free port");
        command.arg(format!("--port={port}")).env("TMPDIR", folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let mut driver = ChildGuard(launch(&mut command).expect("a running chromedriver"));
        let log = Log::new(driver.0.stdout.take().expect("standard output"));
        log.wait_for("the start of chromedriver", |lines| {
            lines.iter().any(|line| line.text.contains("started successfully")).then_some(())
        });
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {
                // With a sandbox, Chromium does not run as root.
                "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,720"],
            },
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }}});
        let sessions_url = format!("http://127.0.0.1:{port}/session");
        let session = post(&sessions_url, &capabilities)["sessionId"].clone();
        let session_url = format!("{sessions_url}/{}", session.as_str().expect("a session ID"));
        Some(Self { session_url, _driver: driver, _folder: folder })
    }

    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// Presses and releases a key. WebDriver has its own codes for keys without a character.
    pub fn press(&self, key: char) {
        let actions = json!([{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]);
        let keyboard = json!([{"type": "key", "id": "keyboard", "actions": actions}]);
        self.post("actions", &json!({ "actions": keyboard }));
    }

    /// Evaluates a JavaScript expression that returns a text.
    pub fn read_text(&self, expression: &str) -> String {
        let script = format!("return {expression}");
        let value = self.post("execute/sync", &json!({ "script": script, "args": [] }));
        let text = value.as_str().map(str::to_owned);
        text.unwrap_or_else(|| panic!("expected a text from {expression}, got {value}"))
    }

    /// Returns the messages that were added to a log since the last call.
    pub fn read_log(&self, kind: &str) -> Vec<String> {
        let entries = self.post("se/log", &json!({ "type": kind }));
        let entries = entries.as_array().expect("a list of log entries").iter();
        entries.map(|entry| entry["message"].as_str().expect("a message").to_owned()).collect()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        post(&format!("{}/{command}", self.session_url), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The driver ends the browser. If it cannot, the test has already failed.
        let _ = ureq::delete(&self.session_url).call();
    }
}

fn post(url: &str, body: &Value) -> Value {
    let request = ureq::post(url).config().http_status_as_error(false).build();
    let mut response = request
        .send(body.to_string())
        .unwrap_or_else(|error| panic!("cannot send a request to {url}: {error}"));
    let status = response.status();
    let text = response.body_mut().read_to_string().expect("a response in UTF-8");
    let mut response: Value = serde_json::from_str(&text).expect("JSON");
    assert!(status.is_success(), "expected success from {url}, got {response}");
    response["value"].take()
}
