//! What compares the steps.

use tests::{Server, Step};

#[test]
fn smoke() {
    for step in Step::ALL {
        let server = Server::start(step);
        let mut client = server.connect();
        client.ask();
        client.close();
    }
}
