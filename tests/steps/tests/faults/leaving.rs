//! Kinds of leaving that no case of `check` has, each while another client is there. What the steps
//! report in those cases, `check` asks of them (`cases.rs`).

use std::io;
use std::ops::RangeInclusive;

use harness::{Client, MESSAGE, Server, Step, TIMEOUT};

use crate::the_next_is_served;

/// Lets a client leave in the way of `leave` while another one is there: at step 3 it is served all
/// the while, at steps 1 and 2 it waits, and is served next. Expects so many lines on standard error,
/// each with the address of the one that left, the call and the reason.
fn expect_lines(lines: RangeInclusive<usize>, leave: impl Fn(Client) -> io::Result<()>) {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let culprit = server.connect();
        let addr = culprit.addr().to_string();
        server.narration.wait_for_line(&format!("Connection from {addr}"));
        let mut other = server.connect();
        other.send(MESSAGE).unwrap();
        if step.blocks() {
            leave(culprit).unwrap();
            other.receive().unwrap();
        } else {
            other.receive().unwrap();
            leave(culprit).unwrap();
        }
        other.request().unwrap();
        other.close().unwrap();
        the_next_is_served(&mut server);
        let _in_time = server.errors.reaches_lines(*lines.start(), TIMEOUT);
        let said = server.end_with_errors();
        assert!(lines.contains(&said.len()), "{step}: {lines:?} lines expected, not {said:#?}");
        let names_it = |line: &String| {
            ["recv", "send"].iter().any(|call| line.starts_with(&format!("{addr}: {call}: ")))
        };
        assert!(said.iter().all(names_it), "{step}: {addr}, call and reason in {said:#?}");
    }
}

#[test]
fn a_client_resets_with_five_messages_unanswered_and_gets_one_line() {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let mut culprit = server.connect_and_request();
        server.process().stop();
        // Read in five pieces, of which the first answer fails already.
        culprit.send(&[b'x'; 20_000]).unwrap();
        culprit.reset().unwrap();
        server.process().resume();
        the_next_is_served(&mut server);
        let said = server.end_with_errors();
        assert_eq!(said.len(), 1, "{step}: one line was expected, but got {said:#?}");
    }
}

#[test]
fn a_client_half_closes_without_a_message_and_gets_no_line() {
    expect_lines(0..=0, |mut client| {
        client.half_close()?;
        client.expect_end()
    });
}

#[test]
fn a_client_closes_with_a_response_unread_or_due_and_gets_at_most_one_line() {
    expect_lines(0..=1, |mut client| {
        client.send(MESSAGE)?;
        client.leave_response_unread()?;
        client.close()
    });
    expect_lines(0..=1, |mut client| {
        client.send(MESSAGE)?;
        client.close()
    });
}

#[test]
fn a_client_resets_between_messages_or_after_one_and_gets_one_line() {
    expect_lines(1..=1, |mut client| {
        client.request()?;
        client.reset()
    });
    expect_lines(1..=1, |mut client| {
        client.send(MESSAGE)?;
        client.reset()
    });
}
