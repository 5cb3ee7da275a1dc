//! A recording of a server: one state for each call that it enters, and one for each thing that a
//! client does.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::Path;

use harness::kernel::{Call, ProcessState};
use harness::{Server, Step};
use serde::Serialize;

use crate::clients::{Client, Clients, Status};
use crate::source::Source;
use crate::trace::{Event, Trace};

/// How large a recording may become. Its page has less than 1 MiB.
const LARGEST: usize = 900 << 10;
const EVENTS_PER_POLL: usize = 10;
/// How much of a message is shown.
const SHOWN: usize = 60;
const TEMPLATE: &str = include_str!("recording.html");

#[derive(Serialize)]
pub struct Recording {
    step: &'static str,
    source: Vec<String>,
    /// All that the server printed. A state says how many of these lines it has.
    printed: Vec<Printed>,
    /// All that clients sent and received. A state says how many of these messages it has.
    messages: Vec<Message>,
    /// The address of each client.
    addrs: BTreeMap<String, String>,
    pub states: Vec<State>,
}

#[derive(Serialize)]
struct Printed {
    text: String,
    is_error: bool,
}

#[derive(Serialize)]
struct Message {
    client: String,
    is_sent: bool,
    text: String,
    /// The part of the client's stream that was sent.
    #[serde(skip)]
    range: Range<usize>,
}

#[derive(Serialize, Clone)]
pub struct State {
    /// A description of what happens.
    text: String,
    /// The question that the page asks before it goes on.
    question: Option<String>,
    /// The functions that have not returned, each with the index of its line.
    path: Vec<(String, usize)>,
    is_blocked: bool,
    backlog: Vec<Row>,
    connected: Vec<Row>,
    /// The sets of the last `select`, if the server has called it.
    lists: Option<[Vec<String>; 2]>,
    printed: usize,
    messages: usize,
    /// The action of a client, and the message if it sends one.
    #[serde(skip)]
    action: Option<(String, Option<usize>)>,
}

#[derive(Serialize, Clone)]
struct Row {
    name: String,
    #[serde(skip_serializing_if = "is_zero")]
    unread: u64,
    #[serde(skip_serializing_if = "is_zero")]
    unsent: u64,
    /// `closed` or `reset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    end: Option<&'static str>,
}

/// The known part of a client's conversation.
#[derive(Default)]
struct Progress {
    sent: usize,
    /// The bytes that the server has read.
    text: Vec<u8>,
    was_reset: bool,
    has_ended: bool,
}

enum Action {
    Connect,
    Send(usize),
    Disconnect,
    Reset,
}

pub struct Recorder {
    recording: Recording,
    source: Source,
    trace: Trace,
    addr: Option<SocketAddr>,
    pub clients: Clients,
    progress: HashMap<String, Progress>,
    call: Option<(Call, RawFd)>,
    /// A call was over before its state was read: the machine is too busy for the delay.
    pub is_late: bool,
    size: usize,
}

impl Recorder {
    pub fn new(step: Step, source: Source, trace: Trace) -> Self {
        let recording = Recording {
            step: step.name(),
            source: source.lines.clone(),
            printed: Vec::new(),
            messages: Vec::new(),
            addrs: BTreeMap::new(),
            states: Vec::new(),
        };
        Self {
            size: source.lines.iter().map(String::len).sum(),
            recording,
            source,
            trace,
            addr: None,
            clients: Clients::default(),
            progress: HashMap::new(),
            call: None,
            is_late: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.size > LARGEST
    }

    /// Records what has happened since the last call.
    pub fn poll(&mut self, server: &Server) -> io::Result<()> {
        self.trace.read()?;
        // Only some, because a fast server can add events for as long as this takes them.
        for _ in 0..EVENTS_PER_POLL {
            if self.is_full() {
                return Ok(());
            }
            let Some(event) = self.trace.take() else { break };
            self.take(event, server)?;
        }
        self.update_clients(server);
        self.trace.read()?;
        // If the server has gone on meanwhile, the table is newer than the last state.
        if self.trace.is_empty() {
            self.record_actions();
            self.correct_last(server);
        }
        Ok(())
    }

    /// Returns whether the server is blocked, the kernel has sent all, and all of it is recorded.
    pub fn is_settled(&self) -> bool {
        let last = self.recording.states.last();
        last.is_some_and(|state| {
            let mut rows = state.backlog.iter().chain(&state.connected);
            state.is_blocked && rows.all(|row| row.unsent == 0) && !self.is_returning(state)
        })
    }

    /// Returns whether a client has just done what the server is blocked for.
    fn is_returning(&self, state: &State) -> bool {
        let has_news = |row: &Row| row.unread > 0 || row.end.is_some();
        match self.call {
            Some((Call::Accept, _)) => !state.backlog.is_empty(),
            Some((Call::Recv, sock)) => {
                let peer = self.name_of(sock);
                let row = state.connected.iter().find(|row| Some(row.name.as_str()) == peer);
                row.is_none_or(has_news)
            }
            _ => !state.backlog.is_empty() || state.connected.iter().any(has_news),
        }
    }

    fn name_of(&self, sock: RawFd) -> Option<&str> {
        self.clients.name_of_addr(*self.trace.addrs.get(&sock)?)
    }

    /// Returns how many bytes a client has sent, None if it is not known or has disconnected.
    pub fn sent_by(&self, name: &str) -> Option<usize> {
        self.progress.get(name).filter(|it| !it.has_ended).map(|progress| progress.sent)
    }

    /// Adds a state that asks a question before the next one.
    pub fn ask(&mut self, question: &str) {
        if let Some(last) = self.recording.states.last() {
            let question = Some(question.to_owned());
            self.push(State { question, action: None, ..last.clone() });
        }
    }

    fn take(&mut self, event: Event, server: &Server) -> io::Result<()> {
        match event {
            Event::Entered { call, sock, lists } => {
                self.update_clients(server);
                self.record_actions();
                self.enter(call, sock, lists);
                self.trace.read()?;
                self.is_late |= call != Call::Select && !self.trace.is_empty();
            }
            // Its client is in the table.
            Event::Accepted { .. } => {}
            Event::Received { sock, bytes } => {
                let name = self.name_of(sock).map(str::to_owned);
                if let Some(progress) = name.and_then(|it| self.progress.get_mut(&it)) {
                    progress.text.extend(bytes);
                }
            }
            Event::Reset { sock } => {
                let name = self.name_of(sock).map(str::to_owned);
                if let Some(progress) = name.and_then(|it| self.progress.get_mut(&it)) {
                    progress.was_reset = true;
                }
            }
            Event::Sent { sock, bytes } => {
                if let Some(name) = self.name_of(sock) {
                    self.add_message(Message {
                        client: name.to_owned(),
                        is_sent: false,
                        text: quote(&bytes),
                        range: 0..0,
                    });
                }
            }
            Event::Printed { text, is_error } => {
                self.size += text.len() + 32;
                self.recording.printed.push(Printed { text, is_error });
            }
        }
        Ok(())
    }

    fn add_message(&mut self, message: Message) -> usize {
        self.size += message.client.len() + 6 * SHOWN + 48;
        self.recording.messages.push(message);
        self.recording.messages.len() - 1
    }

    fn update_clients(&mut self, server: &Server) {
        if self.addr.is_none() {
            let mut printed = self.recording.printed.iter();
            self.addr =
                printed.find_map(|line| line.text.strip_prefix("Listening on ")?.parse().ok());
        }
        if let Some(addr) = self.addr {
            let lines = self.recording.printed.iter();
            let narrated: Vec<SocketAddr> = lines
                .filter_map(|line| line.text.strip_prefix("Connection from ")?.parse().ok())
                .collect();
            self.clients.update(addr, server.process(), &narrated);
        }
    }

    /// Records what clients have done since the last update.
    fn record_actions(&mut self) {
        let mut actions = Vec::new();
        let ended = self.clients.ended.iter().rev().map(|ended| (&ended.client, true));
        let current = self.clients.current.iter().map(|client| (client, false));
        for (client, is_gone) in ended.chain(current) {
            let is_new = !self.progress.contains_key(&client.name);
            let progress = self.progress.entry(client.name.clone()).or_default();
            let mut add = |action| actions.push((client.clone(), action));
            if is_new {
                add(Action::Connect);
            }
            let unread = if is_gone || client.status == Status::Reset { 0 } else { client.unread };
            let sent = progress.text.len() + usize::try_from(unread).unwrap_or(0);
            if sent > progress.sent {
                add(Action::Send(sent - progress.sent));
            }
            if !progress.has_ended && (is_gone || client.status != Status::Open) {
                progress.has_ended = true;
                let was_reset = progress.was_reset || client.status == Status::Reset;
                add(if was_reset { Action::Reset } else { Action::Disconnect });
            }
        }
        for (client, action) in actions {
            self.record_action(&client, &action);
        }
    }

    /// Adds a state that differs from the last one by what a client has done.
    fn record_action(&mut self, client: &Client, action: &Action) {
        let name = &client.name;
        let Some(last) = self.recording.states.last() else { return };
        let mut state = State { question: None, ..last.clone() };
        let mut rows = state.backlog.iter_mut().chain(&mut state.connected);
        let row = rows.find(|row| row.name == *name);
        let mut message = None;
        let text = match (action, row) {
            (Action::Connect, _) => {
                self.recording.addrs.insert(name.clone(), client.addr.to_string());
                // Its bytes and its end are actions of their own.
                state.backlog.push(Row { unread: 0, unsent: 0, end: None, ..Row::new(client) });
                format!("{name} connects.")
            }
            (Action::Send(count), row) => {
                let progress = self.progress.entry(name.clone()).or_default();
                let range = progress.sent..progress.sent + count;
                progress.sent = range.end;
                if let Some(row) = row {
                    row.unread += *count as u64;
                }
                let client = name.clone();
                let text = format!("({count} bytes)");
                message = Some(self.add_message(Message { client, is_sent: true, text, range }));
                format!("{name} sends")
            }
            (Action::Disconnect, row) => {
                row.into_iter().for_each(|row| row.end = Some("closed"));
                format!("{name} disconnects.")
            }
            (Action::Reset, row) => {
                row.into_iter().for_each(|row| row.end = Some("reset"));
                format!("{name} resets its connection.")
            }
        };
        state.messages = self.recording.messages.len();
        state.action = Some((text, message));
        self.push(state);
    }

    /// Adds a state for a call that the server has entered.
    fn enter(&mut self, call: Call, sock: RawFd, lists: Option<[Vec<RawFd>; 2]>) {
        self.call = Some((call, sock));
        let name_of = |sock: &RawFd| self.name_of(*sock).unwrap_or("server_socket").to_owned();
        let named = lists.map(|lists| lists.map(|list| list.iter().map(name_of).collect()));
        let before = self.recording.states.last().and_then(|state| state.lists.clone());
        let path = self.source.line_of(call, false).map(|line| self.source.path_to(line));
        let path = path.unwrap_or_default().into_iter();
        let rows = |clients: Vec<&Client>| clients.into_iter().map(Row::new).collect::<Vec<_>>();
        let mut backlog = rows(self.clients.queued().collect());
        for _ in 0..self.clients.unknown_resets {
            let name = "a client".to_owned();
            let end = Some("reset");
            backlog.push(Row { name, unread: 0, unsent: 0, end });
        }
        let state = State {
            text: String::new(),
            question: None,
            path: path.map(|frame| (frame.function, frame.line)).collect(),
            is_blocked: false,
            backlog,
            connected: rows(self.clients.accepted().collect()),
            lists: named.or(before),
            printed: self.recording.printed.len(),
            messages: self.recording.messages.len(),
            action: None,
        };
        self.push(state);
    }

    fn push(&mut self, mut state: State) {
        if self.is_full() {
            return;
        }
        state.text = self.describe(&state);
        // The message that it may name becomes known later. An escaped character takes six.
        self.size += serde_json::to_string(&state).map_or(0, |json| json.len()) + 6 * SHOWN;
        self.recording.states.push(state);
    }

    /// Corrects what becomes known of the last state only after it was added: whether the call
    /// blocks, and which bytes the peer has acknowledged.
    fn correct_last(&mut self, server: &Server) {
        let Some(mut last) = self.recording.states.pop() else { return };
        for row in last.backlog.iter_mut().chain(&mut last.connected) {
            let client = self.clients.current.iter().find(|client| client.name == row.name);
            row.unsent = client.map_or(0, |client| client.unsent.min(row.unsent));
        }
        if let Some(ProcessState::Blocked(call)) = server.process().current_state()
            && call.call() == self.call.map(|(call, _)| call)
        {
            last.is_blocked = true;
        }
        last.text = self.describe(&last);
        self.recording.states.push(last);
    }

    /// Describes what the server does, and the clients in the backlog.
    fn describe(&self, state: &State) -> String {
        let Some((call, sock)) = self.call else { return String::new() };
        let peer = self.name_of(sock).unwrap_or("a client");
        let name = call.name();
        let objects = match call {
            Call::Accept | Call::Sleep => String::new(),
            Call::Recv | Call::Send => format!(" for {peer}"),
            Call::Select => {
                let lists = state.lists.iter().flatten().flatten().map(String::as_str);
                format!(" for {}", join_names(&lists.collect::<Vec<_>>()))
            }
        };
        let verb = if state.is_blocked { "is blocked in" } else { "calls" };
        let mut text = format!("The server {verb} {name}(){objects}");
        let row = state.connected.iter().find(|row| row.name == peer);
        if let Some(row) = row.filter(|_| call == Call::Recv && !state.is_blocked) {
            let bytes = row.describe_unread().map(|bytes| format!("has {bytes}"));
            let news: Vec<String> = bytes.into_iter().chain(row.describe_end()).collect();
            if !news.is_empty() {
                text.push_str(&format!(", which {}", news.join(" and ")));
            }
        }
        text.push('.');
        if state.backlog.len() > 2 {
            text.push_str(&format!(" {} clients are in the backlog.", state.backlog.len()));
            return text;
        }
        for row in &state.backlog {
            let bytes = row.describe_unread().map(|bytes| format!(" with {bytes}"));
            let end = row.describe_end().map(|end| format!(" and {end}"));
            let (bytes, end) = (bytes.unwrap_or_default(), end.unwrap_or_default());
            text.push_str(&format!(" {} is in the backlog{bytes}{end}.", row.name));
        }
        text
    }

    /// Returns the recording. Now it is known what the clients have sent.
    pub fn finish(mut self) -> Recording {
        for message in self.recording.messages.iter_mut().filter(|message| message.is_sent) {
            let progress = self.progress.get(&message.client);
            if let Some(bytes) = progress.and_then(|it| it.text.get(message.range.clone())) {
                message.text = quote(bytes);
            }
        }
        for state in &mut self.recording.states {
            if let Some((action, message)) = &state.action {
                let message = message.map(|index| self.recording.messages[index].text.as_str());
                let message = message.map(|text| format!(" {text}.")).unwrap_or_default();
                state.text = format!("{action}{message} {}", state.text);
            }
        }
        self.recording
    }
}

impl Row {
    fn new(client: &Client) -> Self {
        let end = match client.status {
            Status::Open => None,
            Status::Closed => Some("closed"),
            Status::Reset => Some("reset"),
        };
        Self { name: client.name.clone(), unread: client.unread, unsent: client.unsent, end }
    }

    fn describe_unread(&self) -> Option<String> {
        match self.unread {
            0 => None,
            1 => Some("1 unread byte".to_owned()),
            count => Some(format!("{count} unread bytes")),
        }
    }

    fn describe_end(&self) -> Option<String> {
        self.end.map(|end| match end {
            "closed" => "has disconnected".to_owned(),
            _ => "has reset its connection".to_owned(),
        })
    }
}

/// Saves bytes in the page. serde calls it with a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Joins names: `A, B and C`. It counts them if they are many.
fn join_names(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [_, _, _, _, _, ..] => format!("{} sockets", names.len()),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// Returns the start of some bytes as text in quotation marks, without the end of the line.
fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let start: String = text.chars().take(SHOWN).collect();
    let rest = if start.len() < text.len() { "…" } else { "" };
    format!("\"{}{rest}\"", start.replace('\n', "⏎"))
}

/// Writes a page with a tab for each recording.
pub fn write_page(path: &Path, recordings: &[Recording]) -> io::Result<()> {
    // No text can end the element of the page that holds it.
    let json = serde_json::to_string(recordings)?.replace('<', "\\u003c");
    fs::write(path, TEMPLATE.replace("RECORDINGS", &json))
}
