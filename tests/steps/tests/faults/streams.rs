//! One of the server's streams is closed from the start. A client resets, which the server reports,
//! and the next is served. (That the reader of both leaves is a case of `check`.)

use harness::{Start, Step};

use crate::the_next_is_served;

fn serves_before_and_after_a_reset(start: impl Fn(Start) -> Start) {
    for step in Step::STEPS {
        let mut server = start(Start::of(step)).start();
        the_next_is_served(&mut server);
        for _ in 0..3 {
            let client = server.connect_and_request();
            client.reset().unwrap();
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
