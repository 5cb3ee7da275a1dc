//! Closed streams and signals, which a server inherits or gets from its parent.

use std::os::unix::process::ExitStatusExt;

use harness::{ServerCommand, Signal, Step};

use crate::serve_next;

/// A shell lets its background commands ignore an interrupt, and no shell undoes that. Perl does, so
/// that the tests can run in the background too.
const RESET_INTERRUPT: &str = "{ ! command -v perl > /dev/null || \
     exec perl -e '$SIG{INT} = q(DEFAULT); exec @ARGV' -- \"$0\" \"$@\"; }";

#[test]
fn interrupt_and_termination_end_a_server_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        for step in Step::STEPS {
            let mut server = ServerCommand::for_step(step).shell(RESET_INTERRUPT).start();
            let mut client = server.connect_and_request();
            let waiting = server.connect();
            server.process().signal(signal);
            let status = server.wait();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{step}: {status}");
            client.expect_end().unwrap();
            waiting.close().unwrap();
            assert_eq!(server.errors.read_to_end(), [""; 0], "standard error of {step}");
        }
    }
}

/// Expects that a step serves clients, and also reports clients that reset, with a stream closed.
fn expect_service(close_stream: impl Fn(ServerCommand) -> ServerCommand) {
    for step in Step::STEPS {
        let mut server = close_stream(ServerCommand::for_step(step)).start();
        for _ in 0..3 {
            let client = server.connect_and_request();
            client.reset().unwrap();
            serve_next(&mut server);
        }
    }
}

#[test]
fn server_goes_on_with_standard_output_closed() {
    expect_service(ServerCommand::close_stdout);
}

#[test]
fn server_goes_on_with_standard_error_closed() {
    expect_service(|command| command.shell("exec 2>&-"));
}
