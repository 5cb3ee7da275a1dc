//! Runs `compare`. Tests its flags, its files, its live view on a terminal, and how it ends.

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
    ChildGuard, PROCESS_1_FLAGS, Process, PtyProgram, Signal, TIMEOUT, check_requirement,
    in_namespaces, poll_until, wait_until,
};

const COMPARE: &str = env!("CARGO_BIN_EXE_compare");

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(COMPARE);
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Runs a command. Returns its exit code, its standard output, and its standard error.
fn run(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("the output of a command");
    (status.code(), to_text(&stdout), to_text(&stderr).replace("Building the servers ...\n", ""))
}

fn to_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Creates an empty folder and returns its path.
fn create_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // The first time this fails, because the folder does not exist.
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).expect("a folder");
    folder
}

#[test]
fn errors_print_one_line_and_set_exit_code() {
    let folder = create_folder("compare-unwritable");
    fs::create_dir(folder.join("stream.svg")).expect("a folder");
    let folder = folder.to_str().expect("a path in UTF-8");
    // In another folder `compare` finds no servers next to it, so it must build them.
    let alone = create_folder("compare-alone").join("compare");
    fs::hard_link(COMPARE, &alone).expect("a hard link");
    let mut cargoless_command = Command::new(alone);
    cargoless_command.arg("stream").env("CARGO", "no-such-cargo");
    let mut cases = vec![
        (compare(&["three-clients"]), 2, "possible values: one-client, two-clients"),
        (compare(&["--step", "step4"]), 2, "possible values: step1-blocking"),
        (compare(&["--pace", "0"]), 2, "0 is not in 1..=60"),
        (compare(&["stream", "--svg", folder]), 1, "stream.svg: Is a directory"),
        (compare(&["stream", "--svg", COMPARE]), 1, "cannot create the folder"),
        (cargoless_command, 1, "cannot run cargo: No such file or directory"),
    ];
    if let Some(offline_command) = in_namespaces(&["--net"], COMPARE) {
        cases.push((offline_command, 1, "interface up?): Network is unreachable"));
    }
    for (mut command, exit_code, expected) in cases {
        let (code, _, errors) = run(&mut command);
        assert!(
            code == Some(exit_code) && errors.contains(expected),
            "expected exit code {exit_code} and {expected:?}, got {code:?} and {errors}"
        );
        assert!(exit_code == 2 || errors.lines().count() == 1, "expected one line, got {errors}");
    }
}

#[test]
fn every_scenario_is_measured_and_written_as_svg() {
    let folder = create_folder("compare-svg").join("svg");
    let (code, output, errors) = run(compare(&["--svg"]).arg(&folder));
    assert_eq!(code, Some(0), "{errors}");
    assert!(!output.contains('\x1b'), "expected plain text, got {output}");
    for (measurement, count) in [
        ("A waited ", 3),
        ("B waited ", 9),
        ("median  waited ", 1),
        ("A was blocked after ", 3),
        ("3      14           1", 3),
        ("900 idle", 3),
    ] {
        let found = output.matches(measurement).count();
        assert!(found == count, "expected {count} times {measurement:?}, got {output}");
    }
    assert!(output.contains('◇'), "expected a server blocked in send(), got {output}");
    assert!(!output.contains("10000           1\n"), "expected several responses, got {output}");
    for line in run(&mut compare(&["--list"])).1.lines() {
        let (scenario, question) = line.split_once(' ').expect("a name and a question");
        assert!(output.contains(question.trim()), "expected {question:?}, got {output}");
        let svg = fs::read_to_string(folder.join(format!("{scenario}.svg"))).expect("an SVG file");
        let has_question = svg.starts_with("<svg") && svg.contains(question.trim());
        assert!(has_question, "expected an SVG file with {question:?}, got {svg}");
    }
}

#[test]
fn step_chooses_the_servers() {
    let mut compare = compare(&["one-client", "--step", "step1-blocking"]);
    let (code, output, errors) = run(compare.args(["--step", "tasks", "--step", "tokio"]));
    let waits = output.matches("A waited").count();
    assert!(code == Some(0) && waits == 3, "expected 3 servers, got {output}{errors}");
    let (blocking_lanes, example_lanes) =
        output.split_once("tasks   A").expect("the lanes of tasks");
    // After the first two requests, the server is blocked in recv() until the next request.
    assert!(blocking_lanes.matches("Aa").count() >= 2, "expected Aa twice, got {blocking_lanes}");
    // In `tasks` and `tokio`, `Before recv()` does not mean that the server is blocked in recv().
    let has_epoll = example_lanes.contains("A~") && example_lanes.contains("epoll");
    assert!(has_epoll && !example_lanes.contains("Aa"), "expected A~, got {example_lanes}");
}

#[test]
fn compare_runs_if_its_parent_ignores_sigchld() {
    let perl_script = "$SIG{CHLD} = 'IGNORE'; exec @ARGV";
    if check_requirement("perl", harness::can_run("perl", &["-e", ""])) {
        let mut perl = Command::new("perl");
        // At the end of standard input, `--pause` does not wait.
        perl.args(["-e", perl_script, COMPARE, "stream", "--pause"]).stdin(Stdio::null());
        let (code, output, errors) = run(&mut perl);
        let is_drawn = code == Some(0) && output.contains("step1-blocking");
        assert!(is_drawn, "expected a picture, got {code:?}, {output}{errors}");
    }
}

#[test]
fn compare_fails_silently_without_reader() {
    let (_, writer) = io::pipe().expect("a pipe");
    let output = compare(&["stream"]).stdout(writer).output().expect("the output of compare");
    let has_errors = to_text(&output.stderr).contains("compare: ");
    let is_silent = output.status.code() == Some(1) && !has_errors;
    assert!(is_silent, "expected exit code 1 and no errors, got {output:?}");
}

fn is_running(server: &u32) -> bool {
    // The memory of a zombie is 0.
    Process(*server).memory_kib() > 0
}

/// Waits until each of the three servers of a `compare` has a client, and returns their process IDs.
/// If the system does not report file descriptors, the servers may have no client yet.
fn wait_for_servers(compare: u32) -> Vec<u32> {
    // Without clients: standard input, standard output, standard error, and the listening socket.
    let has_client =
        |server: &u32| Process(*server).count_file_descriptors().is_none_or(|open| open > 4);
    let mut servers: Vec<u32> = Vec::new();
    wait_until("three servers with a client each", || {
        // Cargo can be a child too, and so can the shell that kills leftover servers if `compare` is
        // process 1. So list only the children with `step` in their names.
        let (_, children, _) =
            run(Command::new("pgrep").args(["-P", &compare.to_string(), "step"]));
        servers = children.lines().filter_map(|pid| pid.parse().ok()).collect();
        servers.len() == 3 && servers.iter().all(has_client)
    });
    servers
}

#[test]
fn compare_fails_if_server_is_killed() {
    let mut compare = compare(&["two-clients", "--pace", "5"]);
    let compare = compare.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = compare.spawn().expect("a process of compare");
    let servers = wait_for_servers(child.id());
    Process(servers[2]).signal(Signal::KILL);
    let output = child.wait_with_output().expect("the output of compare");
    let (errors, code) = (to_text(&output.stderr), output.status.code());
    let output = to_text(&output.stdout);
    let is_reported = errors.contains("compare: two-clients, step") && !errors.contains("panicked");
    assert!(code == Some(1) && is_reported, "expected one failure, got {code:?}, {errors}");
    assert!(output.contains("got no response"), "expected a missing response, got {output}");
    assert!(!servers.iter().any(is_running), "expected no server to outlive compare");
}

/// A `compare` on a terminal.
struct Session {
    terminal: PtyProgram,
    screen: vt100::Parser,
    /// The output of `compare` so far.
    output: String,
}

impl Session {
    fn start(command: &mut Command, columns: u16) -> Self {
        let terminal = PtyProgram::start(command.stderr(Stdio::null()), (24, columns));
        let terminal = terminal.expect("a terminal");
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
        self.output += &to_text(&bytes);
        Ok(())
    }

    fn read_until(&mut self, expected: &str, mut is_shown: impl FnMut(&Self) -> bool) {
        while !is_shown(self) {
            let read = self.read(TIMEOUT);
            assert!(read.is_ok(), "expected {expected}, got {:#?}", self.rows());
        }
    }

    fn read_until_words(&mut self, words: &str) {
        self.read_until(words, |session| session.rows().iter().any(|row| row.contains(words)));
    }

    fn type_keys(&mut self, keys: &str) {
        self.terminal.keys.write_all(keys.as_bytes()).expect("an open terminal");
    }

    /// Waits until `compare` has ended, and reads the rest of its output.
    fn finish(&mut self) -> ExitStatus {
        let status = self.terminal.child.wait().expect("the exit status of compare");
        // The terminal may stay open, because a child of another test can have a duplicate of it.
        while self.read(Duration::from_secs(2)).is_ok() {}
        status
    }
}

fn size(number: u16) -> NonZero<u16> {
    NonZero::new(number).expect("a positive size")
}

#[test]
fn live_view_survives_keys_stops_and_resize() {
    let mut session = Session::start(&mut compare(&["two-clients", "--pace", "6"]), 80);
    session.read_until("a live view with a growing bar", |session| {
        session.is_live() && session.rows().iter().any(|row| row.contains("  ██████"))
    });
    session.type_keys("typed\n\n\n");
    let process = Process(session.terminal.child.id());
    process.stop();
    process.resume();
    session.read_until("the live view after SIGCONT", |session| {
        session.output.matches("\x1b[?1049h").count() == 2
    });
    session.type_keys("\x1a");
    session.read_until("a terminal without the live view", |session| !session.is_live());
    process.wait_until_stopped();
    process.resume();
    session.read_until("the live view after Ctrl-Z and SIGCONT", Session::is_live);
    let mut stty = Command::new("stty");
    let keys = session.terminal.keys.try_clone().expect("a duplicate of the terminal");
    stty.args(["rows", "40", "columns", "120"]).stdin(keys);
    let stty = harness::launch(&mut stty).and_then(|mut stty| stty.wait());
    assert!(stty.expect("the exit status of stty").success(), "stty failed");
    session.screen.screen_mut().set_size(size(40), size(120));
    session.finish();
    // One whole picture, and no trace of the live view or of typed keys.
    let rows = session.rows();
    let count = |start: &str| rows.iter().filter(|row| row.starts_with(start)).count();
    let found = [count("two-clients"), count("step"), count("Compare B's bar"), count("typed")];
    let is_one_picture = found == [1, 3, 1, 0] && !session.is_live();
    assert!(is_one_picture, "expected one picture, got {rows:#?}");
    let cursor = session.screen.screen().cursor_position();
    let is_at_end = cursor == (22, 0) && rows[21].starts_with("Compare");
    assert!(is_at_end, "expected the cursor below the picture, got {cursor:?} {rows:#?}");
}

#[test]
fn signals_end_compare_and_restore_the_terminal() {
    for signal in [Signal::INT, Signal::QUIT, Signal::TERM, Signal::HUP] {
        let mut session = Session::start(&mut compare(&["two-clients", "--pace", "30"]), 80);
        session.read_until_words("step3-select");
        let servers = wait_for_servers(session.terminal.child.id());
        match signal {
            Signal::INT => session.type_keys("\x03"),
            Signal::QUIT => session.type_keys("\x1c"),
            _ => Process(session.terminal.child.id()).signal(signal),
        }
        let status = session.finish();
        assert_eq!(status.signal(), Some(signal.as_raw()), "expected an end by {signal:?}");
        let is_restored = !session.is_live() && !session.screen.screen().hide_cursor();
        assert!(is_restored, "expected a restored terminal after {signal:?}");
        wait_until("the end of the servers", || !servers.iter().any(is_running));
    }
}

#[test]
fn signal_ends_compare_that_is_process_1() {
    let Some(mut compare) = in_namespaces(&PROCESS_1_FLAGS, COMPARE) else { return };
    compare.args(["two-clients", "--pace", "30"]);
    let mut session = Session::start(&mut compare, 80);
    session.read_until_words("step3-select");
    session.type_keys("\x03");
    assert_eq!(session.finish().code(), Some(128 + 2), "expected the exit code for SIGINT");
    assert!(!session.is_live(), "expected a terminal without the live view");

    let mut background_compare = ChildGuard(compare.spawn().expect("a process of unshare"));
    let unshare = Process(background_compare.0.id());
    let process_1 = poll_until(TIMEOUT, || unshare.children().first().copied());
    let process_1 = process_1.expect("a child of unshare");
    wait_for_servers(process_1.0);
    process_1.signal(Signal::TERM);
    let status = background_compare.0.wait().expect("the exit status of unshare");
    assert_eq!(status.code(), Some(128 + 15), "expected the exit code for SIGTERM");
}

#[test]
fn pause_takes_enter_s_and_q() {
    let scenarios = ["stream", "one-client", "crowd", "two-clients", "--pause"];
    let mut session = Session::start(&mut compare(&scenarios), 80);
    for (words, keys) in [
        ("Press Enter to start, s and Enter to skip, q and Enter to stop.", "\n"),
        ("Press Enter to continue, q and Enter to stop.", "\n"),
        ("one-client   A sends", "s\n"),
        ("crowd   Eight", "q\n"),
    ] {
        session.read_until_words(words);
        session.type_keys(keys);
    }
    assert!(session.finish().success(), "expected exit code 0, got {}", session.output);
    let questions = session.output.matches("What do you expect?").count();
    let has_stopped = questions == 3 && !session.output.contains("two-clients");
    assert!(has_stopped, "expected 3 questions, got {}", session.output);
}

#[test]
fn no_color_and_dumb_terminal_disable_colours() {
    let run_with = |setting: &str, columns| {
        let mut env = Command::new("env");
        let mut session = Session::start(env.args([setting, COMPARE, "stream"]), columns);
        session.finish();
        session.output
    };
    let coloured = run_with("NO_COLOR=", 80);
    let is_bold = coloured.contains("\x1b[?1049h") && coloured.contains("\x1b[1mstream");
    assert!(is_bold, "expected a live view with bold text, got {coloured:?}");
    // On a narrow terminal too, the live view leaves no trace above the picture.
    let plain = run_with("NO_COLOR=1", 20);
    let is_plain = plain.starts_with("\x1b[?1049h") && !plain.contains("\x1b[1m");
    assert!(is_plain, "expected a live view without bold text, got {plain:?}");
    let (_, picture) = plain.split_once("\x1b[?1049l").expect("a live view and a picture");
    assert!(picture.ends_with("returns?\r\n"), "expected a whole picture, got {picture:?}");
    let dumb = run_with("TERM=dumb", 80);
    let is_dumb = !dumb.contains('\x1b') && dumb.contains("step1-blocking");
    assert!(is_dumb, "expected a picture without escape sequences, got {dumb:?}");
}
