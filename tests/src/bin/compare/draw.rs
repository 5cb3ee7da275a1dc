//! Draws a recording: a picture that fits a terminal.

use std::collections::BTreeSet;
use std::time::Duration;

use tests::Step;
use tests::picture::{Cell, Picture, Role};

use crate::axis::Axis;
use crate::lane;
use crate::recording::{ClientDid, Lanes, Recording, Shows, letter};
use crate::report::{self, Report};

/// The narrowest and the widest picture.
const WIDTHS: (usize, usize) = (80, 160);
const SERVER: &str = "server";
/// Up to so many clients the steps stand below each other.
pub const BELOW: usize = 4;

/// Draws a recording for a terminal of `width` columns; without a report while it is still
/// being recorded.
pub fn draw(recording: &Recording, report: Option<&Report>, width: usize) -> Picture {
    // The last column stays free: some terminals wrap when it is written.
    let width = width.clamp(WIDTHS.0, WIDTHS.1) - 1;
    let mut picture = Picture::default();
    let row = picture.add_row();
    picture.put(row, 0, &recording.scenario, Role::Name);
    picture.put(row, recording.scenario.len() + 3, &recording.question, Role::Text);
    let row = picture.add_row();
    if report.is_none() {
        // At a slow pace a column takes seconds: something must move meanwhile.
        let now = format!("{} ms", recording.until.as_millis() / 100 * 100);
        picture.put(row, 78 - now.len(), &now, Role::Label);
        if waits_until_stuck(recording) {
            picture.put(row, 0, "A sends until nothing goes through any more ...", Role::Text);
        }
    }
    let clients = recording.steps.iter().map(|lanes| lanes.clients.len()).max().unwrap_or(0);
    match recording.shows {
        Shows::Lanes if clients <= BELOW => below(&mut picture, recording, report, width),
        Shows::Lanes => beside(&mut picture, recording, report, width),
        Shows::Writes => writes(&mut picture, recording),
        Shows::Bars => bars(&mut picture, recording, report, width),
    }
    if let Some(report) = report {
        picture.add_row();
        picture.paragraph(&report.summary, width);
        picture.paragraph(&recording.notes.join(" "), width);
    }
    picture
}

/// The steps below each other.
fn below(picture: &mut Picture, recording: &Recording, report: Option<&Report>, width: usize) {
    const LANE: usize = 10;
    let axis = axis(recording, report, width - LANE);
    let row = picture.add_row();
    let mut labels = axis.labels();
    let with_unit = |label: &str| format!("{label} ms");
    while let Some((column, label)) = labels.pop() {
        let label = with_unit(&label);
        if column + label.len() <= width - LANE {
            picture.put(row, LANE + column, &label, Role::Label);
            break;
        }
    }
    for (column, label) in labels {
        picture.put(row, LANE + column, &label, Role::Label);
    }
    for (index, lanes) in recording.steps.iter().enumerate() {
        let row = picture.add_row();
        picture.put(row, 0, lanes.step.name(), Role::Name);
        let finding = finding(report, index);
        let end = (LANE + axis.columns).saturating_sub(finding.chars().count());
        picture.put(row, end.max(lanes.step.name().len() + 2), finding, Role::Finding);
        for (name, cells) in lanes_of(lanes, recording.until, &axis) {
            let row = picture.add_row();
            picture.put(row, 0, &format!("{name:>8}"), Role::Label);
            picture.put_cells(row, LANE, &cells);
        }
        picture.add_row();
    }
    add_legend(picture, recording, &axis);
}

/// The steps beside each other.
fn beside(picture: &mut Picture, recording: &Recording, report: Option<&Report>, width: usize) {
    const LANE: usize = 9;
    const GAP: usize = 2;
    let steps = recording.steps.len().max(1);
    let axis = axis(recording, report, (width + GAP - LANE) / steps - GAP);
    let names = picture.add_row();
    let times = picture.add_row();
    for (index, lanes) in recording.steps.iter().enumerate() {
        let left = LANE + index * (axis.columns + GAP);
        picture.put(names, left, lanes.step.name(), Role::Name);
        for (column, label) in axis.labels() {
            let fits = |label: &String| column + label.len() <= axis.columns;
            let label = if column == 0 { format!("{label} ms") } else { label };
            let in_seconds = label.strip_suffix("000").map(|seconds| format!("{seconds}s"));
            if let Some(label) = Some(label).filter(fits).or(in_seconds.filter(fits)) {
                picture.put(times, left + column, &label, Role::Label);
            }
        }
        for (lane, (name, cells)) in lanes_of(lanes, recording.until, &axis).into_iter().enumerate()
        {
            let row = times + 1 + lane;
            if index == 0 {
                picture.add_row();
                picture.put(row, 0, &format!("{name:>7}"), Role::Label);
            }
            picture.put_cells(row, left, &cells);
        }
    }
    picture.add_row();
    let row = picture.add_row();
    for index in 0..recording.steps.len() {
        let left = LANE + index * (axis.columns + GAP);
        picture.put(row, left, finding(report, index), Role::Finding);
    }
    add_legend(picture, recording, &axis);
}

fn add_legend(picture: &mut Picture, recording: &Recording, axis: &Axis) {
    let [clients, server] = legend(recording, axis);
    legend_row(picture, "", clients);
    legend_row(picture, "server: ", server);
}

fn legend_row(picture: &mut Picture, start: &str, entries: Vec<Entry>) {
    let row = picture.add_row();
    picture.put(row, 0, start, Role::Text);
    for Entry { glyphs, role, text } in entries {
        let gap = if picture.rows[row].len() == start.len() { 0 } else { 2 };
        let column = picture.rows[row].len() + gap;
        picture.put(row, column, &glyphs, role);
        let column = picture.rows[row].len() + 1;
        picture.put(row, column, text, Role::Text);
    }
}

/// For each step, what was sent in one write and how many answers came.
fn writes(picture: &mut Picture, recording: &Recording) {
    let name = recording.steps.iter().map(|lanes| lanes.step.name().len()).max().unwrap_or(0);
    for (index, lanes) in recording.steps.iter().enumerate() {
        if index > 0 {
            picture.add_row();
        }
        let lines = report::answers_per_write(lanes);
        for line in 0..lines.len().max(2) {
            let row = picture.add_row();
            if line == 0 {
                picture.put(row, 0, lanes.step.name(), Role::Name);
            }
            let text = lines.get(line).map_or("", String::as_str);
            picture.put(row, name + 3, text, Role::Finding);
        }
    }
}

/// For each number of idle clients, how long an answer took.
fn bars(picture: &mut Picture, recording: &Recording, report: Option<&Report>, width: usize) {
    const BAR: usize = 12;
    const VALUE: usize = 12;
    let room = width - BAR - VALUE;
    let longest = report::longest_bar(recording);
    for (index, lanes) in recording.steps.iter().enumerate() {
        let row = picture.add_row();
        picture.put(row, 0, lanes.step.name(), Role::Name);
        let finding = finding(report, index);
        picture.put(row, width - finding.len(), finding, Role::Finding);
        let among = report::among_idle(lanes);
        for (idle, asked, wait) in &among {
            let row = picture.add_row();
            picture.put(row, 0, &format!("{idle:>5} idle"), Role::Label);
            if *asked > 0 {
                let part = wait.as_secs_f64() / longest.as_secs_f64().max(1e-9);
                // At least one column, at most all of them.
                let bar = ((part * room as f64).round() as usize).clamp(1, room);
                picture.put_cells(row, BAR, &vec![Cell::new('█', Role::Waits); bar]);
                let value = format!("{:.3} ms", wait.as_secs_f64() * 1000.0);
                picture.put(row, width - value.len(), &value, Role::Finding);
            }
        }
        picture.add_row();
    }
    let row = picture.add_row();
    picture.put(row, 0, "█", Role::Waits);
    picture.put(row, 2, report::measured(recording), Role::Text);
}

/// Whether all that happens is that a client fills the buffers.
fn waits_until_stuck(recording: &Recording) -> bool {
    let mut lanes = recording.steps.iter();
    lanes.any(|lanes| {
        lanes.when(0, ClientDid::Floods).is_some() && lanes.when(0, ClientDid::Stuck).is_none()
    })
}

/// The axis of a recording: one that is finished needs room for its events, one that is not for
/// what was planned.
pub fn axis(recording: &Recording, report: Option<&Report>, room: usize) -> Axis {
    let last_event = recording.steps.iter().map(Lanes::last_event).max().unwrap_or_default();
    match report {
        Some(_) => Axis::new(last_event, recording.until, room),
        None => {
            let planned = recording.planned.max(last_event);
            Axis::new(planned.mul_f64(0.95), recording.until.max(planned), room)
        }
    }
}

pub fn finding(report: Option<&Report>, index: usize) -> &str {
    report.and_then(|report| report.findings.get(index)).map_or("", String::as_str)
}

/// The lanes of one step with their names, the server's first.
pub fn lanes_of(lanes: &Lanes, until: Duration, axis: &Axis) -> Vec<(String, Vec<Cell>)> {
    let server = (SERVER.to_owned(), lane::of_server(&lanes.server, until, axis));
    let clients =
        lanes.clients.iter().enumerate().map(|(client, events)| {
            (letter(client).to_string(), lane::of_client(events, until, axis))
        });
    std::iter::once(server).chain(clients).collect()
}

/// A line of the legend.
pub struct Entry {
    pub glyphs: String,
    pub role: Role,
    pub text: &'static str,
}

/// What every character in the lanes stands for: those of the clients, and those of the server.
pub fn legend(recording: &Recording, axis: &Axis) -> [Vec<Entry>; 2] {
    let lanes = recording.steps.iter().flat_map(|lanes| lanes_of(lanes, recording.until, axis));
    let (server, clients): (Vec<_>, Vec<_>) = lanes.partition(|(name, _)| name == SERVER);
    let used = |lanes: &[(String, Vec<Cell>)]| -> BTreeSet<char> {
        lanes.iter().flat_map(|(_, cells)| cells).map(|cell| cell.glyph).collect()
    };
    let (server, clients) = (used(&server), used(&clients));
    let did = |wanted: ClientDid| {
        let lanes = recording.steps.iter().flat_map(|lanes| &lanes.clients);
        lanes.flatten().any(|(_, did)| *did == wanted)
    };
    let line = if did(ClientDid::Floods) { "sends, never reads" } else { "thinks" };
    let trouble = match (did(ClientDid::Resets), did(ClientDid::Stuck)) {
        (true, false) => "resets",
        (false, _) => "is stuck",
        (true, true) => "resets or is stuck",
    };
    let only_select = recording.steps.iter().all(|lanes| !Step::AFTER.contains(&lanes.step));
    let waits_for_any = if only_select { "in select()" } else { "waits for any of them" };
    let entry = |glyphs: &str, role, text| Entry { glyphs: glyphs.to_owned(), role, text };
    let of_clients = [
        entry("█", Role::Waits, "waits for its answer"),
        entry("●", Role::Answered, "answered"),
        entry("─", Role::Thinks, line),
        entry("×", Role::Leaves, "leaves"),
        entry("!", Role::Trouble, trouble),
    ];
    let letters: Vec<char> = server.iter().copied().filter(char::is_ascii_uppercase).collect();
    let letters = match letters.as_slice() {
        [first, _, .., last] => format!("{first}..{last}"),
        letters => letters.iter().map(char::to_string).collect::<Vec<_>>().join(" "),
    };
    let of_server = [
        entry(&letters, Role::Serves, "with that client"),
        entry("*", Role::Serves, "with several"),
        entry("·", Role::Idles, "in accept()"),
        entry("~", Role::Idles, waits_for_any),
    ];
    let only = |entries: Vec<Entry>, used: &BTreeSet<char>| {
        let is_used = |entry: &Entry| entry.glyphs.starts_with(|glyph| used.contains(&glyph));
        entries.into_iter().filter(is_used).collect()
    };
    [only(of_clients.into(), &clients), only(of_server.into(), &server)]
}
