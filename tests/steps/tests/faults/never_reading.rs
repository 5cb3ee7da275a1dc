//! A client that sends and never reads.

use std::sync::Arc;

use harness::{MESSAGE, Server, ServerCommand, StalledReader, Step, TIMEOUT};

use crate::{count_recvs, expect_next_served, run_in_parallel};

fn connect_stalled_client(server: &Server) -> StalledReader {
    let mut client = StalledReader::connect(server.addr).unwrap();
    client.send_until_stuck().unwrap();
    client
}

#[test]
fn clients_wait_until_one_that_never_reads_disconnects() {
    run_in_parallel(&[Step::Blocking, Step::Functions, Step::Bare], |step| {
        let mut server = ServerCommand::for_step(step).quiet().start();
        let stalled_client = connect_stalled_client(&server);
        let mut waiting_clients: Vec<_> = (0..3).map(|_| server.connect()).collect();
        waiting_clients.iter_mut().for_each(|client| client.send(MESSAGE).unwrap());
        waiting_clients.iter().for_each(|client| client.expect_silence().unwrap());
        drop(stalled_client);
        for mut client in waiting_clients {
            client.receive().unwrap();
            client.close().unwrap();
        }
        expect_next_served(&mut server);
    });
}

#[test]
fn late_reader_gets_one_response_for_each_recv() {
    run_in_parallel(&Step::STEPS, |step| {
        let mut server = Server::start(step);
        let client = connect_stalled_client(&server);
        let addr = client.addr();
        let responses = client.drain(&Arc::default(), TIMEOUT).unwrap();
        expect_next_served(&mut server);
        let narration = server.kill_and_read_narration();
        // With a very large send buffer, step 3 prints more lines than the log keeps.
        if narration[0].starts_with("Listening on") {
            // The last recv returns the end of the stream.
            let recvs = count_recvs(&narration, addr) as u64;
            assert_eq!(recvs, responses + 1, "{step}: calls of recv");
        }
        if step == Step::Select && cfg!(target_os = "linux") {
            // On other systems TCP may stall before the server blocks.
            let ready_line = format!("Ready to write: {addr}");
            assert!(narration.contains(&ready_line), "{step}: expected {ready_line:?}");
        }
    });
}
