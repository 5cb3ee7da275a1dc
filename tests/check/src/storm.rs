//! All of it at the same time, from a seed.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use harness::{Client, StalledReader, reset_on_close};

use crate::{Case, Expecting, Level};

/// Polite clients, who count every byte.
const POLITE: usize = 16;

/// How long one blows in `check`.
const LASTS: Duration = Duration::from_secs(5);

pub(crate) const CASES: &[Case] = &[Case {
    level: Level::Storm,
    name: "a storm of all of them",
    question: "Polite clients among all kinds of rude ones. Does each get its answers?",
    read: "step3-select/CARE.md",
    by_hand: "cargo test -p steps --test faults storm",
    prepare: crate::unchanged,
    run: |trial| {
        trial.the_next_is_served("nobody")?;
        let seed = fastrand::u64(..);
        let storm =
            Storm { server: trial.server.addr, timeout: trial.timeout(), one_by_one: false };
        storm.blow(seed, LASTS).expecting("an answer to each polite client")?;
        trial.the_next_is_served("the storm")?;
        Ok(String::new())
    },
}];

/// Rude clients and polite ones, let loose on a server.
#[derive(Debug, Clone, Copy)]
pub struct Storm {
    /// The server.
    pub server: SocketAddr,
    /// How long a polite client waits for an answer.
    pub timeout: Duration,
    /// Whether the server serves one client at a time: then the rude ones ahead of a polite one must
    /// leave first, and there are fewer.
    pub one_by_one: bool,
}

impl Storm {
    /// Lets it blow.
    pub fn blow(self, seed: u64, lasts: Duration) -> io::Result<()> {
        let end = Instant::now() + lasts;
        let mut seeds = Rng::with_seed(seed);
        let (polite, rude) = if self.one_by_one { (1, 10) } else { (POLITE, 60) };
        thread::scope(|scope| {
            for _ in 0..3 {
                let rng = seeds.fork();
                scope.spawn(move || self.be_rude(rude, end, rng));
            }
            let each: Vec<_> = (0..polite)
                .map(|_| {
                    let rng = seeds.fork();
                    scope.spawn(move || self.be_polite(POLITE / polite, end, rng))
                })
                .collect();
            each.into_iter().try_for_each(|client| client.join().expect("no panic in it"))
        })
    }

    /// Polite clients, one after another, until `end` and at least `clients` of them.
    fn be_polite(self, clients: usize, end: Instant, mut rng: Rng) -> io::Result<()> {
        for number in 0.. {
            if number >= clients && Instant::now() >= end {
                break;
            }
            let mut client = Client::connect(self.server, self.timeout)?;
            for _ in 0..rng.u8(1..20) {
                client.request()?;
                pause(&mut rng);
            }
            client.half_close()?;
            if !client.receive_to_end()?.is_empty() {
                return Err(io::Error::new(ErrorKind::InvalidData, "more than was asked for"));
            }
        }
        Ok(())
    }

    /// So many rude clients at a time, until `end`; then all of them vanish.
    fn be_rude(self, clients: usize, end: Instant, mut rng: Rng) {
        let mut places: Vec<Option<TcpStream>> = (0..clients).map(|_| None).collect();
        while Instant::now() < end {
            if let Some(place) = rng.choice(&mut places) {
                *place = match place.take() {
                    Some(stream) => be_rude_once(stream, &mut rng),
                    None => self.connect(&mut rng).ok(),
                };
            }
            pause(&mut rng);
        }
    }

    /// Connects a client that is about to be rude; one in eight has no room for answers.
    fn connect(self, rng: &mut Rng) -> io::Result<TcpStream> {
        let stream = match rng.u8(0..8) {
            0 => StalledReader::connect(self.server)?.stream().try_clone()?,
            _ => TcpStream::connect_timeout(&self.server, self.timeout)?,
        };
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

/// One deed of a rude client. Returns it unless it is gone. That a call fails is no news: the
/// server may have been faster.
fn be_rude_once(mut stream: TcpStream, rng: &mut Rng) -> Option<TcpStream> {
    let _ = match rng.u8(0..8) {
        0 => return None,
        1 => {
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
