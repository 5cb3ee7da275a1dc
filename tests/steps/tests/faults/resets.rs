//! A client resets its connection while another client is connected. `cases.rs` has the other kinds of
//! resets, and what a server reports then.

use harness::{MESSAGE, Server, Step};

use crate::serve_next;

#[test]
fn other_client_does_not_notice_a_reset() {
    for step in Step::STEPS {
        let mut server = Server::start(step);
        let resetting = server.connect_and_request();
        let addr = resetting.addr();
        let mut other = server.connect();
        other.send(MESSAGE).unwrap();
        if !step.is_blocking() {
            other.receive().unwrap();
            other.send(MESSAGE).unwrap();
        }
        resetting.reset().unwrap();
        other.receive().unwrap();
        other.request().unwrap();
        other.close().unwrap();
        serve_next(&mut server);
        let errors = server.kill_and_read_errors();
        assert!(
            errors.len() == 1 && errors[0].starts_with(&format!("{addr}: recv: ")),
            "{step}: expected one line about {addr}, got {errors:#?}"
        );
    }
}
