//! Step 2 alone: naming the parts has changed nothing that a client sees.

#![forbid(unsafe_code)]

mod one_at_a_time;

use harness::Step;

#[test]
fn second_client_still_waits_until_the_first_disconnects() {
    one_at_a_time::second_client_waits_until_the_first_disconnects(Step::Functions);
}

#[test]
fn narration_shows_each_call_before_it_is_made() {
    one_at_a_time::narration_shows_each_call_before_it_is_made(Step::Functions);
}
