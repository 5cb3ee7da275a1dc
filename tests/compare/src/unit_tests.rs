//! Draws recordings that are made by hand, and compares the pictures with the files in `expected`. To
//! change these files: `UPDATE_EXPECTED=1 cargo test -p compare --bin compare`, then look at the diff.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use harness::Step;
use harness::kernel::LessonCall::{Accept, Recv, Select};
use ratatui::style::Style;

use crate::draw::draw;
use crate::page::to_text;
use crate::recording::ClientEvent::{self, Disconnect, Idle, Measured, Request, Response};
use crate::recording::{Recording, ServerState, Timeline, letter};
use crate::scenario::SCENARIOS;
use crate::svg;

/// Returns the events of a client from the times of its requests and responses, in milliseconds.
fn client(waits: &[(u64, u64)], disconnect: Option<u64>) -> Vec<(u64, ClientEvent)> {
    let mut events = Vec::new();
    for (request, response) in waits {
        events.extend([(*request, Request), (*response, Response), (*response, Idle)]);
    }
    match disconnect {
        Some(time) => events.push((time, Disconnect)),
        None => _ = events.pop(),
    }
    events
}

/// Returns a timeline. `server` lists times and states, for example `0 A; 1 recv A; 1000 AB`.
fn timeline(step: Step, server: &str, clients: Vec<Vec<(u64, ClientEvent)>>) -> Timeline {
    let ms = Duration::from_millis;
    let address = |number: usize| SocketAddr::from((Ipv4Addr::LOCALHOST, number as u16));
    let mut timeline = Timeline::new(step, clients.len());
    timeline.client_numbers = (0..clients.len()).map(|number| (address(number), number)).collect();
    for state in server.split("; ").filter(|state| !state.is_empty()) {
        let mut words = state.split(' ');
        let time = words.next().and_then(|time| time.parse().ok()).expect("a time");
        let calls = [("accept", Accept), ("recv", Recv), ("select", Select)];
        let call = words.find_map(|word| calls.iter().find(|(name, _)| *name == word));
        let letters = state.chars().filter(char::is_ascii_uppercase);
        let clients = letters.map(|letter| address(letter as usize - 'A' as usize)).collect();
        let state = ServerState { blocked_in: call.map(|(_, call)| *call), clients };
        timeline.server.push((ms(time), state));
    }
    for (recorded, events) in timeline.clients.iter_mut().zip(clients) {
        recorded.extend(events.into_iter().map(|(time, event)| (ms(time), event)));
    }
    timeline
}

fn recording(name: &str, elapsed: u64, timelines: [Timeline; 3]) -> Recording {
    let elapsed = Duration::from_millis(elapsed);
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    Recording {
        scenario,
        planned_time: elapsed,
        elapsed,
        is_finished: true,
        timelines: timelines.into(),
    }
}

fn two_clients() -> Recording {
    let timelines = Step::STEPS.map(|step| {
        let (server, waits, end) = if step.is_blocking() {
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
    let timelines = Step::STEPS.map(|step| {
        let mut server = String::new();
        let mut clients = Vec::new();
        for number in 0..8 {
            let first = if step.is_blocking() { 100 * number } else { 0 };
            clients.push(client(&[(0, first), (first + 100, first + 100)], None));
            let letter = letter(number as usize);
            server += &format!("{first} {letter}; {} recv {letter}; ", first + 1);
        }
        let all_at_once = "0 ABCDEFGH; 1 select";
        timeline(step, if step.is_blocking() { &server } else { all_at_once }, clients)
    });
    recording("crowd", 850, timelines)
}

fn idle_crowd() -> Recording {
    let steps = [(Step::Select, [10, 30, 180]), (Step::Mio, [20; 3]), (Step::Tokio, [20, 21, 24])];
    let timelines = steps.map(|(step, micros)| {
        let mut events = Vec::new();
        for (idle_count, micros) in [0, 100, 900].into_iter().zip(micros) {
            for factor in [1, 9, 1] {
                let time = Duration::from_micros(micros * factor);
                events.push((0, Measured { idle_count, time, is_cpu_time: true }));
            }
        }
        timeline(step, "", vec![events])
    });
    recording("idle-crowd", 5, timelines)
}

#[track_caller]
fn expect_file(name: &str, picture: &str) {
    // The expected files are those of a release build.
    let picture = picture.replace("; debug build", "");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, &picture).expect("a writable file");
    }
    let expected = fs::read_to_string(&file).expect("an expected file");
    assert!(picture == expected, "{name}: expected\n{expected}\ngot\n{picture}");
}

#[test]
fn recordings_are_drawn_as_expected() {
    for recording in [two_clients(), crowd(), idle_crowd()] {
        let (name, mut picture) = (recording.scenario.name, draw(&recording, 80));
        expect_file(&format!("{name}.svg"), &svg::render(&picture, name));
        picture.set_style(picture.area, Style::reset());
        expect_file(&format!("{name}.txt"), &to_text(&picture));
    }
    let mut live = two_clients();
    live.is_finished = false;
    live.elapsed = Duration::from_millis(600);
    for timeline in &mut live.timelines {
        timeline.server.retain(|(time, _)| *time < live.elapsed);
        for events in &mut timeline.clients {
            events.retain(|(time, _)| *time < live.elapsed);
        }
    }
    expect_file("two-clients.live.txt", &to_text(&draw(&live, 120)));
}

#[test]
fn missing_responses_are_the_longest_waits() {
    let mut timeline = crowd().timelines.remove(0);
    timeline.clients[..3].iter_mut().for_each(|events| events.truncate(1));
    assert_eq!(timeline.wait_spread(), ["waited 300 ms", "waited 700 ms", "3 got no response"]);
}

#[test]
fn pictures_fit_from_60_to_160_columns_and_in_22_rows() {
    for mut recording in [two_clients(), crowd(), idle_crowd()] {
        for (columns, is_finished) in
            (60..=160).flat_map(|columns| [(columns, false), (columns, true)])
        {
            recording.is_finished = is_finished;
            let area = draw(&recording, columns).area;
            let fits = area.width < columns && (area.height <= 22 || columns < 80);
            assert!(fits, "{}: got {area} for {columns} columns", recording.scenario.name);
        }
    }
}
