//! The narration of step 1, as a student sees it.

#![forbid(unsafe_code)]

mod one_at_a_time;

use harness::Step;

#[test]
fn a_second_client_waits_until_the_first_disconnects() {
    one_at_a_time::expect_second_client_waits(Step::Blocking);
}

#[test]
fn narration_shows_each_call_before_it_is_made() {
    one_at_a_time::expect_narration(Step::Blocking);
}
