//! Drawings of recordings made by hand, compared with the files in `expected`. After a change that
//! is meant to change them: `UPDATE_EXPECTED=1 cargo test -p compare --bin compare`, then look at
//! the diff.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::Step;
use harness::kernel::Call::{Accept, Recv, Select, Send};
use ratatui::{Terminal, backend::TestBackend};

use crate::draw::draw;
use crate::page;
use crate::recording::ClientEvent::{
    self, Disconnect, Flood, Measured, Request, Response, Stuck, Think, Write,
};
use crate::recording::{Recording, ServerState, Timeline, letter};
use crate::scenario::Scenario;
use crate::svg::svg;

const STEPS: [Step; 3] = Step::STEPS;

/// A client that sends a request and gets the response, for each pair of times, and thinks after it.
fn client(waits: &[(u64, u64)], disconnect: Option<u64>) -> Vec<(u64, ClientEvent)> {
    let mut events = Vec::new();
    for (request, response) in waits {
        events.extend([(*request, Request), (*response, Response), (*response, Think)]);
    }
    match disconnect {
        Some(time) => events.push((time, Disconnect)),
        None => _ = events.pop(),
    }
    events
}

/// Makes a timeline. The server is written down as `0 A; 1 recv A; 1000 AB; 1001 select`.
fn timeline(step: Step, server: &str, clients: Vec<Vec<(u64, ClientEvent)>>) -> Timeline {
    let ms = Duration::from_millis;
    let mut states = Vec::new();
    for state in server.split("; ").filter(|state| !state.is_empty()) {
        let mut words = state.split(' ').peekable();
        let at = words.next().and_then(|at| at.parse().ok()).expect("a time");
        let calls = [("accept", Accept), ("recv", Recv), ("send", Send), ("select", Select)];
        let call = words.peek().and_then(|word| calls.iter().find(|(name, _)| name == word));
        let letters = state.chars().filter(char::is_ascii_uppercase);
        let clients = letters.map(|letter| letter as usize - 'A' as usize).collect();
        states.push((ms(at), ServerState { blocked_in: call.map(|(_, call)| *call), clients }));
    }
    let events = |it: Vec<_>| it.into_iter().map(|(at, event)| (ms(at), event)).collect();
    let clients = clients.into_iter().map(events).collect();
    Timeline { step, server: states, clients, failures: Vec::new() }
}

fn recording(name: &str, until: u64, timelines: [Timeline; 3]) -> Recording {
    let until = Duration::from_millis(until);
    let scenario = Scenario::named(name).expect("a scenario");
    Recording { scenario, planned: until, until, timelines: timelines.into() }
}

fn two_clients() -> Recording {
    let timelines = STEPS.map(|step| {
        let (server, waits, end) = if step.blocks() {
            let server = "0 A; 1 recv A; 1000 B; 1001 recv B; 1200 B; 1201 accept";
            (server, [(200, 1000), (1200, 1200)], 1201)
        } else {
            let server = "0 A; 1 select; 200 B; 201 select; 400 B; 401 select; 1000 A; 1001 select";
            (server, [(200, 200), (400, 400)], 401)
        };
        let a = client(&[(0, 0)], Some(1000));
        timeline(step, server, vec![a, client(&waits, Some(end))])
    });
    recording("two-clients", 1302, timelines)
}

fn crowd() -> Recording {
    let timelines = STEPS.map(|step| {
        let mut server = String::new();
        let mut clients = Vec::new();
        for number in 0..10 {
            let turn = if step.blocks() { 100 * number } else { 0 };
            clients.push(client(&[(0, turn), (turn + 100, turn + 100)], None));
            if step.blocks() {
                let letter = letter(number as usize);
                server += &format!("{turn} {letter}; {} recv {letter}; ", turn + 1);
            }
        }
        let together = "0 ABCDEFGHIJ; 1 select";
        timeline(step, if step.blocks() { &server } else { together }, clients)
    });
    recording("crowd", 1050, timelines)
}

fn stream() -> Recording {
    let short = (0, Write { messages: 3, bytes: 14 });
    let long = (2, Write { messages: 1, bytes: 10_000 });
    let events = vec![short, (1, Response), long, (3, Response), (3, Response), (3, Response)];
    recording("stream", 3, STEPS.map(|step| timeline(step, "", vec![events.clone()])))
}

fn stalled_reader() -> Recording {
    let steps = [
        (Step::Functions, "0 A; 700 send A; 1700 B; 1701 accept", 1700),
        (Step::Bare, "0 A; 700 send A; 1700 B; 1701 select", 1700),
        (Step::Select, "0 A; 700 select; 1200 B; 1201 select", 1200),
    ];
    let timelines = steps.map(|(step, server, response)| {
        let a = vec![(0, Flood), (1200, Stuck), (1700, Disconnect)];
        timeline(step, server, vec![a, client(&[(1200, response)], Some(response))])
    });
    recording("stalled-reader", 1800, timelines)
}

fn idle_crowd() -> Recording {
    let steps = [(Step::Select, [10, 30, 180]), (Step::Mio, [20; 3]), (Step::Tokio, [20, 21, 24])];
    let timelines = steps.map(|(step, micros)| {
        let mut events = Vec::new();
        for (idle, micros) in [0, 100, 900].into_iter().zip(micros) {
            for times in [1, 9, 1] {
                let time = Duration::from_micros(micros * times);
                events.push((0, Measured { idle, time, is_cpu_time: true }));
            }
        }
        timeline(step, "", vec![events])
    });
    recording("idle-crowd", 5, timelines)
}

fn all() -> [Recording; 5] {
    [two_clients(), crowd(), stream(), stalled_reader(), idle_crowd()]
}

fn expect_file(name: &str, drawn: &str) {
    // The legend of the bars names a debug build.
    let drawn = drawn.replace("; debug build", "");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, &drawn).expect("the file is written");
    }
    let expected = fs::read_to_string(&file).expect("the file is read");
    assert!(drawn == expected, "{name}: expected\n{expected}\ngot\n{drawn}");
}

#[test]
fn recordings_are_drawn_as_expected() {
    for recording in all() {
        let name = recording.scenario.name;
        let picture = draw(&recording, true, 80);
        expect_file(&format!("{name}.txt"), &picture.plain(false));
        if name != "stalled-reader" {
            expect_file(&format!("{name}.svg"), &svg(&picture, &recording));
        }
    }
    expect_file("two-clients.120.txt", &draw(&two_clients(), true, 120).plain(false));
    expect_file("stalled-reader.colour.txt", &draw(&stalled_reader(), true, 80).plain(true));
}

#[test]
fn pictures_fit_from_60_to_160_columns_and_in_22_rows() {
    for recording in all() {
        for width in 60..=160 {
            for is_finished in [false, true] {
                let picture = draw(&recording, is_finished, width);
                let (columns, rows) = (picture.width(), picture.rows.len());
                let fits = columns < width && (rows <= 22 || width < 80);
                assert!(fits, "{}: {columns} × {rows} at {width}", recording.scenario.name);
            }
        }
    }
}

#[test]
fn page_shows_the_recording_so_far_and_follows_the_size() {
    let mut so_far = two_clients();
    so_far.until = Duration::from_millis(600);
    for timeline in &mut so_far.timelines {
        timeline.server.retain(|(at, _)| at.as_millis() < 600);
        timeline.clients.iter_mut().for_each(|it| it.retain(|(at, _)| at.as_millis() < 600));
    }
    let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a terminal");
    page::draw(&mut terminal, &draw(&so_far, false, 80)).expect("it is drawn");
    expect_file("two-clients.live.txt", &terminal.backend().to_string());
    terminal.backend_mut().resize(60, 10);
    page::draw(&mut terminal, &draw(&so_far, false, 60)).expect("it is drawn");
    let page = terminal.backend().to_string();
    let titles = page.matches("A stays connected").count();
    assert_eq!((titles, page.lines().count()), (1, 10), "{page}");
}
