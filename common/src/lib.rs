//! What the three servers share and what is not the lesson: the command line, the listening
//! socket, the narration, what a failed `accept` means, whether one more client fits, and how a
//! server ends.
//!
//! There is no call of `accept`, `recv`, `send` or `select` here: those are the lesson, and stand
//! in each step's own `src/main.rs`.

#![forbid(unsafe_code)]

mod accept_failed;
mod command_line;
mod error;
mod listening;
mod narration;
mod room;

use std::time::Duration;

pub use accept_failed::{accept_failed, lacks_room};
pub use error::Error;
pub use listening::listen;
pub use narration::say_ready;
#[doc(hidden)] // narrate! and report! expand to calls of these
pub use narration::{say, say_report};
pub use room::Room;

/// How long to wait before another try where there was no room: nothing tells when there will be.
const PAUSE: Duration = Duration::from_secs(1);
