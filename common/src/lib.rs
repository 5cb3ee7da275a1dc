//! What the three servers share and what is not the lesson: the command line, the listening
//! socket, the narration, and what an error of `accept` means.
//!
//! There is no call of `accept`, `recv`, `send` or `select` here: those are the lesson, and stand
//! in each step's own `src/main.rs`.

#![forbid(unsafe_code)]

mod accept_error;
mod command_line;
mod error;
mod listening;
mod narration;

pub use accept_error::{AcceptError, accept_error};
pub use error::Error;
pub use listening::listen;
pub use narration::say_ready;
#[doc(hidden)] // narrate! and report! expand to calls of these
pub use narration::{say, say_report};
