//! What a client of a scenario is to do.

use super::letter;

/// One thing to do. Times are in milliseconds, at pace 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Do nothing until that time.
    At(u64),
    /// Do nothing for that long.
    Think(u64),
    /// Send a message and wait for the answer.
    Ask,
    /// Ask that many times, one after the other.
    AskTimes(usize),
    /// Send this in one write, and count the answers.
    Send(&'static [u8]),
    /// Have that many idle clients connected besides.
    Among(usize),
    /// Send without reading until `send()` no longer goes through.
    SendUntilStuck,
    /// Do nothing until that client is stuck.
    OnceStuck(usize),
    /// Close the connection.
    Leave,
    /// Reset the connection.
    Reset,
}

/// What one client does, in order. It comes when it first does something over its connection, and
/// goes when there is nothing left to do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Script {
    pub(super) acts: Vec<Act>,
}

/// A client that does nothing yet.
#[must_use]
pub fn client() -> Script {
    Script::default()
}

impl Script {
    fn then(mut self, act: Act) -> Self {
        self.acts.push(act);
        self
    }

    /// Waits until `time`.
    #[must_use]
    pub fn at(self, time: u64) -> Self {
        self.then(Act::At(time))
    }

    /// Thinks for `time`.
    #[must_use]
    pub fn thinks(self, time: u64) -> Self {
        self.then(Act::Think(time))
    }

    /// Asks, and waits for the answer.
    #[must_use]
    pub fn asks(self) -> Self {
        self.then(Act::Ask)
    }

    /// Asks that many times.
    #[must_use]
    pub fn asks_times(self, times: usize) -> Self {
        self.then(Act::AskTimes(times))
    }

    /// Sends `bytes` in one write, and counts the answers.
    #[must_use]
    pub fn sends(self, bytes: &'static [u8]) -> Self {
        self.then(Act::Send(bytes))
    }

    /// Has `idle` idle clients around it.
    #[must_use]
    pub fn among(self, idle: usize) -> Self {
        self.then(Act::Among(idle))
    }

    /// Asks and asks and never reads, until its `send()` no longer goes through.
    #[must_use]
    pub fn asks_without_reading_until_stuck(self) -> Self {
        self.then(Act::SendUntilStuck)
    }

    /// Waits until the client of that letter is stuck.
    #[must_use]
    pub fn once_stuck(self, other: char) -> Self {
        let other = (0..26).find(|client| letter(*client) == other).unwrap_or_default();
        self.then(Act::OnceStuck(other))
    }

    /// Leaves.
    #[must_use]
    pub fn leaves(self) -> Self {
        self.then(Act::Leave)
    }

    /// Resets.
    #[must_use]
    pub fn resets(self) -> Self {
        self.then(Act::Reset)
    }
}
