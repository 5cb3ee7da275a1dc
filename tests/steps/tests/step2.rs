//! Step 2 alone: naming the parts has changed nothing that a client sees.

#![forbid(unsafe_code)]

mod one_at_a_time;

use harness::Step;

#[test]
fn a_second_client_still_waits_until_the_first_has_left() {
    one_at_a_time::a_second_client_waits_until_the_first_has_left(Step::Functions);
}

#[test]
fn the_narration_says_each_call_before_it_is_made() {
    one_at_a_time::the_narration_says_each_call_before_it_is_made(Step::Functions);
}
