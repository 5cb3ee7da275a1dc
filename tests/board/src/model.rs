//! The state of the server: the call in which it is blocked, its clients, and its output.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::RawFd;
use std::time::Instant;

use harness::kernel::{Doing, State, TcpSocket, tcp_sockets};
use harness::{Line, Server, Step};

use crate::source::Call;

pub struct Client {
    /// A letter, or several after Z.
    pub name: String,
    pub socket: TcpSocket,
    /// How many clients had been found before the update that found it. The order within one
    /// update is not known.
    pub found_after: usize,
    /// When it entered the backlog, or when it was accepted.
    pub since: Instant,
    /// It was not in the table at the last update. The kernel returns the table in pieces, so a
    /// connection can slip through between two of them; it has gone if it is missing twice.
    pub is_missing: bool,
}

impl Client {
    pub fn is_waiting(&self) -> bool {
        self.socket.waits_for_accept()
    }
}

/// Equal lines that the server printed one after the other.
pub struct OutputLine {
    pub line: Line,
    pub is_error: bool,
}

pub struct Model {
    pub step: Step,
    /// The address, once the server listens.
    pub addr: Option<SocketAddr>,
    /// The call in which the server is blocked, or that it narrated last.
    pub call: Option<Call>,
    /// The kernel reports the call, not the narration.
    pub is_from_kernel: bool,
    /// The client for which the server is blocked in `recv` or `send`.
    pub blocked_for: Option<String>,
    /// How often the server has come to the current call.
    pub iteration: usize,
    /// The names in the two lists that were given to `select`, to read and to write.
    pub lists: Option<[Vec<String>; 2]>,
    /// None if not available on this system.
    pub clients: Option<Vec<Client>>,
    pub output: Vec<OutputLine>,
    pub now: Instant,
    clients_found: usize,
    listening_inode: Option<u64>,
}

impl Model {
    pub fn of(step: Step) -> Self {
        Self {
            step,
            addr: None,
            call: None,
            is_from_kernel: false,
            blocked_for: None,
            iteration: 0,
            lists: None,
            clients: None,
            output: Vec::new(),
            now: Instant::now(),
            clients_found: 0,
            listening_inode: None,
        }
    }

    pub fn update(&mut self, server: &Server) {
        self.now = Instant::now();
        self.read_output(server);
        let doing = server.process().doing();
        self.update_clients();
        let mut narrated = self.output.iter().rev().filter(|output| !output.is_error);
        let narrated = narrated.find_map(|output| Call::from_narration(&output.line.text));
        (self.call, self.is_from_kernel) = (narrated, false);
        (self.blocked_for, self.lists) = (None, None);
        if let Some(Doing::Waits(blocked)) = doing
            && let Some(call) = blocked.name().and_then(Call::from_syscall)
        {
            (self.call, self.is_from_kernel) = (Some(call), true);
            if matches!(call, Call::Recv | Call::Send) {
                let sock = RawFd::try_from(blocked.arguments[0]).unwrap_or(-1);
                self.blocked_for = self.names_of(&[sock], server).pop();
            }
            let lists = server.process().selecting(&blocked);
            // If the server has gone on meanwhile, they are not what it gave to this call.
            if server.process().doing() == doing {
                self.lists = lists.map(|lists| lists.map(|list| self.names_of(&list, server)));
            }
        }
        let line = match self.call {
            Some(Call::Accept | Call::Sleep) => "Before accept()",
            Some(Call::Recv | Call::Send) if self.step.blocks() => "Before recv()",
            _ => "Before select()",
        };
        self.iteration = server.narration.count(line);
    }

    fn read_output(&mut self, server: &Server) {
        let narration = server.narration.last_runs(1000);
        if self.addr.is_none() {
            let mut lines = narration.iter();
            self.addr =
                lines.find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok());
        }
        self.output.clear();
        for (lines, is_error) in [(narration, false), (server.errors.last_runs(1000), true)] {
            self.output.extend(lines.into_iter().map(|line| OutputLine { line, is_error }));
        }
        self.output.sort_by_key(|output| output.line.at);
    }

    /// Reads the kernel's table, and recognizes the clients that were in it before.
    fn update_clients(&mut self) {
        let Some(mut sockets) = self.addr.and_then(tcp_sockets) else { return };
        let listening = sockets.iter().find(|socket| socket.state == State::Listen);
        self.listening_inode = listening.map(|socket| socket.inode);
        let old = self.clients.take().unwrap_or_default();
        let mut old: HashMap<SocketAddr, Client> =
            old.into_iter().map(|client| (client.socket.remote, client)).collect();
        sockets.retain(TcpSocket::is_open);
        sockets.sort_by_key(|socket| socket.remote);
        sockets.dedup_by_key(|socket| socket.remote);
        let mut clients: Vec<Client> = Vec::new();
        let found_after = self.clients_found;
        for mut socket in sockets {
            let known = old.remove(&socket.remote);
            if !cfg!(target_os = "linux") && self.is_accepted(&socket, known.as_ref()) {
                // There is no inode: the port stands for it.
                socket.inode = socket.remote.port().into();
            }
            // An accepted connection stays accepted. If not, a new client has its address.
            let known = known.filter(|it| it.is_waiting() || it.socket.inode == socket.inode);
            clients.push(match known {
                Some(client) => {
                    let is_unchanged = client.is_waiting() == socket.waits_for_accept();
                    let since = if is_unchanged { client.since } else { self.now };
                    Client { socket, since, is_missing: false, ..client }
                }
                None => {
                    self.clients_found += 1;
                    Client {
                        name: client_name(self.clients_found - 1),
                        socket,
                        found_after,
                        since: self.now,
                        is_missing: false,
                    }
                }
            });
        }
        let missing = old.into_values().filter(|client| !client.is_missing);
        clients.extend(missing.map(|client| Client { is_missing: true, ..client }));
        clients.sort_by_key(|client| (client.found_after, client.socket.remote));
        self.clients = Some(clients);
    }

    /// Returns whether the narration has reported the client, for a system whose table has no
    /// inodes.
    fn is_accepted(&self, socket: &TcpSocket, known: Option<&Client>) -> bool {
        let line = format!("Connection from {}", socket.remote);
        known.is_some_and(|client| !client.is_waiting())
            || self.output.iter().any(|output| output.line.text == line)
    }

    /// Returns the clients in the backlog, and the accepted ones.
    pub fn waiting_and_accepted(&self) -> (Vec<&Client>, Vec<&Client>) {
        self.clients.iter().flatten().partition(|client| client.is_waiting())
    }

    pub fn seconds(&self, client: &Client) -> u64 {
        self.now.saturating_duration_since(client.since).as_secs()
    }

    /// Returns the names of the sockets in a list of file descriptors.
    fn names_of(&self, list: &[RawFd], server: &Server) -> Vec<String> {
        let clients = self.clients.iter().flatten();
        let mut names: HashMap<u64, &str> =
            clients.map(|client| (client.socket.inode, client.name.as_str())).collect();
        if let Some(inode) = self.listening_inode {
            names.insert(inode, "server_socket");
        }
        let inodes = list.iter().filter_map(|sock| server.process().inode(*sock));
        inodes.filter_map(|inode| names.get(&inode).map(|name| (*name).to_owned())).collect()
    }
}

/// Returns the command that connects to a server. If the server listens on all addresses, the
/// command names the one that other machines can reach.
pub fn connect_command(addr: SocketAddr) -> String {
    let ip = if addr.ip().is_unspecified() { own_address() } else { Some(addr.ip()) };
    let host = ip.map_or_else(|| "ADDRESS".to_owned(), |ip| ip.to_string());
    format!("nc {host} {}", addr.port())
}

/// Returns the address from which this machine reaches others. Connecting UDP sends no packet.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    // TEST-NET-1 (RFC 5737), which has no host.
    socket.connect("192.0.2.1:9").ok()?;
    socket.local_addr().ok().map(|addr| addr.ip())
}

/// Returns A to Z, then A1 to Z1, A2 to Z2 and so on.
pub fn client_name(number: usize) -> String {
    let letter = ('A'..='Z').nth(number % 26).unwrap_or_default();
    if number < 26 { letter.to_string() } else { format!("{letter}{}", number / 26) }
}
