//! Nobody reads what the server says: one of its streams is closed from the start, or is a pipe
//! whose reader has left. Then a client resets, which the server reports, and the next is served.

use tests::{Start, Step};

use crate::the_next_is_served;

fn serves_before_and_after_a_reset(start: impl Fn(Start) -> Start) {
    for step in Step::STEPS {
        let mut server = start(Start::of(step)).start();
        the_next_is_served(&mut server);
        for _ in 0..3 {
            let mut client = server.connect();
            client.ask();
            client.reset();
            the_next_is_served(&mut server);
        }
    }
}

#[test]
fn standard_output_is_closed_from_the_start() {
    serves_before_and_after_a_reset(Start::stdout_closed);
}

#[test]
fn standard_error_is_closed_from_the_start() {
    serves_before_and_after_a_reset(Start::stderr_closed);
}

#[test]
fn the_reader_of_standard_output_has_left() {
    serves_before_and_after_a_reset(Start::stdout_reader_leaves);
}

#[test]
fn the_reader_of_standard_error_has_left() {
    serves_before_and_after_a_reset(Start::stderr_reader_leaves);
}
