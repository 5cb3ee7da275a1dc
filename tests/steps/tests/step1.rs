//! Step 1 alone: what a student sees of the nested loop.

#![forbid(unsafe_code)]

mod one_at_a_time;

use harness::Step;

#[test]
fn a_second_client_waits_until_the_first_has_left() {
    one_at_a_time::a_second_client_waits_until_the_first_has_left(Step::Blocking);
}

#[test]
fn the_narration_says_each_call_before_it_is_made() {
    one_at_a_time::the_narration_says_each_call_before_it_is_made(Step::Blocking);
}
