//! The parts of the three servers that are not the lesson: the command line, the listening socket
//! and the narration. The crate also handles a failed `accept`, checks whether one more client fits,
//! and ends a server after an error.
//!
//! This crate never calls `accept`, `recv`, `send` or `select`. These calls are the lesson, so they
//! are in each step's own `src/main.rs`.

#![forbid(unsafe_code)]

mod accept_error;
mod capacity;
mod command_line;
mod error;
mod listening;
mod narration;

use std::time::Duration;

pub use accept_error::{handle_accept_error, is_out_of_resources, report_accept_error};
pub use capacity::Capacity;
pub use error::Error;
pub use listening::listen;
pub use narration::say_ready;
#[doc(hidden)] // narrate! and report! expand to calls of these functions
pub use narration::{say, say_report};

/// How long to wait before another `accept` if the system is out of file descriptors or memory. No
/// call reports when some are free again, so we try once a second.
const PAUSE: Duration = Duration::from_secs(1);
