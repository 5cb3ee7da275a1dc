//! What was recorded: who did what, and when.

use std::time::Duration;

use harness::Step;

/// One scenario, as it went on every server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The name of the scenario.
    pub scenario: String,
    /// Its question, in one line.
    pub question: String,
    /// What a picture of it shows.
    pub shows: Shows,
    /// How long it should have taken: the scale with which a live picture starts.
    pub planned: Duration,
    /// How long it was recorded; all times count from the moment at which the clients started.
    pub until: Duration,
    /// One entry for each server.
    pub steps: Vec<Lanes>,
    /// What must be known besides: the steps that it is not for, and how the server was built.
    pub notes: Vec<String>,
    /// The longest time between two looks at the clock: far more than planned if the machine or a
    /// person stopped everything meanwhile.
    pub longest_frame: Duration,
}

/// What a picture shows of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// A lane for the server and for each client.
    Lanes,
    /// What was sent in one write, and how many answers came.
    Writes,
    /// A bar for what an answer takes among each number of idle clients.
    Bars,
}

/// What one server and its clients did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lanes {
    /// The server.
    pub step: Step,
    /// What the server was in, from when on. From its narration, stamped as it was read.
    pub server: Vec<(Duration, ServerIs)>,
    /// What each client did, `A` first. Stamped by the client.
    pub clients: Vec<Vec<(Duration, ClientDid)>>,
    /// What the server said on standard error.
    pub errors: Vec<String>,
    /// What a client could not do, in words.
    pub failures: Vec<String>,
    /// The system call in which the server was when `A` was stuck, where the kernel tells.
    pub stuck_in: Option<&'static str>,
}

/// What a server does, with numbers or addresses of clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerIs<Client = usize> {
    /// It waits in `accept()`.
    Accepting,
    /// It waits in `recv()` for that client.
    Receiving(Client),
    /// It waits in `send()` to that client.
    Sending(Client),
    /// It waits in `select()`, or in what the servers that come after have in its place.
    Selecting,
    /// It sleeps: no step does, unless somebody tries what happens then.
    Sleeping,
    /// It has turned to these clients: accepts them, or `recv()` and `send()` go through.
    With(Vec<Client>),
}

/// What a client does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientDid {
    /// Connects.
    Comes,
    /// Sends one message, and waits for its answer.
    Asks,
    /// Sends this much in one write, and waits for what comes.
    Sends {
        /// How many messages those are to it.
        messages: usize,
        /// How many bytes.
        bytes: usize,
    },
    /// Sends and sends, and reads nothing.
    Floods,
    /// Has an answer.
    Answered,
    /// Says nothing for a while.
    Thinks,
    /// Its own `send()` no longer goes through.
    Stuck,
    /// Has that many idle clients around it from now on.
    Among(usize),
    /// Knows what processor time the server took for each answer since it is [among](Self::Among)
    /// so many, where the system tells.
    Measured(Duration),
    /// Closes.
    Leaves,
    /// Closes with a reset.
    Resets,
}

/// The letter of a client.
pub fn letter(client: usize) -> char {
    ('A'..='Z').nth(client).unwrap_or('?')
}

impl Lanes {
    /// When `client` first did what `did` says.
    pub fn when(&self, client: usize, did: ClientDid) -> Option<Duration> {
        self.all(client, did).next()
    }

    /// Each time at which `client` did what `did` says.
    pub fn all(&self, client: usize, did: ClientDid) -> impl Iterator<Item = Duration> {
        let lane = self.clients.get(client).map_or(&[][..], Vec::as_slice);
        lane.iter().filter(move |(_, what)| *what == did).map(|(at, _)| *at)
    }

    /// How long `client` waited for each of its answers, in order.
    pub fn waits(&self, client: usize) -> Vec<Duration> {
        let answered = self.all(client, ClientDid::Answered);
        self.all(client, ClientDid::Asks).zip(answered).map(|(asks, has)| has - asks).collect()
    }

    /// When the last event of any client was.
    pub fn last_event(&self) -> Duration {
        self.clients.iter().flatten().map(|(at, _)| *at).max().unwrap_or_default()
    }
}
