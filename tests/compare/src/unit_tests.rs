//! Drawings of recordings made by hand, compared with the files in `expected`. After a change that
//! is meant to change them: `UPDATE_EXPECTED=1 cargo test -p compare --bin compare`, then look at
//! the diff.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::Step;
use ratatui::{Terminal, backend::TestBackend};

use crate::draw::draw;
use crate::page;
use crate::recording::ClientEvent::{
    self, Disconnect, Flood, Measured, Request, Response, Stuck, Think, Write,
};
use crate::recording::{Call, Recording, ServerState, Timeline};
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

fn timeline(
    step: Step,
    server: &[(u64, Option<Call>, &[usize])],
    clients: Vec<Vec<(u64, ClientEvent)>>,
) -> Timeline {
    let ms = Duration::from_millis;
    let server = server.iter().map(|(at, blocked_in, clients)| {
        (ms(*at), ServerState { blocked_in: *blocked_in, clients: clients.to_vec() })
    });
    let events = |it: Vec<_>| it.into_iter().map(|(at, event)| (ms(at), event)).collect();
    let clients = clients.into_iter().map(events).collect();
    Timeline { step, server: server.collect(), clients, failures: Vec::new() }
}

fn recording(name: &str, until: u64, timelines: [Timeline; 3]) -> Recording {
    let until = Duration::from_millis(until);
    let scenario = Scenario::named(name).expect("a scenario");
    Recording { scenario, planned: until, until, timelines: timelines.into() }
}

fn two_clients() -> Recording {
    let [accept, recv, select] = [Call::Accept, Call::Recv, Call::Select].map(Some);
    let timelines = STEPS.map(|step| {
        let a = client(&[(0, 0)], Some(1000));
        if step == Step::Select {
            let mut server: Vec<(u64, Option<Call>, &[usize])> = Vec::new();
            for (at, client) in [(0, &[0]), (200, &[1]), (400, &[1]), (1000, &[0])] {
                server.extend([(at, None, &client[..]), (at + 1, select, &[])]);
            }
            return timeline(step, &server, vec![a, client(&[(200, 200), (400, 400)], Some(401))]);
        }
        let server: [(u64, Option<Call>, &[usize]); 6] = [
            (0, None, &[0]),
            (1, recv, &[0]),
            (1000, None, &[1]),
            (1001, recv, &[1]),
            (1200, None, &[1]),
            (1201, accept, &[]),
        ];
        timeline(step, &server, vec![a, client(&[(200, 1000), (1200, 1200)], Some(1201))])
    });
    recording("two-clients", 1302, timelines)
}

fn crowd() -> Recording {
    let all: Vec<usize> = (0..10).collect();
    let timelines = STEPS.map(|step| {
        let mut server: Vec<(u64, Option<Call>, &[usize])> = Vec::new();
        let mut clients = Vec::new();
        for number in 0..10 {
            let turn = if step.blocks() { 100 * number as u64 } else { 0 };
            clients.push(client(&[(0, turn), (turn + 100, turn + 100)], None));
            if step.blocks() {
                let this = &all[number..=number];
                server.extend([(turn, None, this), (turn + 1, Some(Call::Recv), this)]);
            }
        }
        if !step.blocks() {
            server.extend([(0, None, &all[..]), (1, Some(Call::Select), &[])]);
        }
        timeline(step, &server, clients)
    });
    recording("crowd", 1050, timelines)
}

fn stream() -> Recording {
    let short = (0, Write { messages: 3, bytes: 14 });
    let long = (2, Write { messages: 1, bytes: 10_000 });
    let events = vec![short, (1, Response), long, (3, Response), (3, Response), (3, Response)];
    recording("stream", 3, STEPS.map(|step| timeline(step, &[], vec![events.clone()])))
}

fn stalled_reader() -> Recording {
    let timelines = [Step::Functions, Step::Bare, Step::Select].map(|step| {
        let response = if step == Step::Select { 1200 } else { 1700 };
        let a = vec![(0, Flood), (1200, Stuck), (1700, Disconnect)];
        let b = client(&[(1200, response)], Some(response));
        if step == Step::Select {
            return timeline(step, &[(0, None, &[0]), (700, Some(Call::Select), &[])], vec![a, b]);
        }
        timeline(step, &[(0, None, &[0]), (700, Some(Call::Send), &[0])], vec![a, b])
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
        timeline(step, &[], vec![events])
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
