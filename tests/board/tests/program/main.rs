//! Tests the program `board` on a terminal, with real clients.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")] // other systems do not show in which call a process is blocked

mod board;
mod kernel;
mod recording;
mod screens;
mod slow;
mod webdriver;
