//! Signals that end a server.

use std::os::unix::process::ExitStatusExt;

use harness::{Signal, Start, Step};

/// A shell lets what it runs in the background ignore an interrupt, and no shell takes that back.
/// Perl does, so that the tests can run there too.
const HEED_INTERRUPTS: &str = "{ ! command -v perl > /dev/null || \
     exec perl -e '$SIG{INT} = q(DEFAULT); exec @ARGV' -- \"$0\" \"$@\"; }";

/// Sends a signal while one client is connected and another may wait: the server ends at once, of
/// that signal, and the connected one sees it.
fn ends_at_once(signal: Signal) {
    for step in Step::STEPS {
        let mut server = Start::of(step).shell(HEED_INTERRUPTS).start();
        let mut client = server.connect_and_request();
        let waiting = server.connect();
        server.process().signal(signal);
        let status = server.wait();
        assert_eq!(
            status.signal(),
            Some(signal.as_raw()),
            "{step} was expected to end of {signal:?}: {status}"
        );
        client.expect_end().unwrap();
        waiting.close().unwrap();
        let said = server.errors.to_end();
        assert!(said.is_empty(), "{step}: nothing was expected on standard error: {said:#?}");
    }
}

#[test]
fn an_interrupt_and_a_termination_end_it_at_once() {
    ends_at_once(Signal::INT);
    ends_at_once(Signal::TERM);
}
