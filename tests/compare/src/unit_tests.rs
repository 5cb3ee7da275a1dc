//! Draws recordings that were made by hand, and compares the pictures with the files in `expected`.
//! `UPDATE_EXPECTED=1 cargo test -p compare --bin compare` changes these files. Then look at the diff.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use harness::Step;
use ratatui::style::Style;

use crate::draw::draw;
use crate::recording::ClientEvent::{self, Disconnect, Idle, Measurement, Request, Response};
use crate::recording::{Recording, ServerState, Timeline};
use crate::scenario::SCENARIOS;
use crate::svg;
use crate::terminal::to_text;

/// Returns a timeline. `states` lists the times and states of the server with the signs of the picture,
/// such as `0 A; 1 a; 9 AB; 10 ~`.
fn timeline(step: Step, states: &str, client_events: Vec<Vec<(u64, ClientEvent)>>) -> Timeline {
    let ms = Duration::from_millis;
    let addr = |letter: char| SocketAddr::from((Ipv4Addr::LOCALHOST, letter as u16));
    let mut timeline = Timeline::new(step, client_events.len());
    timeline.client_indexes = ('A'..='H').map(addr).zip(0..).collect();
    for state in states.split_terminator("; ") {
        let (time, signs) = state.split_once(' ').expect("a time and signs");
        let state = match signs.chars().next().expect("a sign") {
            '·' => ServerState::Accept,
            '~' => ServerState::Select,
            letter @ 'a'..='z' => ServerState::Recv(addr(letter.to_ascii_uppercase())),
            _ => ServerState::Serving(signs.chars().map(addr).collect()),
        };
        timeline.add_state(ms(time.parse().expect("a time")), state);
    }
    for (recorded, events) in timeline.client_events.iter_mut().zip(client_events) {
        recorded.extend(events.into_iter().map(|(time, event)| (ms(time), event)));
    }
    timeline
}

fn recording(name: &str, elapsed: u64, timelines: Vec<Timeline>) -> Recording {
    let elapsed = Duration::from_millis(elapsed);
    let scenario = SCENARIOS.iter().find(|scenario| scenario.name == name).expect("a scenario");
    Recording { scenario, planned_time: elapsed, elapsed, is_finished: true, timelines }
}

fn two_clients() -> Recording {
    let timelines = Step::STEPS.map(|step| {
        let (states, first, second) = if step.is_blocking() {
            ("0 A; 1 a; 1000 B; 1001 b; 1200 B; 1201 ·", 1000, 1200)
        } else {
            ("0 A; 1 ~; 200 B; 201 ~; 400 B; 401 ~; 1000 A; 1001 ~", 200, 400)
        };
        let a = vec![(0, Request), (0, Response), (0, Idle), (1000, Disconnect)];
        let mut b = vec![(200, Request), (first, Response), (first, Idle)];
        b.extend([(second, Request), (second, Response), (second + 1, Disconnect)]);
        timeline(step, states, vec![a, b])
    });
    recording("two-clients", 1302, timelines.into())
}

fn crowd() -> Recording {
    let timelines = Step::STEPS.map(|step| {
        let mut states = String::new();
        let mut clients = Vec::new();
        for (index, letter) in (0..).zip('A'..='H') {
            let first = if step.is_blocking() { 100 * index } else { 0 };
            let mut events = vec![(0, Request), (first, Response), (first, Idle)];
            events.extend([(first + 100, Request), (first + 100, Response)]);
            clients.push(events);
            states += &format!("{first} {letter}; {} {}; ", first + 1, letter.to_ascii_lowercase());
        }
        let all_at_once = "0 ABCDEFGH; 1 ~";
        timeline(step, if step.is_blocking() { &states } else { all_at_once }, clients)
    });
    recording("crowd", 850, timelines.into())
}

fn idle_crowd() -> Recording {
    let steps = [(Step::Select, [10, 30, 180]), (Step::Mio, [20; 3]), (Step::Tokio, [20, 21, 24])];
    let timelines = steps.map(|(step, micros)| {
        let mut events = Vec::new();
        for (idle_count, micros) in [0, 100, 900].into_iter().zip(micros) {
            for factor in [1, 9, 1] {
                let time = Duration::from_micros(micros * factor);
                events.push((0, Measurement { idle_count, time, is_cpu_time: true }));
            }
        }
        timeline(step, "", vec![events])
    });
    recording("idle-crowd", 5, timelines.into())
}

#[track_caller]
fn expect_picture(name: &str, picture: &str) {
    // The expected files come from a release build.
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
        expect_picture(&format!("{name}.svg"), &svg::render(&picture, name));
        picture.set_style(picture.area, Style::reset());
        expect_picture(&format!("{name}.txt"), &to_text(&picture));
    }
    let mut live = two_clients();
    live.is_finished = false;
    live.elapsed = Duration::from_millis(600);
    for timeline in &mut live.timelines {
        timeline.server_states.retain(|(time, _)| *time < live.elapsed);
        for events in &mut timeline.client_events {
            events.retain(|(time, _)| *time < live.elapsed);
        }
    }
    expect_picture("two-clients.live.txt", &to_text(&draw(&live, 120)));
}

#[test]
fn missing_responses_are_the_longest_waits() {
    let mut timeline = crowd().timelines.remove(0);
    timeline.client_events[..3].iter_mut().for_each(|events| events.truncate(1));
    assert_eq!(timeline.wait_spread(), ["waited 300 ms", "waited 700 ms", "3 got no response"]);
}

#[test]
fn pictures_fit_from_60_to_160_columns_and_in_22_rows() {
    for mut recording in [two_clients(), crowd(), idle_crowd()] {
        for (columns, is_finished) in (60..=160).flat_map(|n| [(n, false), (n, true)]) {
            recording.is_finished = is_finished;
            let area = draw(&recording, columns).area;
            let is_small = area.width < columns && (area.height <= 22 || columns < 80);
            assert!(is_small, "expected at most {columns} columns and 22 rows, got {area}");
        }
    }
}
