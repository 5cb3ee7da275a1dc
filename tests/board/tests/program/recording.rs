//! Tests recordings, and their pages in a browser.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use harness::{Client, Step, has_strace, root, run, wait_until};
use serde_json::Value;
use tempfile::NamedTempFile;

use crate::board::Board;
use crate::webdriver::Browser;

const LEFT: char = '\u{E012}';
const RIGHT: char = '\u{E014}';
const HOME: char = '\u{E011}';
const END: char = '\u{E010}';
const TAB: char = '\u{E004}';
const ENTER: char = '\u{E007}';

// JavaScript expressions for what the page shows.
const PAGE_TEXTS: &str = "document.body.innerText + document.getElementById('slider').value";
const POSITION: &str = "document.getElementById('position').textContent";
const SELECTED_TAB: &str = "document.querySelector('[aria-selected=true]').textContent";
const TEXT: &str = "document.getElementById('text').textContent";

fn story_path() -> PathBuf {
    root().join("tests/pictures/two-clients.html")
}

fn page_url(page: &Path) -> String {
    format!("file://{}", page.canonicalize().expect("the path of a page").display())
}

/// Returns the recordings in a page, and the page without them.
fn split_page(page: &Path) -> (Vec<Value>, String) {
    let text = fs::read_to_string(page).expect("a page");
    assert!(text.len() < 1 << 20, "expected a page below 1 MiB, got {} bytes", text.len());
    let start = r#"<script type="application/json" id="recordings">"#;
    let (before, rest) = text.split_once(start).expect("the start of the JSON");
    let (json, after) = rest.split_once("</script>").expect("the end of the JSON");
    (serde_json::from_str(json).expect("JSON"), format!("{before}{after}"))
}

/// Replaces the addresses in a recording, because they differ in each run.
fn replace_addresses(recording: &Value) -> Value {
    let mut text = recording.to_string();
    let server = recording["output"][0]["text"].as_str().expect("the first line of output");
    text = text.replace(server, "Listening on ADDRESS");
    for (name, addr) in recording["addrs"].as_object().expect("addresses") {
        text = text.replace(addr.as_str().expect("an address"), &format!("ADDRESS of {name}"));
    }
    serde_json::from_str(&text).expect("JSON")
}

/// If you change the page or its texts, record the page again with the command in README.md.
#[test]
fn story_is_reproducible() {
    if !has_strace() {
        return;
    }
    let page = NamedTempFile::with_suffix(".html").expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_board"));
    command.arg("--record").arg(page.path()).args(["--port", "0", "--story"]);
    let output = run(command.args(Step::STEPS.map(Step::name))).expect("output of board");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "expected a recording, got {errors}");
    let (recordings, template) = split_page(page.path());
    let (expected_recordings, expected_template) = split_page(&story_path());
    assert!(template == expected_template, "the page is out of date: record it again (README.md)");
    assert_eq!(recordings.len(), expected_recordings.len(), "the number of recordings");
    for (recording, expected) in recordings.iter().zip(&expected_recordings) {
        let (recording, expected) = (replace_addresses(recording), replace_addresses(expected));
        let states = recording["states"].as_array().expect("states").iter();
        for (number, state) in states.enumerate() {
            let (step, expected) = (&expected["step"], &expected["states"][number]);
            assert_eq!(state, expected, "state {} of {step}", number + 1);
        }
        assert_eq!(recording, expected);
    }
}

#[test]
fn left_key_returns_to_the_previous_state() {
    let Some(browser) = Browser::start() else { return };
    browser.open(&page_url(&story_path()));
    for (number, recording) in (1..).zip(split_page(&story_path()).0) {
        let count = recording["states"].as_array().expect("states").len();
        browser.press(char::from_digit(number, 10).expect("a digit"));
        let mut texts = vec![browser.read_text(PAGE_TEXTS)];
        for position in 1..=count {
            assert_eq!(browser.read_text(POSITION), format!("{position} of {count}"));
            browser.press(RIGHT);
            texts.push(browser.read_text(PAGE_TEXTS));
        }
        // After the last state, the key changes nothing.
        assert_eq!(texts.pop().as_ref(), texts.last());
        for expected in texts.iter().rev() {
            assert_eq!(&browser.read_text(PAGE_TEXTS), expected);
            browser.press(LEFT);
        }
        browser.press(END);
        assert_eq!(Some(&browser.read_text(PAGE_TEXTS)), texts.last());
        browser.press(HOME);
        assert_eq!(Some(&browser.read_text(PAGE_TEXTS)), texts.first());
    }
    // The first button selects the first server.
    browser.press(TAB);
    browser.press(ENTER);
    assert_eq!(browser.read_text(SELECTED_TAB), "step1-blocking", "the selected tab");

    assert_eq!(browser.read_log("browser"), Vec::<String>::new());
    let mut requests = browser.read_log("performance");
    requests.retain(|line| line.contains("Network.requestWillBeSent\""));
    let is_page = requests.len() == 1 && requests[0].contains("\"url\":\"file:///");
    assert!(is_page, "expected one request, for the page, got {requests:#?}");
}

#[test]
fn question_pauses_the_page() {
    let Some(browser) = Browser::start() else { return };
    for (number, recording) in split_page(&story_path()).0.iter().enumerate() {
        let states = recording["states"].as_array().expect("states");
        let question = states.iter().position(|state| !state["question"].is_null());
        let question = question.expect("a question");
        let step = recording["step"].as_str().expect("the name of a step");
        browser.open("about:blank");
        browser.open(&format!("{}#{step}/{question}", page_url(&story_path())));
        assert_eq!(browser.read_text(POSITION), format!("{question} of {}", states.len()));
        browser.press(' ');
        let expected = states[question]["question"].as_str().expect("a question");
        wait_until("the question on the page", || browser.read_text(TEXT).starts_with(expected));
        // Wait longer than the page shows a state.
        thread::sleep(Duration::from_secs(if number == 0 { 3 } else { 0 }));
        let text = browser.read_text(TEXT);
        assert!(text.starts_with(expected), "expected {expected:?}, got {text:?}");
        assert_eq!(browser.read_text("document.getElementById('play').textContent"), "Play");
        browser.press(RIGHT);
        let next = states[question + 1]["text"].as_str().expect("a text");
        assert_eq!(browser.read_text(TEXT), next);
    }
}

#[test]
fn markup_of_a_client_is_shown_as_text() {
    if !has_strace() {
        return;
    }
    let Some(browser) = Browser::start() else { return };
    let page = NamedTempFile::with_suffix(".html").expect("a file");
    let file = page.path().to_str().expect("a path in UTF-8");
    let flags = ["--record", file, "--slow", "0.2"];
    let mut board = Board::start_with_flags(Step::Select, &flags);
    let mut client = board.connect();
    let markup = "</script><script>document.title='changed'</script><!--<b>";
    client.send(markup.as_bytes()).unwrap();
    client.receive().unwrap();
    board.wait_for_text("ready A; called send_message");
    board.wait_until_idle();
    board.press("q");
    assert_eq!(board.wait_for_end().code(), Some(0), "the exit code of board");
    browser.open(&page_url(page.path()));
    browser.press(END);
    let texts = browser.read_text("document.getElementById('clients').innerText");
    assert!(texts.contains(markup), "expected {markup:?}, got {texts:?}");
    assert_eq!(browser.read_text("document.title"), "A recorded run");
    assert_eq!(browser.read_text("String(document.scripts.length)"), "2");
    assert_eq!(browser.read_log("browser"), Vec::<String>::new());
}

#[test]
fn recording_ends_before_the_page_is_too_large() {
    if !has_strace() {
        return;
    }
    let page = NamedTempFile::with_suffix(".html").expect("a file");
    let flags = ["--slow", "0.05", "--record", page.path().to_str().expect("a path in UTF-8")];
    let mut board = Board::start_with_flags(Step::Bare, &flags);
    let mut clients: Vec<Client> = (0..60).map(|_| board.connect()).collect();
    // When the recording ends, the server ends too, and the clients can no longer send.
    while clients.iter_mut().all(|client| client.send(b"<<<<<<<<<<<<<<<<<<<<").is_ok()) {
        thread::sleep(Duration::from_millis(100));
    }
    board.wait_for_end();
    let lines = board.errors.read_to_end();
    assert!(lines[0].contains("stopped recording"), "expected why it stopped, got {lines:?}");
    let count = split_page(page.path()).0[0]["states"].as_array().expect("states").len();
    assert!(count > 100, "expected more than 100 states, got {count}");
}

#[test]
fn links_of_lessons_open_their_states() {
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
            browser.open(&format!("{}#{fragment}", page_url(&story_path())));
            let tab = browser.read_text(SELECTED_TAB);
            assert_eq!(tab, step, "{} links to {fragment}", page.display());
            let position = browser.read_text(POSITION);
            let is_linked_state = position.starts_with(&format!("{number} of "));
            assert!(is_linked_state, "expected state {number} of {step}, got {position}");
            links += 1;
        }
    }
    assert!(links >= 3, "expected at least 3 links, got {links}");
}
