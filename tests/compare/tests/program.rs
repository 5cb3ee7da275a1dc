//! The program `compare` as one starts it: what it says and writes, on a terminal too, and how it
//! ends. What it draws and what it finds is tested beside it.

#![forbid(unsafe_code)]

mod terminal;

use std::fs;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use harness::{DEADLINE, Process, Signal, wait_until};
use terminal::OnTerminal;

fn compare(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_compare"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    compare(arguments).output().expect("compare")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A path for a folder of one test, where there is none.
fn no_folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _none_from_before = fs::remove_dir_all(&folder);
    folder
}

#[test]
fn an_unknown_scenario_is_exit_code_2_with_the_names_that_exist() {
    let output = run(&["two-clients", "three-clients"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(2), String::new()));
    let said = text(&output.stderr);
    for line in text(&run(&["--list"]).stdout).lines() {
        let scenario = line.split(' ').next().expect("a name");
        assert!(said.contains(scenario), "{scenario} was expected in {said}");
    }
}

#[test]
fn wrong_flags_are_exit_code_2() {
    for wrong in [&["--step", "step4"][..], &["--pace", "0"], &["--pace", "nan"], &["--slow"]] {
        let output = run(wrong);
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {}", text(&output.stderr));
    }
}

#[test]
fn a_scenario_on_a_step_that_it_is_not_for_is_left_out_and_nothing_at_all_is_exit_code_2() {
    let output = run(&["idle-crowd", "--step", "step1-blocking"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("idle-crowd is for step3-select, mio, tokio alone"));
}

#[test]
fn two_clients_can_be_shown_on_what_comes_after_too() {
    let output = run(&["two-clients", "--step", "tokio", "--step", "mio"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    assert_eq!(drawn.matches("server  ").count(), 2, "{drawn}");
    assert!(drawn.contains("epoll") && !drawn.contains("accept()"), "{drawn}");
    assert!(!drawn.contains("step"), "{drawn}");
}

#[test]
fn a_finished_picture_that_is_no_terminals_has_neither_colour_nor_frames() {
    let output = run(&["one-client", "--ascii"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let drawn = text(&output.stdout);
    assert!(drawn.is_ascii() && !drawn.contains('\x1b'), "{drawn}");
    assert_eq!(drawn.matches("step1-blocking").count(), 1, "{drawn}");
    assert!(drawn.contains("server  ") && drawn.contains("---o"), "{drawn}");
}

#[test]
fn files_are_written_and_those_of_the_same_name_and_no_others_replaced() {
    let svg_folder = no_folder("compare-files").join("pictures/new");
    fs::create_dir_all(&svg_folder).expect("a folder");
    for name in ["stream.svg", "compare"] {
        fs::write(svg_folder.join(name), "old").expect("a file");
    }
    let svgs = svg_folder.to_str().expect("a path in UTF-8");
    let output = run(&["stream", "--svg", svgs]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let svg = fs::read_to_string(svg_folder.join("stream.svg")).expect("stream.svg");
    assert!(svg.starts_with("<svg") && svg.contains("<title") && svg.contains("<desc"), "{svg}");
    assert!(svg.contains("3 messages, 14 bytes → 1 answer"), "{svg}");
    assert_eq!(fs::read(svg_folder.join("compare")).expect("compare"), b"old");
    let left = fs::read_dir(&svg_folder).expect("a folder").count();
    assert_eq!(left, 2, "nothing else was expected in the folder");
}

#[test]
fn a_file_that_cannot_be_put_in_its_place_is_an_error_and_leaves_none_beside_it() {
    let folder = no_folder("compare-no-place");
    let mut compare = compare(&["stream", "--pause", "--svg"]);
    compare.arg(&folder).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = compare.spawn().expect("compare");
    let mut question = [0; 10];
    child.stdout.as_mut().expect("its output").read_exact(&mut question).expect("a question");
    fs::create_dir(folder.join("stream.svg")).expect("a folder");
    child.stdin.as_mut().expect("its input").write_all(b"\n").expect("Enter");
    let output = child.wait_with_output().expect("compare");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cannot be written"), "{}", text(&output.stderr));
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 1);
}

#[test]
fn a_folder_that_cannot_be_written_is_an_error_before_anything_runs() {
    let folder = no_folder("compare-no-folder");
    fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("file");
    fs::write(&file, "").expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    fs::create_dir_all(folder.join("stream.svg")).expect("a folder");
    for wrong in [["--svg", file], ["--svg", folder.to_str().expect("a path in UTF-8")]] {
        let output = run(&[&["stream"], &wrong[..]].concat());
        assert_eq!(output.status.code(), Some(1), "{wrong:?}");
        assert_eq!(text(&output.stdout), "", "nothing was expected to run with {wrong:?}");
        assert!(text(&output.stderr).contains("cannot be written"), "{}", text(&output.stderr));
    }
}

#[test]
fn where_the_descriptor_limit_is_low_one_line_says_so_before_anything_plays() {
    let run = format!("ulimit -n 128 && exec {} stream idle-crowd", env!("CARGO_BIN_EXE_compare"));
    let output = Command::new("sh").args(["-c", &run]).stdin(Stdio::null()).output();
    let output = output.expect("sh");
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), String::new()));
    let said = text(&output.stderr);
    let expected = "this takes 2743 open descriptors, and the hard limit is 128: raise it";
    assert!(said.contains(expected) && said.lines().count() == 1, "{said}");
}

#[test]
fn a_reader_that_has_left_is_no_reason_to_panic() {
    let nobody = || io::pipe().expect("a pipe").1;
    let output = compare(&["stream"]).stdout(nobody()).output().expect("compare");
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(1) && !said.contains("panicked"), "{said}");
    let mut left_out = compare(&["idle-crowd", "--step", "step1-blocking"]);
    let status = left_out.stderr(nobody()).status().expect("compare");
    assert_eq!(status.code(), Some(2));
}

// No server outlives it.

/// The processes that `parent` started and that are still there.
fn children(parent: u32) -> Vec<u32> {
    let ps = Command::new("ps").args(["-A", "-o", "pid=,ppid="]).output().expect("ps");
    let pairs = text(&ps.stdout);
    let pairs = pairs.lines().filter_map(|line| {
        let (pid, ppid) = line.trim().split_once(char::is_whitespace)?;
        Some((pid.parse::<u32>().ok()?, ppid.trim().parse::<u32>().ok()?))
    });
    pairs.filter(|(_, ppid)| *ppid == parent).map(|(pid, _)| pid).collect()
}

fn is_there(server: &u32) -> bool {
    // A zombie has no memory.
    Process(*server).memory_if_there().is_some_and(|kib| kib > 0)
}

/// A `compare` that is in the middle of a scenario, and its three servers: each has a client, where
/// the system tells. Cargo, which it asks first for the servers, and the shell of its guard are
/// children too: they go.
fn in_the_middle(pace: &str) -> (Child, Vec<u32>) {
    let mut compare = compare(&["two-clients", "--pace", pace]);
    let compare = compare.stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = compare.spawn().expect("compare");
    // Standard input, output and error, the listening socket, and a client.
    let has_a_client = |server: &u32| Process(*server).descriptors().is_none_or(|open| open > 4);
    let mut servers = Vec::new();
    wait_until("three servers that have a client", || {
        servers = children(child.id());
        servers.len() == 3 && servers.iter().all(has_a_client)
    });
    (child, servers)
}

#[test]
fn no_server_outlives_a_compare_that_a_signal_ends_for_long() {
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::KILL];
    let running = signals.map(|signal| (signal, in_the_middle("30")));
    for (signal, (mut child, servers)) in running {
        assert!(servers.iter().all(is_there), "three servers were expected");
        Process(child.id()).signal(signal);
        let status = child.wait().expect("compare");
        assert_eq!(status.signal(), Some(signal.as_raw()), "an end by {signal:?} was expected");
        wait_until("the end of the servers", || !servers.iter().any(is_there));
    }
}

#[test]
fn a_server_that_ends_in_the_middle_is_said_and_is_exit_code_1_and_no_other_outlives_it() {
    let (child, servers) = in_the_middle("1.2");
    Process(servers[2]).signal(Signal::KILL);
    let output = child.wait_with_output().expect("compare");
    let (drawn, said) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("compare: two-clients: step"), "{said}");
    assert!(said.contains(": A: ") || said.contains(": B: "), "what a client met, not {said}");
    assert!(!said.contains("panicked"), "{said}");
    if !drawn.contains("was stopped meanwhile") {
        // Where the machine was slow to end it, B had an answer before.
        let ended = ["B was not answered", "when A left is not known"];
        assert!(ended.iter().any(|finding| drawn.contains(finding)), "{drawn}");
        assert!(drawn.contains("until A left") || drawn.contains("A was still there"), "{drawn}");
    }
    assert!(!servers.iter().any(is_there), "servers outlived compare");
}

// On a terminal.

fn start(command: &mut Command, rows: u16, columns: u16) -> OnTerminal {
    OnTerminal::start(command.stderr(Stdio::null()), (rows, columns))
}

/// All that comes until `compare` has ended and closed the terminal.
fn read_to_the_end(terminal: &mut OnTerminal) -> Vec<(Instant, Vec<u8>)> {
    let mut all = Vec::new();
    loop {
        let has_ended = !matches!(terminal.child.try_wait(), Ok(None));
        // A child of another test may hold the terminal too, if it was started in the moment
        // before the copies: then nothing more comes, but no end either.
        match terminal.output.recv_timeout(Duration::from_secs(2)) {
            Ok(some) => all.push(some),
            Err(RecvTimeoutError::Timeout) if !has_ended => {}
            Err(_) => return all,
        }
    }
}

/// For each picture of `two-clients`, when it came and how long `A`'s lane was at each step; and the
/// rows in the end.
fn pictures_of_two_clients(rows: u16) -> (Vec<(Instant, Vec<usize>)>, Vec<String>) {
    let mut terminal = start(&mut compare(&["two-clients"]), rows, 80);
    let mut screen = terminal::screen((rows, 80));
    let mut lengths: Vec<(Instant, Vec<usize>)> = Vec::new();
    for (time, bytes) in read_to_the_end(&mut terminal) {
        screen.process(&bytes);
        let rows = terminal::rows_of(screen.screen());
        // What was read may end in the middle of a picture.
        let legend = rows.iter().position(|row| row.starts_with("server: "));
        let below = usize::from(screen.screen().cursor_position().0);
        if !bytes.ends_with(b"\n") || legend.is_none_or(|legend| below <= legend) {
            continue;
        }
        assert!(rows[0].starts_with("two-clients   A stays for a second."), "{rows:#?}");
        let lanes = rows.iter().filter(|row| row.starts_with("       A  "));
        let now: Vec<usize> = lanes.map(|row| row.chars().count() - 10).collect();
        if now.len() == 3 && lengths.last().is_none_or(|(_, last)| *last != now) {
            lengths.push((time, now));
        }
    }
    assert!(terminal.child.wait().expect("compare").success());
    (lengths, terminal::rows_of(screen.screen()))
}

#[test]
fn the_lanes_grow_while_the_scenario_runs() {
    // Where a busy machine took longer than planned, the scale is another: it is tried again.
    let mut tries = (0..10).map(|_| pictures_of_two_clients(24));
    let is_as_planned = |(_, rows): &(_, Vec<String>)| rows[3].contains("B waited 80");
    let (lengths, rows) = tries.find(is_as_planned).expect("a wait as planned, once in ten times");
    let (Some((first, start)), Some((last, end))) = (lengths.first(), lengths.last()) else {
        panic!("lanes were expected on the screen:\n{rows:#?}");
    };
    // A stays for a second. The first picture is of its first moments, and it becomes longer many
    // times before it is whole.
    assert!(start.iter().all(|length| *length < 25), "lanes of {start:?} columns at first");
    assert_eq!(end, &[51; 3], "51 columns until A leaves at 1000 ms");
    assert!(lengths.len() >= 8, "the lanes were expected to grow in many steps: {lengths:?}");
    assert!(*last - *first > Duration::from_millis(400), "while A stayed, not at once");
    let grows =
        lengths.windows(2).all(|pair| (0..3).all(|step| pair[0].1[step] <= pair[1].1[step]));
    assert!(grows, "lanes only become longer: {lengths:?}");
    assert!(lengths.iter().all(|(_, now)| now[0].abs_diff(now[2]) < 3), "all steps at once");

    // What stays is the finished picture, whole and once.
    assert_eq!(rows.iter().filter(|row| row.starts_with("step")).count(), 3, "{rows:#?}");
    assert!(rows[19].starts_with("server: A B its turn"), "{rows:#?}");
    assert_eq!(rows[23], "", "the cursor stands below the picture: {rows:#?}");
}

#[test]
fn with_23_rows_the_lanes_grow_too_and_the_question_stays_on_the_screen() {
    let (lengths, rows) = pictures_of_two_clients(23);
    assert!(lengths.len() >= 8, "the lanes were expected to grow in many steps: {lengths:?}");
    assert!(rows[0].starts_with("two-clients   A stays for a second."), "{rows:#?}");
}

/// All that `compare` writes to a terminal.
fn on_terminal(command: &mut Command, rows: u16, columns: u16) -> String {
    let mut terminal = start(command, rows, columns);
    let bytes: Vec<u8> =
        read_to_the_end(&mut terminal).into_iter().flat_map(|(_, bytes)| bytes).collect();
    text(&bytes)
}

#[test]
fn a_terminal_that_is_too_small_or_no_live_shows_the_finished_picture_only() {
    for (flags, rows, columns) in
        [(&["stream"][..], 8, 80), (&["stream"], 24, 50), (&["stream", "--no-live"], 24, 80)]
    {
        let written = on_terminal(&mut compare(flags), rows, columns);
        let here = format!("here are {columns} and {rows}.");
        assert_eq!(written.contains(&here), !flags.contains(&"--no-live"), "{written:?}");
        assert_eq!(written.matches("step1-blocking").count(), 1, "{written:?}");
    }
    let live = on_terminal(&mut compare(&["stream"]), 24, 80);
    assert!(live.matches("step1-blocking").count() > 1 && live.contains("\x1b[2K"), "{live:?}");
}

#[test]
fn colour_comes_on_a_terminal_and_not_with_no_color() {
    let coloured = on_terminal(&mut compare(&["stream", "--no-live"]), 24, 80);
    assert!(coloured.contains("\x1b[1mstream\x1b[0m"), "{coloured:?}");
    let plain = on_terminal(compare(&["stream", "--no-live"]).env("NO_COLOR", "1"), 24, 80);
    assert!(!plain.contains('\x1b') && plain.contains("stream"), "{plain:?}");
}

/// Reads until those words stand on the screen; its rows then.
fn read_until(terminal: &mut OnTerminal, screen: &mut vt100::Parser, words: &str) -> Vec<String> {
    loop {
        let rows = terminal::rows_of(screen.screen());
        if rows.iter().any(|row| row.contains(words)) {
            return rows;
        }
        let some = terminal.output.recv_timeout(DEADLINE);
        let (_, bytes) = some.unwrap_or_else(|_| panic!("{words:?} was expected in {rows:#?}"));
        screen.process(&bytes);
    }
}

#[test]
fn pause_waits_for_enter_before_and_after_a_picture_which_stays_whole_till_then() {
    let mut terminal = start(&mut compare(&["stream", "one-client", "--pause"]), 16, 80);
    let mut screen = terminal::screen((16, 80));
    let mut waits = |words, first: &str, steps| {
        let rows = read_until(&mut terminal, &mut screen, words);
        assert!(rows[0].starts_with(first), "{rows:#?}");
        let drawn = rows.iter().filter(|row| row.starts_with("step")).count();
        assert_eq!(drawn, steps, "{rows:#?}");
        // It would take no longer than this if it did not wait.
        let more = terminal.output.recv_timeout(Duration::from_millis(500));
        assert!(more.is_err(), "nothing was expected before Enter, but {more:?} came");
        // What is typed before it need not be text.
        terminal.keys.write_all(b"\xff\n").expect("Enter");
    };
    waits("Enter starts it.", "stream   A sends", 0);
    waits("Enter goes on.", "stream   A sends", 3);
    waits("Enter starts it.", "one-client   A asks", 0);
    read_to_the_end(&mut terminal).iter().for_each(|(_, bytes)| screen.process(bytes));
    let rows = terminal::rows_of(screen.screen());
    assert!(rows[0].starts_with("one-client   A asks"), "the picture in its place: {rows:#?}");
    assert!(!rows.iter().any(|row| row.contains("Enter")), "{rows:#?}");
}

#[test]
fn keys_a_stop_and_another_size_leave_one_whole_picture() {
    let expect_whole = |rows: &[String]| {
        assert!(rows[0].starts_with("two-clients   A stays"), "{rows:#?}");
        let starts = |with: &str| rows.iter().filter(|row| row.starts_with(with)).count();
        let typed = starts("typed") + starts("a shell");
        assert_eq!((starts("two-clients"), starts("step"), typed), (1, 3, 0), "{rows:#?}");
    };
    let mut terminal = start(&mut compare(&["two-clients", "--pace", "3"]), 24, 80);
    let mut screen = terminal::screen((24, 80));
    read_until(&mut terminal, &mut screen, "step3-select");
    terminal.keys.write_all(b"typed\n\n\n").expect("keys");
    expect_whole(&read_until(&mut terminal, &mut screen, "~B"));
    let process = Process(terminal.child.id());
    process.stop();
    // As a shell writes meanwhile: the terminal echoes it.
    terminal.keys.write_all(b"a shell\n").expect("keys");
    process.go_on();
    let mut stty = Command::new("stty");
    stty.args(["rows", "23", "columns", "90"]).stdin(terminal.keys.try_clone().expect("a copy"));
    assert!(harness::start(&mut stty).and_then(|mut it| it.wait()).expect("stty").success());
    let [rows, columns] = [23, 90].map(|size| NonZero::new(size).expect("a size"));
    screen.screen_mut().set_size(rows, columns);
    read_to_the_end(&mut terminal).iter().for_each(|(_, bytes)| screen.process(bytes));
    expect_whole(&terminal::rows_of(screen.screen()));
}
