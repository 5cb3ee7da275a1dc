//! Recordings, and their pages in a browser.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};
use std::thread;
use std::time::Duration;

use harness::{Client, Step, has_strace, root, run, wait_until};
use serde_json::Value;

use crate::board::Board;
use crate::webdriver::Browser;

const LEFT: char = '\u{E012}';
const RIGHT: char = '\u{E014}';
const HOME: char = '\u{E011}';
const END: char = '\u{E010}';
const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';

/// The texts on the page, and the position of its slider.
const SHOWN: &str = "document.body.innerText + document.getElementById('slider').value";
const POSITION: &str = "document.getElementById('position').textContent";
const TEXT: &str = "document.getElementById('text').textContent";

/// The page of the story.
fn story() -> PathBuf {
    root().join("tests/pictures/two-clients.html")
}

fn url_of(page: &Path) -> String {
    format!("file://{}", page.canonicalize().expect("a page").display())
}

/// Returns the recordings in a page, with a name for each address, and the page without them.
fn parts_of(page: &Path) -> (Vec<Value>, String) {
    let text = fs::read_to_string(page).expect("a page");
    assert!(text.len() < 1 << 20, "{} bytes", text.len());
    let start = r#"<script type="application/json" id="recordings">"#;
    let (before, rest) = text.split_once(start).expect("JSON");
    let (json, after) = rest.split_once("</script>").expect("an end");
    let recordings: Vec<Value> = serde_json::from_str(json).expect("JSON");
    (recordings.iter().map(without_addresses).collect(), format!("{before}{after}"))
}

fn without_addresses(recording: &Value) -> Value {
    let text = recording.to_string();
    let mut names: HashMap<&str, usize> = HashMap::new();
    let mut parts = text.split("127.0.0.1:");
    let mut result = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let digits = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
        let count = names.len();
        let name = names.entry(&part[..digits]).or_insert(count);
        result.push_str(&format!("address {name}{}", &part[digits..]));
    }
    serde_json::from_str(&result).expect("JSON")
}

/// A file that is deleted when this is dropped.
struct TemporaryFile(PathBuf);

impl TemporaryFile {
    fn new(name: &str) -> Self {
        Self(env::temp_dir().join(format!("board-{}-{name}", process::id())))
    }
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // If it was not written, the test has failed already.
        let _ = fs::remove_file(&self.0);
    }
}

/// After a change that is meant to change it, the README's command records the page again.
#[test]
fn story_recorded_again_has_equal_states() {
    if !harness::is_available("strace", has_strace()) {
        return;
    }
    let page = TemporaryFile::new("story.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_board"));
    command.arg("--record").arg(&page.0).args(["--port", "0", "--story"]);
    let output = run(command.args(Step::STEPS.map(Step::name))).expect("board");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let ((recorded, template), (expected, expected_template)) =
        (parts_of(&page.0), parts_of(&story()));
    assert!(template == expected_template, "the page was made with another template");
    assert_eq!(recorded.len(), expected.len());
    for (recorded, expected) in recorded.iter().zip(&expected) {
        let step = &expected["step"];
        for key in ["step", "source", "printed", "messages"] {
            assert_eq!(recorded[key], expected[key], "{step}");
        }
        let states = |recording: &Value| recording["states"].as_array().expect("states").clone();
        let (recorded, expected) = (states(recorded), states(expected));
        for (number, (recorded, expected)) in recorded.iter().zip(&expected).enumerate() {
            assert_eq!(recorded, expected, "{step}, state {}", number + 1);
        }
        assert_eq!(recorded.len(), expected.len(), "{step}");
    }
}

#[test]
fn keys_lead_to_the_end_and_back_over_equal_states() {
    let Some(browser) = Browser::start() else { return };
    browser.open(&url_of(&story()));
    for (number, recording) in (1..).zip(parts_of(&story()).0) {
        let count = recording["states"].as_array().expect("states").len();
        browser.press(char::from_digit(number, 10).expect("a digit"));
        let mut shown = vec![browser.text(SHOWN)];
        for position in 1..=count {
            assert_eq!(browser.text(POSITION), format!("{position} of {count}"));
            browser.press(RIGHT);
            shown.push(browser.text(SHOWN));
        }
        // The last state has no next one.
        assert_eq!(shown.pop().as_ref(), shown.last());
        for expected in shown.iter().rev() {
            assert_eq!(&browser.text(SHOWN), expected);
            browser.press(LEFT);
        }
        browser.press(END);
        assert_eq!(Some(&browser.text(SHOWN)), shown.last());
        browser.press(HOME);
        assert_eq!(Some(&browser.text(SHOWN)), shown.first());
    }
    // The buttons too: the first one that can be reached is that of the first server.
    browser.press(TAB);
    browser.press(ENTER);
    let step = browser.text("document.querySelector('[aria-selected=true]').textContent");
    assert_eq!(step, "step1-blocking");

    assert_eq!(browser.log("browser"), Vec::<String>::new());
    let requests: Vec<String> = browser.log("performance");
    let requests = requests.iter().filter(|line| line.contains("Network.requestWillBeSent\""));
    let requests: Vec<&String> = requests.collect();
    assert!(requests.iter().all(|line| line.contains("\"url\":\"file:///")), "{requests:#?}");
    assert_eq!(requests.len(), 1, "{requests:#?}");
}

#[test]
fn question_stops_the_play() {
    let Some(browser) = Browser::start() else { return };
    for (number, recording) in parts_of(&story()).0.iter().enumerate() {
        let states = recording["states"].as_array().expect("states");
        let question = states.iter().position(|state| !state["question"].is_null());
        let question = question.expect("a question");
        let step = recording["step"].as_str().expect("a name");
        browser.open("about:blank");
        browser.open(&format!("{}#{step}/{question}", url_of(&story())));
        assert!(browser.text(POSITION).starts_with(&format!("{question} of ")));
        browser.press(' ');
        let expected = states[question]["question"].as_str().expect("text");
        wait_until("the question", || browser.text(TEXT).starts_with(expected));
        // Longer than a state is shown.
        thread::sleep(Duration::from_secs(if number == 0 { 3 } else { 0 }));
        assert!(browser.text(TEXT).starts_with(expected));
        assert_eq!(browser.text("document.getElementById('play').textContent"), "Play");
        browser.press(RIGHT);
        let next = states[question + 1]["text"].as_str().expect("text");
        assert_eq!(browser.text(TEXT), next);
    }
}

#[test]
fn markup_of_a_client_is_shown_as_text() {
    if !harness::is_available("strace", has_strace()) {
        return;
    }
    let Some(browser) = Browser::start() else { return };
    let page = TemporaryFile::new("markup.html");
    let file = page.0.to_str().expect("text");
    let flags = ["--record", file, "--slow", "0.2"];
    let mut board = Board::start_flags(Step::Select, &flags, (23, 80));
    let mut client = board.connect();
    let markup = "</script><script>document.title='changed'</script><!--<b>";
    client.send(markup.as_bytes()).unwrap();
    client.receive().unwrap();
    board.wait_for_text("ready: A -> send_message");
    board.wait_until_idle();
    board.press("q");
    assert!(board.wait_for_end().success());
    browser.open(&url_of(&page.0));
    browser.press(END);
    assert!(browser.text("document.getElementById('people').innerText").contains(markup));
    assert_eq!(browser.text("document.title"), "A recorded run");
    assert_eq!(browser.evaluate("document.scripts.length"), 2);
    assert_eq!(browser.log("browser"), Vec::<String>::new());
}

#[test]
fn recording_ends_before_its_page_is_too_large() {
    if !harness::is_available("strace", has_strace()) {
        return;
    }
    let page = TemporaryFile::new("large.html");
    let flags = ["--slow", "0.05", "--record", page.0.to_str().expect("text")];
    let mut board = Board::start_flags(Step::Bare, &flags, (23, 80));
    let mut clients: Vec<Client> = (0..60).map(|_| board.connect()).collect();
    // It ends the server, so that a client cannot send.
    while clients.iter_mut().all(|client| client.send(b"<<<<<<<<<<<<<<<<<<<<").is_ok()) {
        thread::sleep(Duration::from_millis(100));
    }
    board.wait_for_end();
    let lines = board.errors.read_to_end();
    assert!(lines[0].contains("the recording stopped"), "{lines:?}");
    assert!(parts_of(&page.0).0[0]["states"].as_array().is_some_and(|states| states.len() > 100));
}

#[test]
fn linked_fragments_open_their_states() {
    let Some(browser) = Browser::start() else { return };
    let pages = ["README.md"].into_iter().map(PathBuf::from);
    let pages = pages.chain(Step::STEPS.map(|step| Path::new(step.name()).join("README.md")));
    let mut links = 0;
    for page in pages {
        let text = fs::read_to_string(root().join(&page)).expect("a page");
        for link in text.split("two-clients.html#").skip(1) {
            let fragment = link.split(')').next().unwrap_or_default();
            let (step, number) = fragment.split_once('/').unwrap_or((fragment, "1"));
            browser.open("about:blank");
            browser.open(&format!("{}#{fragment}", url_of(&story())));
            let shown = browser.text("document.querySelector('[aria-selected=true]').textContent");
            assert_eq!(shown, step, "{} links to {fragment}", page.display());
            let position = browser.text(POSITION);
            assert!(position.starts_with(&format!("{number} of ")), "{fragment}: {position}");
            links += 1;
        }
    }
    assert!(links >= 3, "{links} links");
}
