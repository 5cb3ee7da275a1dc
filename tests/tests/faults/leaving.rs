//! Every kind of leaving.

use std::collections::BTreeSet;

use tests::{Client, Server, Step};

use crate::{MESSAGE, reports, the_next_is_served};

/// Lets a client leave in the way of `leave` while another one is there: at step 3 it is served all
/// the while, at steps 1 and 2 it waits, and is served next. With `lines` about the one that left to
/// wait for, it waits for them. Returns all that the server reported.
fn reports_after(step: Step, lines: usize, leave: impl FnOnce(Client)) -> Vec<String> {
    let mut server = Server::start(step);
    let culprit = server.connect();
    let addr = culprit.addr().to_string();
    server.narration.wait_for_line(&format!("Connection from {addr}"));
    let mut other = server.connect();
    other.send(MESSAGE);
    if step.blocks() {
        leave(culprit);
        other.receive_answer();
    } else {
        other.receive_answer();
        leave(culprit);
    }
    other.ask();
    other.close();
    the_next_is_served(&mut server);
    wait_for_lines(&server, &[addr], lines);
    reports(server)
}

/// Waits until the server has reported `lines` lines, and checks that they name one of `addresses`,
/// the call and the reason. Another test that starts a program at the wrong moment holds a client's
/// socket open until that program runs: a reset may come later than it was asked for.
fn wait_for_lines(server: &Server, addresses: &[String], lines: usize) {
    let said = server.errors.wait_for(&format!("{lines} lines, one for each reset"), |said| {
        (said.len() >= lines).then(|| said.to_vec())
    });
    for line in said {
        let (addr, rest) = line.text.split_once(": ").unwrap_or_default();
        let reason = ["recv: ", "send: "].iter().find_map(|call| rest.strip_prefix(call));
        assert!(
            addresses.iter().any(|known| known == addr) && reason.is_some_and(|it| !it.is_empty()),
            "{}: address, call and reason were expected, but got {line:?}",
            server.program()
        );
    }
}

/// Expects one line on standard error when a client leaves so.
fn expect_one_line(step: Step, leave: impl FnOnce(Client)) {
    let said = reports_after(step, 1, leave);
    assert_eq!(said.len(), 1, "{step}: one line was expected for the reset, but got {said:#?}");
}

/// Expects at most one line on standard error when a client leaves so: the system decides.
fn expect_at_most_one_line(step: Step, leave: impl FnOnce(Client)) {
    let said = reports_after(step, 0, leave);
    assert!(said.len() <= 1, "{step}: at most one line was expected, but got {said:#?}");
}

/// Expects that the server reports nothing when a client leaves so.
fn expect_silence(step: Step, leave: impl FnOnce(Client)) {
    let said = reports_after(step, 0, leave);
    assert!(said.is_empty(), "{step}: a client left as it should, but the server said {said:#?}");
}

/// Waits until an answer has come, and leaves it unread.
fn leave_an_answer_unread(client: &mut Client) {
    client.send(MESSAGE);
    let peeked = client.stream().peek(&mut [0]);
    assert!(matches!(peeked, Ok(1)), "an answer was expected, but got {peeked:?}");
}

#[test]
fn a_client_resets_with_five_messages_unanswered_and_gets_one_line() {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let mut culprit = server.connect();
        culprit.ask();
        server.process().stop();
        // Read in five pieces, of which the first answer fails already.
        culprit.send(&[b'x'; 20_000]);
        culprit.reset();
        server.process().go_on();
        the_next_is_served(&mut server);
        let said = reports(server);
        assert_eq!(said.len(), 1, "{step}: one line was expected, but got {said:#?}");
    }
}

#[test]
fn a_client_closes_and_the_next_is_served() {
    for step in Step::STEPS {
        expect_silence(step, Client::close);
        expect_silence(step, |mut client| {
            client.ask();
            client.close();
        });
    }
}

#[test]
fn a_client_half_closes_after_its_message_and_still_gets_its_answer() {
    for step in Step::STEPS {
        expect_silence(step, |mut client| {
            client.send(MESSAGE);
            client.half_close();
            client.receive_answer();
            let rest = client.receive_to_the_end();
            assert!(rest.is_empty(), "{step}: the end was expected after the answer, got {rest:?}");
        });
    }
}

#[test]
fn a_client_half_closes_without_a_word_and_sees_the_end() {
    for step in Step::STEPS {
        expect_silence(step, |mut client| {
            client.half_close();
            let rest = client.receive_to_the_end();
            assert!(rest.is_empty(), "{step}: the end was expected, but got {rest:?}");
        });
    }
}

#[test]
fn a_client_closes_with_an_answer_unread_and_the_next_is_served() {
    for step in Step::STEPS {
        expect_at_most_one_line(step, |mut client| {
            leave_an_answer_unread(&mut client);
            client.close();
        });
    }
}

#[test]
fn a_client_closes_with_its_answer_still_due_and_the_next_is_served() {
    for step in Step::STEPS {
        expect_at_most_one_line(step, |mut client| {
            client.send(MESSAGE);
            client.close();
        });
    }
}

#[test]
fn a_client_resets_without_a_word_and_gets_one_line() {
    for step in Step::STEPS {
        expect_one_line(step, Client::reset);
    }
}

#[test]
fn a_client_resets_between_messages_and_gets_one_line() {
    for step in Step::STEPS {
        expect_one_line(step, |mut client| {
            client.ask();
            client.reset();
        });
    }
}

#[test]
fn a_client_resets_right_after_sending_and_gets_one_line() {
    for step in Step::STEPS {
        expect_one_line(step, |mut client| {
            client.send(MESSAGE);
            client.reset();
        });
    }
}

#[test]
fn a_client_resets_with_an_answer_unread_and_gets_one_line() {
    for step in Step::STEPS {
        expect_one_line(step, |mut client| {
            leave_an_answer_unread(&mut client);
            client.reset();
        });
    }
}

/// Connects `clients` while the server does not accept, lets every second one of them send, and
/// resets them all. Returns their addresses.
fn reset_in_the_backlog(server: &Server, clients: usize) -> Vec<String> {
    let queued: Vec<Client> = (0..clients).map(|_| server.connect()).collect();
    let addresses = queued.iter().map(|client| client.addr().to_string()).collect();
    for (number, mut client) in queued.into_iter().enumerate() {
        if number % 2 == 1 {
            client.send(MESSAGE);
        }
        client.reset();
    }
    addresses
}

fn resets_in_the_backlog(clients: usize) {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let mut first = server.connect();
        first.ask();
        // Steps 1 and 2 do not accept while the first is there; step 3 only where it is stopped.
        let addresses = if step.blocks() {
            reset_in_the_backlog(&server, clients)
        } else {
            server.process().stop();
            let addresses = reset_in_the_backlog(&server, clients);
            server.process().go_on();
            addresses
        };
        first.ask();
        first.close();
        the_next_is_served(&mut server);
        // Linux hands out a connection that was reset in the backlog, and its recv or send fails;
        // elsewhere accept may pass it over.
        let promised = if cfg!(target_os = "linux") { clients } else { 0 };
        wait_for_lines(&server, &addresses, promised);
        let said = reports(server);
        let named: BTreeSet<_> = said.iter().map(|line| line.split(": ").next()).collect();
        assert_eq!(named.len(), said.len(), "{step}: one line for each was expected: {said:#?}");
    }
}

#[test]
fn a_client_resets_while_still_in_the_backlog_and_the_next_is_served() {
    resets_in_the_backlog(1);
}

#[test]
fn twenty_clients_in_a_row_reset_while_still_in_the_backlog_and_the_next_is_served() {
    resets_in_the_backlog(20);
}
