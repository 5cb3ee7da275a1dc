//! What one look finds out: where the server is, and who waits.

use std::collections::{BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use harness::kernel::{Doing, State, TcpSocket, tcp_sockets};
use harness::{Line, Server, Step};

use crate::source::Call;

/// For how many times the time that it took the kernel's table is not read again, and for how long
/// at most. On a calm machine that is less than one look; but all connections of the machine are in
/// it, those that have just closed too, and with thousands it takes longer.
const TABLE_RESTS: (u32, Duration) = (7, Duration::from_millis(150));

/// A connection, from the first look that saw it to the last.
pub struct Client {
    pub letters: String,
    pub socket: TcpSocket,
    /// Which of the connections it is, counted in looks: those of one look share their number.
    seen_in: u64,
    /// Since when it has been where it is: in the queue, or accepted.
    since: Instant,
    /// The last look did not see it. The kernel hands its table out in pieces, and a connection may
    /// slip from one into the other meanwhile: gone is who was missed twice.
    missed: bool,
}

/// Where the server is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub call: Call,
    /// The kernel said so, and not the narration.
    pub from_kernel: bool,
}

/// What the server says, on either stream.
pub struct Said {
    pub line: Line,
    pub is_error: bool,
}

pub struct Model {
    pub step: Step,
    pub addr: Option<SocketAddr>,
    /// How to connect, once it listens.
    pub connect: String,
    pub place: Option<Place>,
    /// Whose turn it is, where the call is for one client.
    pub serves: Option<String>,
    /// How often the loop has come to this call.
    pub rounds: usize,
    /// The lists that `select` was given, in letters.
    pub lists: Option<[Vec<String>; 2]>,
    /// None where the kernel does not tell.
    pub clients: Option<Vec<Client>>,
    pub said: Vec<Said>,
    /// When it was.
    pub now: Instant,
    next_table: Instant,
    looks: u64,
    met: usize,
    listening: Option<u64>,
    inodes: HashMap<RawFd, u64>,
    inodes_of: BTreeSet<u64>,
}

impl Model {
    pub fn of(step: Step) -> Self {
        Self {
            step,
            addr: None,
            connect: String::new(),
            place: None,
            serves: None,
            rounds: 0,
            lists: None,
            clients: None,
            said: Vec::new(),
            now: Instant::now(),
            next_table: Instant::now(),
            looks: 0,
            met: 0,
            listening: None,
            inodes: HashMap::new(),
            inodes_of: BTreeSet::new(),
        }
    }

    /// Looks at the server once.
    pub fn look(&mut self, server: &Server) {
        self.now = Instant::now();
        self.looks += 1;
        self.listen_to(server);
        let doing = server.process().doing();
        self.meet();
        let spoken = self.said.iter().rev().filter(|said| !said.is_error);
        let spoken = spoken.filter_map(|said| Call::of_line(&said.line.text)).next();
        let spoken = spoken.map(|call| Place { call, from_kernel: false });
        (self.place, self.serves, self.lists) = (spoken, None, None);
        if let Some(Doing::Waits(waits)) = doing
            && let Some(call) = waits.name().and_then(Call::of_the_kernel)
        {
            self.place = Some(Place { call, from_kernel: true });
            if matches!(call, Call::Recv | Call::Send) {
                let descriptor = RawFd::try_from(waits.arguments[0]).ok();
                let inode = descriptor.and_then(|it| server.process().inode(it));
                self.serves = inode.and_then(|inode| self.letters_of(inode));
                if self.serves.is_none() {
                    // Somebody new.
                    self.next_table = self.now;
                }
            }
            let lists = server.process().selecting(&waits);
            // Only if it has not gone on while they were read.
            if server.process().doing() == doing {
                self.lists = lists.map(|lists| lists.map(|list| self.letters(&list, server)));
            }
        }
        let before = match self.place.map(|place| place.call) {
            Some(Call::Accept | Call::Sleep) => "Before accept()",
            Some(Call::Recv | Call::Send) if self.step.blocks() => "Before recv()",
            _ => "Before select()",
        };
        self.rounds = server.narration.count(before);
    }

    fn listen_to(&mut self, server: &Server) {
        let all =
            |lines: Vec<Line>, is_error| lines.into_iter().map(move |line| Said { line, is_error });
        let narration = server.narration.runs();
        if self.addr.is_none() {
            let mut lines = narration.iter();
            self.addr =
                lines.find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok());
            self.connect = self.addr.map_or_else(String::new, how_to_connect);
        }
        self.said = all(narration, false).chain(all(server.errors.runs(), true)).collect();
        self.said.sort_by_key(|said| said.line.at);
    }

    /// Notes who has come, who was accepted, and who has gone.
    fn meet(&mut self) {
        if self.now < self.next_table {
            return;
        }
        let Some(mut sockets) = self.addr.and_then(tcp_sockets) else { return };
        let (times, longest) = TABLE_RESTS;
        self.next_table = Instant::now() + longest.min(self.now.elapsed() * times);
        let listening = sockets.iter().find(|socket| socket.state == State::Listen);
        self.listening = listening.map(|socket| socket.inode);
        let old = self.clients.take().unwrap_or_default();
        let mut old: HashMap<SocketAddr, Client> =
            old.into_iter().map(|client| (client.socket.remote, client)).collect();
        if !cfg!(target_os = "linux") {
            sockets.iter_mut().for_each(|socket| self.note_if_accepted(socket, &old));
        }
        let mut open: Vec<TcpSocket> = sockets.into_iter().filter(TcpSocket::is_open).collect();
        open.sort_by_key(|socket| socket.remote);
        let mut clients: Vec<Client> = Vec::new();
        open.dedup_by_key(|socket| socket.remote);
        for socket in open {
            let known = old.remove(&socket.remote);
            // One that was accepted is accepted for ever: another has its address now.
            let known = known.filter(|it| it.waits() || it.socket.inode == socket.inode);
            clients.push(match known {
                Some(client) if client.waits() == socket.waits_for_accept() => {
                    Client { socket, missed: false, ..client }
                }
                Some(client) => Client { socket, since: self.now, missed: false, ..client },
                None => {
                    let letters = letters(self.met);
                    self.met += 1;
                    Client { letters, socket, seen_in: self.looks, since: self.now, missed: false }
                }
            });
        }
        let missed = old.into_values().filter(|client| !client.missed);
        clients.extend(missed.map(|client| Client { missed: true, ..client }));
        clients.sort_by_key(|client| (client.seen_in, client.socket.remote));
        self.clients = Some(clients);
    }

    /// Where the kernel does not tell who was accepted, the narration does: a port stands for the
    /// inode then.
    fn note_if_accepted(&self, socket: &mut TcpSocket, known: &HashMap<SocketAddr, Client>) {
        let line = format!("Connection from {}", socket.remote);
        let before = known.get(&socket.remote).is_some_and(|client| !client.waits());
        if before || self.said.iter().any(|said| said.line.text == line) {
            socket.inode = socket.remote.port().into();
        }
    }

    pub fn waiting(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten().filter(|client| client.waits())
    }

    pub fn accepted(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().flatten().filter(|client| !client.waits())
    }

    /// Its place in the queue: one more than have been seen before it.
    pub fn place_of(&self, client: &Client) -> usize {
        1 + self.waiting().take_while(|other| other.seen_in < client.seen_in).count()
    }

    pub fn seconds(&self, client: &Client) -> u64 {
        self.for_how_long(client).as_secs()
    }

    fn for_how_long(&self, client: &Client) -> Duration {
        self.now.saturating_duration_since(client.since)
    }

    pub fn longest_wait(&self) -> u64 {
        self.waiting().map(|client| self.seconds(client)).max().unwrap_or(0)
    }

    fn letters_of(&self, inode: u64) -> Option<String> {
        let mut accepted = self.accepted();
        accepted.find(|it| it.socket.inode == inode).map(|it| it.letters.clone())
    }

    /// The names of the sockets in a list.
    fn letters(&mut self, list: &[RawFd], server: &Server) -> Vec<String> {
        // A socket keeps its descriptor: to be looked up only when there are others.
        let now: BTreeSet<u64> = self.accepted().map(|client| client.socket.inode).collect();
        if now != self.inodes_of {
            (self.inodes_of, self.inodes) = (now, HashMap::new());
        }
        let named: HashMap<u64, &str> = self
            .clients
            .iter()
            .flatten()
            .map(|it| (it.socket.inode, it.letters.as_str()))
            .collect();
        let mut letters = Vec::new();
        for sock in list {
            let known = self.inodes.get(sock).copied();
            let inode = known.or_else(|| server.process().inode(*sock));
            let Some(inode) = inode else { continue };
            self.inodes.insert(*sock, inode);
            let name = named.get(&inode).copied();
            let listens = (self.listening == Some(inode)).then_some("server_socket");
            letters.extend(name.or(listens).map(str::to_owned));
        }
        letters
    }
}

impl Client {
    pub fn waits(&self) -> bool {
        self.socket.waits_for_accept()
    }
}

/// For a server on all addresses by the one that reaches others.
fn how_to_connect(addr: SocketAddr) -> String {
    let reach = if addr.ip().is_unspecified() { own_address() } else { Some(addr.ip()) };
    let host = reach.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
    format!("nc {host} {}", addr.port())
}

/// The address from which this machine would reach others. UDP sends nothing to connect.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // TEST-NET-1 (RFC 5737): nobody's.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// A to Z, then AA: the n-th name of a client.
fn letters(mut n: usize) -> String {
    let mut name = String::new();
    loop {
        name.insert(0, char::from(b'A' + u8::try_from(n % 26).unwrap_or(0)));
        match (n / 26).checked_sub(1) {
            Some(rest) => n = rest,
            None => return name,
        }
    }
}
