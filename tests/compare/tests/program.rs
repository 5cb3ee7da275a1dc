//! The program `compare`: its flags, its files, its page on a terminal, and how it ends.

#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use harness::{
    ChildGuard, PROCESS_1, Process, PtyProgram, Signal, TIMEOUT, in_namespaces, is_available,
    poll_until, wait_until,
};

const COMPARE: &str = env!("CARGO_BIN_EXE_compare");

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(COMPARE);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Returns the exit code, standard output, and the errors on standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("compare starts");
    (status.code(), text(&stdout), text(&stderr).replace("Building the servers ...\n", ""))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Returns the path of a new folder.
fn new_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // It does not exist the first time.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn errors_are_one_line_and_an_exit_code() {
    let unwritable = new_folder("compare-unwritable");
    fs::create_dir(unwritable.join("stream.svg")).expect("a folder");
    let mut to_unwritable_file = compare(&["stream", "--svg"]);
    to_unwritable_file.arg(unwritable);
    // In a folder of its own, compare finds no servers that were built before.
    let alone = new_folder("compare-alone").join("compare");
    fs::hard_link(COMPARE, &alone).expect("a link");
    let mut without_cargo = Command::new(alone);
    without_cargo.arg("stream").env("CARGO", "no-such-cargo");
    for (command, exit_code, expected) in [
        (Some(compare(&["three-clients"])), 2, "possible values: one-client, two-clients"),
        (Some(compare(&["--step", "step4"])), 2, "possible values: step1-blocking"),
        (Some(compare(&["--pace", "0"])), 2, "0 is not in 1..=60"),
        (Some(to_unwritable_file), 1, "stream.svg cannot be written: Is a directory"),
        (Some(compare(&["stream", "--svg", COMPARE])), 1, "cannot be written: File exists"),
        (Some(without_cargo), 1, "cargo does not start (No such file or directory"),
        (in_namespaces(&["--net"], Path::new(COMPARE)), 1, "Network is unreachable"),
    ] {
        let Some(mut command) = command else { continue };
        let (code, _, errors) = run(&mut command);
        assert!(code == Some(exit_code) && errors.contains(expected), "{errors}");
        assert!(exit_code == 2 || errors.lines().count() == 1, "expected one line: {errors}");
    }
}

#[test]
fn every_scenario_is_measured_and_written_as_svg() {
    let folder = new_folder("compare-svg").join("svg");
    let (code, output, errors) = run(compare(&["--svg"]).arg(&folder));
    assert_eq!(code, Some(0), "{errors}");
    assert!(!output.contains('\x1b'), "expected plain text: {output}");
    // On three servers each.
    for (measured, times) in [
        ("A waited ", 3),
        ("B waited ", 9),
        ("median  waited ", 1),
        ("A stuck after ", 3),
        ("3      14           1", 3),
        ("900 idle", 3),
    ] {
        assert_eq!(output.matches(measured).count(), times, "{measured} in {output}");
    }
    assert!(output.contains('◇'), "expected a server in send(): {output}");
    assert!(!output.contains("10000           1\n"), "expected several responses: {output}");
    for line in run(&mut compare(&["--list"])).1.lines() {
        let (scenario, question) = line.split_once(' ').expect("a name and a question");
        assert!(output.contains(question.trim()), "expected {question} in {output}");
        let svg = fs::read_to_string(folder.join(format!("{scenario}.svg"))).expect("a file");
        assert!(svg.starts_with("<svg") && svg.contains(question.trim()), "{svg}");
    }
}

#[test]
fn step_chooses_the_servers() {
    let mut compare = compare(&["one-client", "--step", "step1-blocking"]);
    let (code, output, errors) = run(compare.args(["--step", "tasks", "--step", "tokio"]));
    assert_eq!((code, output.matches("A waited").count()), (Some(0), 3), "{errors}");
    let (blocking, after) = output.split_once("tasks   A").expect("the lanes of tasks");
    // After two of the requests the server is in recv() again until the next one.
    assert!(blocking.matches("Aa").count() >= 2, "{output}");
    // `Before recv()` of tasks and tokio does not mean that the server is blocked there.
    assert!(after.contains("A~") && !after.contains("Aa") && after.contains("epoll"), "{output}");
}

#[test]
fn compare_runs_if_its_parent_ignores_sigchld() {
    let ignores = "$SIG{CHLD} = 'IGNORE'; exec @ARGV";
    if is_available("perl", harness::can_run("perl", &["-e", ""])) {
        let mut perl = Command::new("perl");
        // Standard input has ended, so no key is waited for.
        perl.args(["-e", ignores, COMPARE, "stream", "--pause"]).stdin(Stdio::null());
        let (code, output, errors) = run(&mut perl);
        assert!(code == Some(0) && output.contains("step1-blocking"), "{errors}");
    }
}

#[test]
fn compare_does_not_panic_without_a_reader() {
    let (_, writer) = io::pipe().expect("a pipe");
    let output = compare(&["stream"]).stdout(writer).output().expect("compare starts");
    let is_silent = !text(&output.stderr).contains("compare: ");
    assert!(output.status.code() == Some(1) && is_silent, "{output:?}");
}

fn is_running(server: &u32) -> bool {
    // A zombie has no memory.
    Process(*server).memory() > 0
}

/// Waits until each of the three servers of a `compare` has a client, and returns their process IDs.
/// If the system does not report file descriptors, the servers may have no client yet.
fn servers_of(compare: u32) -> Vec<u32> {
    // Standard input, output and error, the listening socket, and a client.
    let has_client = |server: &u32| Process(*server).file_descriptors().is_none_or(|open| open > 4);
    let mut servers: Vec<u32> = Vec::new();
    wait_until("three servers that have a client", || {
        // Cargo is a child too for a moment, and the shell of the guard for longer if compare is process 1.
        let (_, children, _) =
            run(Command::new("pgrep").args(["-P", &compare.to_string(), "step"]));
        servers = children.lines().filter_map(|pid| pid.parse().ok()).collect();
        servers.len() == 3 && servers.iter().all(has_client)
    });
    servers
}

#[test]
fn killed_server_exits_with_code_1() {
    let mut compare = compare(&["two-clients", "--pace", "5"]);
    let compare = compare.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = compare.spawn().expect("compare starts");
    let servers = servers_of(child.id());
    Process(servers[2]).signal(Signal::KILL);
    let output = child.wait_with_output().expect("compare ends");
    let (output, errors, code) = (text(&output.stdout), text(&output.stderr), output.status.code());
    assert!(code == Some(1) && errors.contains("compare: two-clients: step"), "{errors}");
    assert!(output.contains("got no response") && !errors.contains("panicked"), "{output}{errors}");
    assert!(!servers.iter().any(is_running), "servers outlived compare");
}

/// A `compare` on a terminal.
struct Session {
    terminal: PtyProgram,
    screen: vt100::Parser,
    /// Everything that was printed.
    output: String,
}

impl Session {
    fn start(command: &mut Command, columns: u16) -> Self {
        let terminal = PtyProgram::start(command.stderr(Stdio::null()), (24, columns)).unwrap();
        let screen = vt100::Parser::new(size(24), size(columns), 0);
        Self { terminal, screen, output: String::new() }
    }

    fn rows(&self) -> Vec<String> {
        let (_, columns) = self.screen.screen().size();
        let rows = self.screen.screen().rows(0, columns.get());
        rows.map(|row| row.trim_end().to_owned()).collect()
    }

    fn is_live(&self) -> bool {
        self.screen.screen().alternate_screen()
    }

    fn read(&mut self, timeout: Duration) -> Result<(), RecvTimeoutError> {
        let (_, bytes) = self.terminal.output.recv_timeout(timeout)?;
        self.screen.process(&bytes);
        self.output += &text(&bytes);
        Ok(())
    }

    fn read_until(&mut self, expected: &str, mut is_shown: impl FnMut(&Self) -> bool) {
        while !is_shown(self) {
            let read = self.read(TIMEOUT);
            assert!(read.is_ok(), "expected {expected} in {:#?}", self.rows());
        }
    }

    fn read_until_words(&mut self, words: &str) {
        self.read_until(words, |session| session.rows().iter().any(|row| row.contains(words)));
    }

    fn type_keys(&mut self, keys: &str) {
        self.terminal.keys.write_all(keys.as_bytes()).expect("the keys are typed");
    }

    /// Waits until `compare` has ended, and reads the rest of its output.
    fn finish(&mut self) -> ExitStatus {
        let status = self.terminal.child.wait().expect("compare ends");
        // The terminal may stay open, because a child of another test can have a duplicate of it.
        while self.read(Duration::from_secs(2)).is_ok() {}
        status
    }

    /// Expects one whole picture of `two-clients`, and nothing of the live page or of typed keys.
    fn expect_one_picture(&mut self) {
        self.finish();
        let rows = self.rows();
        let count = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
        let found = [count("two-clients"), count("step"), count("Compare B's bar"), count("typed")];
        assert_eq!((found, self.is_live()), ([1, 3, 1, 0], false), "{rows:#?}");
        let cursor = self.screen.screen().cursor_position();
        assert!(cursor == (22, 0) && rows[21].starts_with("Compare"), "{cursor:?} {rows:#?}");
    }
}

fn size(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a size")
}

#[test]
fn live_page_survives_keys_stops_and_another_size() {
    let mut session = Session::start(&mut compare(&["two-clients", "--pace", "6"]), 80);
    session.read_until("a live page with a bar that grows", |session| {
        session.is_live() && session.rows().iter().any(|row| row.contains("  ██████"))
    });
    session.type_keys("typed\n\n\n");
    let process = Process(session.terminal.child.id());
    process.stop();
    process.resume();
    session.read_until("the page after a stop", |session| {
        session.output.matches("\x1b[?1049h").count() == 2
    });
    session.type_keys("\x1a");
    session.read_until("a terminal without the page", |session| !session.is_live());
    process.wait_until_stopped();
    process.resume();
    session.read_until("the page after Ctrl-Z", Session::is_live);
    let mut stty = Command::new("stty");
    let keys = session.terminal.keys.try_clone().expect("a duplicate");
    stty.args(["rows", "40", "columns", "120"]).stdin(keys);
    assert!(harness::launch(&mut stty).and_then(|mut stty| stty.wait()).expect("stty").success());
    session.screen.screen_mut().set_size(size(40), size(120));
    session.expect_one_picture();
}

#[test]
fn signals_end_compare_and_restore_the_terminal() {
    for (keys, signal) in [
        ("\x03", Signal::INT),
        ("\x1c", Signal::QUIT),
        ("", Signal::TERM),
        ("", Signal::HUP),
        ("", Signal::KILL),
    ] {
        let mut session = Session::start(&mut compare(&["two-clients", "--pace", "30"]), 80);
        session.read_until_words("step3-select");
        let servers = servers_of(session.terminal.child.id());
        session.type_keys(keys);
        if keys.is_empty() {
            Process(session.terminal.child.id()).signal(signal);
        }
        let status = session.finish();
        assert_eq!(status.signal(), Some(signal.as_raw()));
        let is_left = session.is_live() || session.screen.screen().hide_cursor();
        assert_eq!(is_left, signal == Signal::KILL, "{signal:?}");
        wait_until("the end of the servers", || !servers.iter().any(is_running));
    }
}

#[test]
fn signal_ends_compare_that_is_process_1() {
    let Some(mut compare) = in_namespaces(&PROCESS_1, Path::new(COMPARE)) else { return };
    compare.args(["two-clients", "--pace", "30"]);
    let mut session = Session::start(&mut compare, 80);
    session.read_until_words("step3-select");
    session.type_keys("\x03");
    assert_eq!(session.finish().code(), Some(128 + 2));
    assert!(!session.is_live(), "expected a terminal without the page");

    let mut without_terminal = ChildGuard(compare.spawn().expect("unshare starts"));
    let unshare = Process(without_terminal.0.id());
    let process_1 = poll_until(TIMEOUT, || unshare.children().first().copied());
    let process_1 = process_1.expect("compare");
    servers_of(process_1.0);
    process_1.signal(Signal::TERM);
    let status = poll_until(TIMEOUT, || without_terminal.0.try_wait().expect("a child"));
    assert_eq!(status.expect("an end").code(), Some(128 + 15));
}

#[test]
fn pause_takes_enter_s_and_q() {
    let scenarios = ["stream", "one-client", "crowd", "two-clients", "--pause"];
    let mut session = Session::start(&mut compare(&scenarios), 80);
    for (words, keys) in [
        ("Enter starts it, s and Enter skips it, q and Enter stops.", "\n"),
        ("Enter continues, q and Enter stops.", "\n"),
        ("one-client   A sends", "s\n"),
        ("crowd   Eight", "q\n"),
    ] {
        session.read_until_words(words);
        session.type_keys(keys);
    }
    assert!(session.finish().success());
    let questions = session.output.matches("What do you expect?").count();
    assert!(questions == 3 && !session.output.contains("two-clients"), "{}", session.output);
}

#[test]
fn terminal_and_no_color_decide_on_pages_and_colours() {
    let output_with = |setting: &str, columns| {
        let mut env = Command::new("env");
        let mut session = Session::start(env.args([setting, COMPARE, "stream"]), columns);
        session.finish();
        session.output
    };
    let coloured = output_with("NO_COLOR=", 80);
    assert!(coloured.contains("\x1b[?1049h") && coloured.contains("\x1b[1mstream"), "{coloured:?}");
    // However narrow the terminal is, the page stays on its own screen.
    let plain = output_with("NO_COLOR=1", 20);
    let (page, picture) = plain.split_once("\x1b[?1049l").expect("a page and a picture");
    assert!(page.starts_with("\x1b[?1049h"), "{plain:?}");
    assert!(!page.contains("\x1b[1m") && !picture.contains("\x1b[1m"), "{plain:?}");
    assert!(picture.ends_with("returns?\r\n"), "{plain:?}");
    let dumb = output_with("TERM=dumb", 80);
    assert!(!dumb.contains('\x1b') && dumb.contains("step1-blocking"), "{dumb:?}");
}
