//! Records a server. Adds one state for each call that the server enters, and one for each action of a
//! client.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::ops::Range;
use std::os::fd::RawFd;
use std::path::Path;

use anyhow::Context;
use harness::kernel::{LessonCall, ProcessState};
use harness::{Server, Step};
use serde::Serialize;

use crate::clients::{Client, Clients, Status};
use crate::report;
use crate::source::Source;
use crate::trace::{OutputLine, Trace, TraceEvent};

/// The size in bytes at which a recording ends, so that its page stays below 1 MiB.
const MAX_SIZE: usize = 900 << 10;
const MAX_EVENTS_PER_POLL: usize = 100;
/// The number of characters of a message that the page shows.
const MAX_MESSAGE_CHARACTERS: usize = 60;
/// The largest size of a message in JSON, in bytes. An escaped character takes six.
const MAX_MESSAGE_SIZE: usize = 6 * MAX_MESSAGE_CHARACTERS;
const PAGE_TEMPLATE: &str = include_str!("recording.html");

#[derive(Serialize, Default)]
pub struct Recording {
    step: &'static str,
    source: Source,
    /// All lines that the server printed. Each state has the number of lines so far.
    output: Vec<OutputLine>,
    /// All messages. Each state has the number of messages so far.
    messages: Vec<Message>,
    /// The addresses of the clients by name.
    addrs: BTreeMap<String, String>,
    states: Vec<RecordedState>,
}

#[derive(Serialize)]
struct Message {
    client_name: String,
    /// False if the client received the message.
    is_sent: bool,
    text: String,
    /// The position of a sent message in the bytes that the client sent.
    #[serde(skip)]
    range: Range<usize>,
}

#[derive(Serialize, Clone, Default)]
struct RecordedState {
    text: String,
    /// A question for the reader. Playback pauses there.
    question: Option<String>,
    /// The call stack, from `main` to the current call: each function, and the index of its line.
    call_stack: Vec<(String, usize)>,
    is_blocked: bool,
    backlog: Vec<Client>,
    /// The number of connections in the backlog that were reset before we saw their addresses.
    unseen_reset_count: usize,
    accepted_clients: Vec<Client>,
    /// The names of the sockets in the sets of the last `select`, to read and to write.
    sets: Option<[Vec<String>; 2]>,
    output_count: usize,
    message_count: usize,
    /// The action of a client, and the index of the message that it sent.
    #[serde(skip)]
    action: Option<(String, Option<usize>)>,
}

/// The bytes that a client has sent so far, and how its connection has ended.
#[derive(Default)]
struct Conversation {
    /// The number of bytes that the client has sent.
    sent_count: usize,
    received_by_server: Vec<u8>,
    is_reset: bool,
    has_ended: bool,
}

pub struct Recorder {
    recording: Recording,
    trace: Trace,
    clients: Clients,
    conversations: HashMap<String, Conversation>,
    /// The last call of the server, and its first argument: a file descriptor, except for `select`.
    last_call: Option<(LessonCall, RawFd)>,
    /// True if a call returned before we read its state: the delay is too short for this machine.
    pub has_missed_state: bool,
    /// The size of the recording in JSON, in bytes.
    json_size: usize,
}

impl Recorder {
    pub fn new(step: Step, source: Source, trace: Trace) -> Self {
        Self {
            json_size: source.lines.iter().map(String::len).sum(),
            recording: Recording { step: step.name(), source, ..Recording::default() },
            trace,
            clients: Clients::default(),
            conversations: HashMap::new(),
            last_call: None,
            has_missed_state: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.json_size > MAX_SIZE
    }

    /// Records what has happened since the last poll.
    pub fn poll(&mut self, server: &Server) -> io::Result<()> {
        self.trace.read_log()?;
        // A fast server can add events faster than we take them.
        for _ in 0..MAX_EVENTS_PER_POLL {
            if self.is_full() {
                return Ok(());
            }
            let Some(event) = self.trace.take_event() else { break };
            self.record_event(event, server)?;
        }
        self.clients.update(server);
        self.trace.read_log()?;
        // If the server has made another call meanwhile, the table is newer than the last state.
        if self.trace.is_empty() {
            self.record_actions();
            self.correct_last_state(server);
        }
        Ok(())
    }

    /// Returns whether the last state shows a blocked server and no unacknowledged bytes.
    pub fn is_settled(&self) -> bool {
        let (Some(state), Some((call, _))) = (self.recording.states.last(), self.last_call) else {
            return false;
        };
        let has_unhandled_input =
            |client: &Client| client.unread_bytes > 0 || client.status != Status::Open;
        // The call returns soon if there is input, or a client to accept. recv() does not return for a
        // client in the backlog.
        let is_returning = state.accepted_clients.iter().any(has_unhandled_input)
            || call != LessonCall::Recv && !state.backlog.is_empty();
        let mut clients = state.backlog.iter().chain(&state.accepted_clients);
        state.is_blocked && !is_returning && clients.all(|client| client.unacknowledged_bytes == 0)
    }

    fn client_name(&self, fd: RawFd) -> Option<&str> {
        self.clients.client_name(self.trace.client_addr(fd)?)
    }

    /// Returns the number of bytes that a connected client has sent.
    pub fn sent_count(&self, name: &str) -> Option<usize> {
        let conversation = self.conversations.get(name)?;
        (!conversation.has_ended).then_some(conversation.sent_count)
    }

    /// Adds a state in which the page asks a question.
    pub fn add_question(&mut self, question: &str) {
        if let Some(last) = self.recording.states.last() {
            let question = Some(question.to_owned());
            self.push_state(RecordedState { question, action: None, ..last.clone() });
        }
    }

    fn record_event(&mut self, event: TraceEvent, server: &Server) -> io::Result<()> {
        match event {
            TraceEvent::Call { call, first_argument, sets } => {
                self.clients.update(server);
                self.record_actions();
                self.record_call(call, first_argument, sets);
                self.trace.read_log()?;
                self.has_missed_state |= call != LessonCall::Select && !self.trace.is_empty();
            }
            // We read new clients from the kernel's table.
            TraceEvent::Accepted(..) => {}
            TraceEvent::Received(fd, bytes) => {
                if let Some(conversation) = self.conversation(fd) {
                    conversation.received_by_server.extend(bytes);
                }
            }
            TraceEvent::Reset(fd) => {
                if let Some(conversation) = self.conversation(fd) {
                    conversation.is_reset = true;
                }
            }
            TraceEvent::Sent(fd, bytes) => {
                if let Some(client_name) = self.client_name(fd).map(str::to_owned) {
                    let text = quote(&bytes);
                    self.add_message(Message { client_name, is_sent: false, text, range: 0..0 });
                }
            }
            TraceEvent::Output(line) => {
                self.json_size += line.text.len() + 32;
                self.recording.output.push(line);
            }
        }
        Ok(())
    }

    fn conversation(&mut self, fd: RawFd) -> Option<&mut Conversation> {
        let name = self.client_name(fd)?.to_owned();
        self.conversations.get_mut(&name)
    }

    /// Adds a message and returns its index.
    fn add_message(&mut self, message: Message) -> usize {
        self.json_size += message.client_name.len() + MAX_MESSAGE_SIZE + 48;
        self.recording.messages.push(message);
        self.recording.messages.len() - 1
    }

    /// Records what clients have done since the last update of the table.
    fn record_actions(&mut self) {
        for client in self.clients.disconnected_clients.clone() {
            self.record_client_actions(&client, true);
        }
        for client in self.clients.connected_clients.clone() {
            self.record_client_actions(&client, false);
        }
    }

    /// Adds a state for each action of a client: a copy of the last state with that action applied.
    fn record_client_actions(&mut self, client: &Client, is_disconnected: bool) {
        let name = &client.name;
        if !self.conversations.contains_key(name) {
            self.recording.addrs.insert(name.clone(), client.addr.to_string());
            self.conversations.insert(name.clone(), Conversation::default());
            self.record_action(format!("{name} connects"), None, |state| {
                // Sending and closing are separate actions.
                let mut client = client.clone();
                (client.unread_bytes, client.unacknowledged_bytes, client.status) =
                    (0, 0, Status::Open);
                state.backlog.push(client);
            });
        }
        let Some(conversation) = self.conversations.get_mut(name) else { return };
        let unread =
            if is_disconnected || client.status == Status::Reset { 0 } else { client.unread_bytes };
        let range = conversation.sent_count
            ..conversation.received_by_server.len() + usize::try_from(unread).unwrap_or_default();
        let has_just_ended =
            !conversation.has_ended && (is_disconnected || client.status != Status::Open);
        let is_reset = conversation.is_reset || client.status == Status::Reset;
        conversation.has_ended |= has_just_ended;
        if !range.is_empty() {
            conversation.sent_count = range.end;
            let count = range.len();
            let text = format!("({count} bytes)");
            let message = Message { client_name: name.clone(), is_sent: true, text, range };
            let index = self.add_message(message);
            self.record_action(format!("{name} sends "), Some(index), |state| {
                if let Some(client) = state.client_mut(name) {
                    client.unread_bytes += count as u64;
                }
            });
        }
        if has_just_ended {
            let (verb, status) = if is_reset {
                ("resets its connection", Status::Reset)
            } else {
                ("closes its connection", Status::Closed)
            };
            self.record_action(format!("{name} {verb}"), None, |state| {
                if let Some(client) = state.client_mut(name) {
                    client.status = status;
                }
            });
        }
    }

    fn record_action(
        &mut self,
        action: String,
        message_index: Option<usize>,
        change: impl FnOnce(&mut RecordedState),
    ) {
        let Some(last) = self.recording.states.last() else { return };
        let mut state = RecordedState { question: None, ..last.clone() };
        change(&mut state);
        state.message_count = self.recording.messages.len();
        state.action = Some((action, message_index));
        self.push_state(state);
    }

    fn record_call(&mut self, call: LessonCall, argument: RawFd, sets: Option<[Vec<RawFd>; 2]>) {
        self.last_call = Some((call, argument));
        let socket_name = |fd: &RawFd| self.client_name(*fd).unwrap_or("server_socket").to_owned();
        let sets = sets.map(|sets| sets.map(|set| set.iter().map(socket_name).collect()));
        let last_sets = || self.recording.states.last()?.sets.clone();
        let call_stack = self.recording.source.find_call_stack(call, false).into_iter();
        self.push_state(RecordedState {
            call_stack: call_stack.map(|frame| (frame.function, frame.line)).collect(),
            backlog: self.clients.backlog().cloned().collect(),
            unseen_reset_count: self.clients.unseen_reset_count,
            accepted_clients: self.clients.accepted().cloned().collect(),
            sets: sets.or_else(last_sets),
            output_count: self.recording.output.len(),
            message_count: self.recording.messages.len(),
            ..RecordedState::default()
        });
    }

    fn push_state(&mut self, mut state: RecordedState) {
        if self.is_full() {
            return;
        }
        state.text = self.describe(&state);
        // `finish` adds the text of the message.
        let size = serde_json::to_string(&state).map_or(0, |json| json.len());
        self.json_size += size + MAX_MESSAGE_SIZE;
        self.recording.states.push(state);
    }

    /// Corrects the last state. When we added it, we did not know yet whether the call blocks, or which
    /// bytes the peer has acknowledged.
    fn correct_last_state(&mut self, server: &Server) {
        let Some(mut last) = self.recording.states.pop() else { return };
        for client in last.backlog.iter_mut().chain(&mut last.accepted_clients) {
            let current =
                self.clients.connected_clients.iter().find(|other| other.name == client.name);
            client.unacknowledged_bytes = current
                .map_or(0, |current| current.unacknowledged_bytes.min(client.unacknowledged_bytes));
        }
        if let Some(ProcessState::Blocked(call)) = server.process().state()
            && call.lesson_call() == self.last_call.map(|(call, _)| call)
        {
            last.is_blocked = true;
        }
        last.text = self.describe(&last);
        self.recording.states.push(last);
    }

    /// Describes the call that the server is in, and the clients in the backlog.
    fn describe(&self, state: &RecordedState) -> String {
        let Some((call, first_argument)) = self.last_call else { return String::new() };
        let peer = self.client_name(first_argument).unwrap_or("a client");
        let object = match call {
            LessonCall::Accept | LessonCall::Sleep => String::new(),
            LessonCall::Recv | LessonCall::Send => format!(" on {peer}'s socket"),
            LessonCall::Select => {
                let names = state.sets.iter().flatten().flatten().map(String::as_str);
                format!(" on {}", join_names(&names.collect::<Vec<_>>()))
            }
        };
        let verb = if state.is_blocked { "is blocked in" } else { "calls" };
        let mut text = format!("The server {verb} {}(){object}.", call.name());
        let client = state.accepted_clients.iter().find(|client| client.name == peer);
        if let Some(client) = client.filter(|_| call == LessonCall::Recv && !state.is_blocked) {
            text.push_str(&describe_client(client));
        }
        if state.backlog.len() > 2 {
            text.push_str(&format!(" {} clients are in the backlog.", state.backlog.len()));
            return text;
        }
        for client in &state.backlog {
            let details = describe_client(client);
            text.push_str(&format!(" {} is in the backlog.{details}", client.name));
        }
        text
    }

    /// Returns the recording, with the text of each message that the server received.
    pub fn finish(mut self) -> Recording {
        for message in self.recording.messages.iter_mut().filter(|message| message.is_sent) {
            let conversation = &self.conversations[&message.client_name];
            if let Some(bytes) = conversation.received_by_server.get(message.range.clone()) {
                message.text = quote(bytes);
            }
        }
        for state in &mut self.recording.states {
            if let Some((action, message)) = &state.action {
                let message = message.map(|index| &*self.recording.messages[index].text);
                state.text = format!("{action}{}. {}", message.unwrap_or_default(), state.text);
            }
        }
        self.recording
    }
}

impl RecordedState {
    fn client_mut(&mut self, name: &str) -> Option<&mut Client> {
        let mut clients = self.backlog.iter_mut().chain(&mut self.accepted_clients);
        clients.find(|client| client.name == name)
    }
}

/// Describes a client's unread bytes and its status in sentences, each with a space before it.
fn describe_client(client: &Client) -> String {
    let name = &client.name;
    let bytes = match client.unread_bytes {
        0 => String::new(),
        1 => format!(" {name} has sent 1 unread byte."),
        count => format!(" {name} has sent {count} unread bytes."),
    };
    match client.status {
        Status::Open => bytes,
        Status::Closed => format!("{bytes} {name} has closed its connection."),
        Status::Reset => format!("{bytes} {name} has reset its connection."),
    }
}

/// Joins names: `A, B and C`. Counts more than four names: `5 sockets`.
fn join_names(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [name] => (*name).to_owned(),
        [_, _, _, _, _, ..] => format!("{} sockets", names.len()),
        [names @ .., last] => format!("{} and {last}", names.join(", ")),
    }
}

/// Returns the start of a message in quotation marks, without the end of the line.
fn quote(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let start: String = text.chars().take(MAX_MESSAGE_CHARACTERS).collect();
    let ellipsis = if start.len() < text.len() { "…" } else { "" };
    format!("\"{}{ellipsis}\"", start.replace('\n', "⏎"))
}

/// Writes a web page with a tab for each recording, and reports the number of states.
pub fn write_page(file: &Path, recordings: &[Recording]) -> anyhow::Result<()> {
    // Escape `<`, so that no text in the JSON can close its `<script>` element.
    let json = serde_json::to_string(recordings)?.replace('<', "\\u003c");
    fs::write(file, PAGE_TEMPLATE.replace("RECORDINGS", &json))
        .with_context(|| format!("cannot write {}", file.display()))?;
    let state_count: usize = recordings.iter().map(|recording| recording.states.len()).sum();
    report(&format!("wrote {state_count} states to {}", file.display()));
    Ok(())
}
