//! Signals: those that a terminal sends while a server runs, and those that end it.

use std::os::unix::process::ExitStatusExt;

use tests::{Server, Signal, Start, Step};

use crate::{MESSAGE, the_next_is_served};

#[test]
fn stopped_and_continued_it_goes_on() {
    for step in Step::STEPS {
        // First while it waits for a client, then while it waits for a client's next message.
        let mut server = Server::start(step);
        server.process().stop();
        let mut client = server.connect();
        client.send(MESSAGE);
        server.process().go_on();
        client.receive_answer();

        server.process().stop();
        server.process().go_on();
        client.ask();
        server.process().stop();
        client.send(MESSAGE);
        client.expect_no_answer_yet();
        server.process().go_on();
        client.receive_answer();
        client.close();
        the_next_is_served(&mut server);
    }
}

/// A shell lets what it runs in the background ignore an interrupt, and no shell takes that back.
/// Perl does, so that the tests can run there too.
const HEED_INTERRUPTS: &str = "{ ! command -v perl > /dev/null || \
     exec perl -e '$SIG{INT} = q(DEFAULT); exec @ARGV' -- \"$0\" \"$@\"; }";

/// Sends a signal while one client is connected and another may wait: the server ends at once, of
/// that signal, and the connected one sees it.
fn ends_at_once(signal: Signal) {
    for step in Step::STEPS {
        let mut server = Start::of(step).shell(HEED_INTERRUPTS).start();
        let mut client = server.connect();
        client.ask();
        let waiting = server.connect();
        server.process().signal(signal);
        let status = server.wait();
        assert_eq!(
            status.signal(),
            Some(signal.as_raw()),
            "{step} was expected to end of {signal:?}: {status}"
        );
        let rest = client.receive_to_the_end();
        assert!(rest.is_empty(), "{step}: the end of the stream was expected, but got {rest:?}");
        waiting.close();
        let said = server.errors.to_the_end();
        assert!(said.is_empty(), "{step}: nothing was expected on standard error: {said:#?}");
    }
}

#[test]
fn an_interrupt_ends_it_at_once() {
    ends_at_once(Signal::INT);
}

#[test]
fn a_termination_ends_it_at_once() {
    ends_at_once(Signal::TERM);
}

#[test]
fn it_listens_again_on_the_same_port_at_once_while_clients_are_connected() {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let mut clients: Vec<_> = (0..5).map(|_| server.connect()).collect();
        clients[0].ask();
        server.process().signal(Signal::TERM);
        server.wait();
        let mut again = Start::of(step).port(server.addr.port()).start();
        assert_eq!(again.addr, server.addr, "{step} was expected on the same port");
        the_next_is_served(&mut again);
        clients.into_iter().for_each(tests::Client::close);
    }
}
