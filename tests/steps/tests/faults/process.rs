//! Signals and closed streams that a server gets from its parent.

use std::os::unix::process::ExitStatusExt;

use harness::{ServerCommand, Signal, Step};

use crate::expect_next_served;

/// If the tests run in the background, they and their servers start with SIGINT ignored. A shell cannot undo
/// that, but Perl can.
const RESTORE_SIGINT: &str = "{ ! command -v perl > /dev/null || \
     exec perl -e '$SIG{INT} = q(DEFAULT); exec @ARGV' -- \"$0\" \"$@\"; }";

#[test]
fn interrupt_and_termination_end_a_server_at_once() {
    for signal in [Signal::INT, Signal::TERM] {
        for step in Step::STEPS {
            let mut server = ServerCommand::for_step(step).shell(RESTORE_SIGINT).start();
            let mut client = server.connect_and_request();
            let waiting_client = server.connect();
            server.process().signal(signal);
            let status = server.wait();
            assert_eq!(status.signal(), Some(signal.as_raw()), "{step}: {status}");
            client.expect_end().unwrap();
            waiting_client.close().unwrap();
            assert_eq!(server.errors.read_to_end(), [""; 0], "standard error of {step}");
        }
    }
}

#[test]
fn server_serves_clients_with_an_output_stream_closed() {
    for close_stream in
        [ServerCommand::close_stdout, |command: ServerCommand| command.shell("exec 2>&-")]
    {
        for step in Step::STEPS {
            let mut server = close_stream(ServerCommand::for_step(step)).start();
            server.connect_and_request().reset().unwrap();
            expect_next_served(&mut server);
        }
    }
}
