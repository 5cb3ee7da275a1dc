//! Every kind of leaving.

use tests::{Client, Server, Start, Step};

use crate::{MESSAGE, reports, the_next_is_served};

/// Lets a client leave in the way of `leave` while another one is there: at step 3 it is served all
/// the while, at steps 1 and 2 it waits, and is served next. Returns what the server reported, and
/// the address of the one that left.
fn report_of(step: Step, leave: impl FnOnce(Client)) -> (Vec<String>, String) {
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
    (reports(server), addr)
}

/// Expects one line on standard error, which names the client, the call and the reason.
fn expect_one_line(step: Step, (said, addr): (Vec<String>, String)) {
    assert_eq!(said.len(), 1, "{step}: one line was expected for the reset, but got {said:#?}");
    expect_line_of(step, &said, &addr);
}

fn expect_line_of(step: Step, said: &[String], addr: &str) {
    let its: Vec<&String> = said.iter().filter(|line| line.starts_with(addr)).collect();
    let [line] = its.as_slice() else {
        panic!("{step}: one line about {addr} was expected in {said:#?}");
    };
    let reason = [format!("{addr}: recv: "), format!("{addr}: send: ")]
        .iter()
        .find_map(|start| line.strip_prefix(start.as_str()).map(str::to_owned));
    assert!(
        reason.is_some_and(|reason| !reason.is_empty()),
        "{step}: address, call and reason were expected, but got {line:?}"
    );
}

/// Expects that the server reported nothing.
fn expect_silence(step: Step, (said, _): (Vec<String>, String)) {
    assert!(said.is_empty(), "{step}: a client left as it should, but the server said {said:#?}");
}

/// Waits until an answer has come, and leaves it unread.
fn leave_an_answer_unread(client: &mut Client) {
    client.send(MESSAGE);
    let peeked = client.stream().peek(&mut [0]);
    assert!(matches!(peeked, Ok(1)), "an answer was expected, but got {peeked:?}");
}

#[test]
fn a_client_closes_and_the_next_is_served() {
    for step in Step::STEPS {
        expect_silence(step, report_of(step, Client::close));
        expect_silence(
            step,
            report_of(step, |mut client| {
                client.ask();
                client.close();
            }),
        );
    }
}

#[test]
fn a_client_half_closes_after_its_message_and_still_gets_its_answer() {
    for step in Step::STEPS {
        let said = report_of(step, |mut client| {
            client.send(MESSAGE);
            client.half_close();
            client.receive_answer();
            let rest = client.receive_to_the_end();
            assert!(rest.is_empty(), "{step}: the end was expected after the answer, got {rest:?}");
        });
        expect_silence(step, said);
    }
}

#[test]
fn a_client_half_closes_without_a_word_and_sees_the_end() {
    for step in Step::STEPS {
        let said = report_of(step, |mut client| {
            client.half_close();
            let rest = client.receive_to_the_end();
            assert!(rest.is_empty(), "{step}: the end was expected, but got {rest:?}");
        });
        expect_silence(step, said);
    }
}

#[test]
fn a_client_closes_with_an_answer_unread_and_the_next_is_served() {
    for step in Step::STEPS {
        let (said, _) = report_of(step, |mut client| {
            leave_an_answer_unread(&mut client);
            client.close();
        });
        assert!(said.len() <= 1, "{step}: at most one line was expected, but got {said:#?}");
    }
}

#[test]
fn a_client_closes_with_its_answer_still_due_and_the_next_is_served() {
    for step in Step::STEPS {
        let (said, _) = report_of(step, |mut client| {
            client.send(MESSAGE);
            client.close();
        });
        assert!(said.len() <= 1, "{step}: at most one line was expected, but got {said:#?}");
    }
}

#[test]
fn a_client_resets_without_a_word_and_gets_one_line() {
    for step in Step::STEPS {
        expect_one_line(step, report_of(step, Client::reset));
    }
}

#[test]
fn a_client_resets_between_messages_and_gets_one_line() {
    for step in Step::STEPS {
        let said = report_of(step, |mut client| {
            client.ask();
            client.reset();
        });
        expect_one_line(step, said);
    }
}

#[test]
fn a_client_resets_right_after_sending_and_gets_one_line() {
    for step in Step::STEPS {
        let said = report_of(step, |mut client| {
            client.send(MESSAGE);
            client.reset();
        });
        expect_one_line(step, said);
    }
}

#[test]
fn a_client_resets_with_an_answer_unread_and_gets_one_line() {
    for step in Step::STEPS {
        let said = report_of(step, |mut client| {
            leave_an_answer_unread(&mut client);
            client.reset();
        });
        expect_one_line(step, said);
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

/// Linux hands out a connection that was reset in the backlog, and its recv or send fails. Elsewhere
/// accept may pass it over.
fn expect_lines_of_queued(step: Step, said: &[String], addresses: &[String]) {
    assert!(
        said.len() <= addresses.len(),
        "{step}: at most one line for each of {} resets was expected, but got {said:#?}",
        addresses.len()
    );
    if cfg!(target_os = "linux") {
        addresses.iter().for_each(|addr| expect_line_of(step, said, addr));
    }
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
        expect_lines_of_queued(step, &reports(server), &addresses);
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

#[test]
fn the_reports_of_resets_come_with_quiet_too_and_say_nothing_else() {
    for step in Step::STEPS {
        let mut server = Start::of(step).quiet().start();
        let mut client = server.connect();
        client.ask();
        let addr = client.addr().to_string();
        client.reset();
        the_next_is_served(&mut server);
        expect_one_line(step, (reports(server), addr));
    }
}
