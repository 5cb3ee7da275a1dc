//! What is drawn.

use std::fs;
use std::path::Path;
use std::time::Duration;

use harness::picture::Style;

use super::{A, crowd, fixed, report, stalled_reader, two_clients};
use crate::draw::{BAR, draw};
use crate::lane;
use crate::recording::Recording;
use crate::svg::svg;

/// Compares with the file of that name in `expected`.
fn expect_file(name: &str, drawn: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/expected").join(name);
    if std::env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&file, drawn).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let expected = fs::read_to_string(&file);
    let expected = expected.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    assert!(drawn == expected, "{name} was expected:\n{expected}\nbut this was drawn:\n{drawn}");
}

pub fn text_of(recording: &Recording, style: Style, width: usize) -> String {
    style.picture(&draw(recording, Some(&report(recording)), width))
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_as_text_in_ascii_and_as_svg() {
    for recording in fixed() {
        let name = &recording.scenario;
        expect_file(&format!("{name}.txt"), &text_of(&recording, Style::default(), 80));
        let drawn = text_of(&recording, Style { colour: false, ascii: true }, 80);
        assert!(drawn.is_ascii(), "only ASCII was expected in\n{drawn}");
        expect_file(&format!("{name}.ascii.txt"), &drawn);
        let report = report(&recording);
        let picture = draw(&recording, Some(&report), 80);
        expect_file(&format!("{name}.svg"), &svg(&picture, &recording.question, &report.summary));
    }
}

#[test]
fn a_fixed_recording_is_drawn_as_expected_for_a_terminal_with_colour() {
    let style = Style { colour: true, ascii: false };
    expect_file("two-clients.colour.txt", &text_of(&two_clients(), style, 80));
    expect_file("stalled-reader.colour.txt", &text_of(&stalled_reader(), style, 80));
}

#[test]
fn a_wider_terminal_gives_time_more_room_from_60_columns_to_160() {
    for width in [120, 160] {
        let drawn = text_of(&two_clients(), Style::default(), width);
        expect_file(&format!("two-clients.{width}.txt"), &drawn);
        let drawn = text_of(&crowd(), Style::default(), width);
        expect_file(&format!("crowd.{width}.txt"), &drawn);
    }
    for recording in fixed() {
        let widest = text_of(&recording, Style::default(), 160);
        assert_eq!(text_of(&recording, Style::default(), 200), widest);
        assert_eq!(
            text_of(&recording, Style::default(), 40),
            text_of(&recording, Style::default(), 60)
        );
    }
    expect_file("two-clients.60.txt", &text_of(&two_clients(), Style::default(), 60));
    expect_file("crowd.60.txt", &text_of(&crowd(), Style::default(), 60));
}

#[test]
fn every_picture_fits_80_columns_and_23_rows_and_no_row_is_wider_than_its_terminal() {
    for recording in fixed() {
        for width in 60..=160 {
            for report in [None, Some(&report(&recording))] {
                let picture = draw(&recording, report, width);
                let size = (picture.width(), picture.rows.len());
                let fits = size.0 < width && (size.1 <= 23 || width < 80);
                assert!(fits, "{} is {size:?} at {width}", recording.scenario);
            }
        }
    }
}

#[test]
fn a_picture_so_far_ends_at_the_present() {
    let mut so_far = two_clients();
    so_far.until = Duration::from_millis(600);
    for lanes in &mut so_far.steps {
        lanes.server.retain(|(time, _)| *time < Duration::from_millis(600));
        for client in &mut lanes.clients {
            client.retain(|(time, _)| *time < Duration::from_millis(600));
        }
    }
    expect_file("two-clients.so-far.txt", &Style::default().picture(&draw(&so_far, None, 80)));
}

#[test]
fn while_a_client_fills_the_buffers_the_picture_says_so_and_no_longer() {
    let mut so_far = stalled_reader();
    let says = |recording: &Recording| {
        let picture = draw(recording, None, 80);
        Style::default().row(&picture.rows[1]).contains("A sends until nothing goes through")
    };
    assert!(!says(&so_far), "all are stuck");
    so_far.steps[1].clients[A].truncate(2);
    assert!(says(&so_far), "one is not stuck yet");
}

#[test]
fn a_sign_stands_for_one_thing_in_all_scenarios_in_ascii_too() {
    let legend = lane::CLIENTS.iter().map(|(sign, _)| *sign);
    let legend =
        legend.chain(lane::CALLS.iter().map(|(sign, ..)| *sign)).chain([lane::SEVERAL, BAR]);
    for ascii in [false, true] {
        let mut signs: Vec<String> =
            legend.clone().map(|sign| Style { colour: false, ascii }.row(&[sign])).collect();
        let all = signs.len();
        signs.sort_unstable();
        signs.dedup();
        assert_eq!(signs.len(), all, "each sign once was expected, not {signs:?}");
    }
}
