//! Clients of all kinds at the same time, chosen at random from a seed.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{Client, Protocol, StalledReader, reset_on_close};

use crate::{Case, Expecting};

const WELL_BEHAVED_CLIENTS: usize = 16;

const DURATION: Duration = Duration::from_secs(3);

pub(crate) const CASES: &[Case] = &[Case {
    name: "all kinds at once",
    question: "Well-behaved and misbehaving clients connect at random. Is each well-behaved client served?",
    section: "step3-select/HARDENING.md",
    by_hand: "not possible. check starts {server}, and for three seconds connects 16 clients that behave well and 180 that misbehave.",
    run: |trial| {
        trial.expect_served("the first client")?;
        let storm = Storm {
            server: trial.server.addr,
            timeout: trial.timeout,
            protocol: Arc::clone(&trial.protocol),
            deadline: trial.deadline,
            is_one_at_a_time: false,
        };
        trial.note("for three seconds 16 clients behave well and 180 misbehave");
        let result = storm.run(fastrand::u64(..), DURATION);
        result.expecting("a response to each client that behaves well")?;
        trial.expect_next_served("the storm")
    },
    ..Case::BASE
}];

/// Clients that behave well and clients that misbehave, all at the same time.
#[derive(Debug, Clone)]
pub struct Storm {
    pub server: SocketAddr,
    /// The timeout of a client that behaves well.
    pub timeout: Duration,
    pub protocol: Arc<Protocol>,
    pub deadline: Instant,
    /// True if the server serves one client at a time. Then fewer clients run, because each one waits
    /// until the misbehaving clients before it have disconnected.
    pub is_one_at_a_time: bool,
}

impl Storm {
    /// Runs all clients for `duration`. Returns the first error of a client that behaves well.
    pub fn run(&self, seed: u64, duration: Duration) -> io::Result<()> {
        let end = Instant::now() + duration;
        let mut seeds = Rng::with_seed(seed);
        let (well_behaved_count, misbehaving_count) =
            if self.is_one_at_a_time { (1, 10) } else { (WELL_BEHAVED_CLIENTS, 60) };
        thread::scope(|scope| {
            for _ in 0..3 {
                let rng = seeds.fork();
                scope.spawn(move || self.misbehave(misbehaving_count, end, rng));
            }
            let mut clients = Vec::new();
            for _ in 0..well_behaved_count {
                let rng = seeds.fork();
                clients.push(scope.spawn(move || {
                    self.behave_well(WELL_BEHAVED_CLIENTS / well_behaved_count, end, rng)
                }));
            }
            clients.into_iter().try_for_each(|client| client.join().expect("a client thread"))
        })
    }

    /// Runs clients that behave well, one after the other, until `end`, but at least `min_clients`.
    fn behave_well(&self, min_clients: usize, end: Instant, mut rng: Rng) -> io::Result<()> {
        let mut clients = 0;
        while clients < min_clients || Instant::now() < end {
            let client = Client::connect(self.server, self.timeout)?;
            let mut client = client.with_protocol(&self.protocol, self.deadline);
            for _ in 0..rng.u8(1..20) {
                client.request()?;
                pause(&mut rng);
            }
            client.half_close()?;
            client.expect_end()?;
            clients += 1;
        }
        Ok(())
    }

    /// Runs `client_count` misbehaving clients at a time, until `end`. Then all of them disconnect.
    fn misbehave(&self, client_count: usize, end: Instant, mut rng: Rng) {
        let mut clients: Vec<Option<TcpStream>> = (0..client_count).map(|_| None).collect();
        while Instant::now() < end {
            if let Some(client) = rng.choice(&mut clients) {
                *client = match client.take() {
                    Some(stream) => misbehave_once(stream, &mut rng),
                    None => self.connect(&mut rng).ok(),
                };
            }
            pause(&mut rng);
        }
    }

    /// Connects a client that will misbehave. One in eight has a tiny receive buffer.
    fn connect(&self, rng: &mut Rng) -> io::Result<TcpStream> {
        let stream = match rng.u8(0..8) {
            0 => StalledReader::connect(self.server)?.stream().try_clone()?,
            _ => TcpStream::connect_timeout(&self.server, self.timeout)?,
        };
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

/// Sends, receives or disconnects at random. Returns the client unless it has disconnected.
fn misbehave_once(mut stream: TcpStream, rng: &mut Rng) -> Option<TcpStream> {
    // A call may fail, because the server may have closed the connection already.
    let _ = match rng.u8(0..8) {
        0 => return None,
        1 => {
            // If this fails, the client disconnects without a reset.
            let _ = reset_on_close(&stream);
            return None;
        }
        2 => stream.shutdown(Shutdown::Write),
        3 => stream.write(&[b'x'; 64 * 1024]).map(drop),
        4 => stream.write(b"hel").map(drop),
        5 => stream.read(&mut [0; 64]).map(drop),
        _ => stream.write(b"hello\n").map(drop),
    };
    Some(stream)
}

fn pause(rng: &mut Rng) {
    thread::sleep(Duration::from_micros(rng.u64(0..4000)));
}
