//! The program `board`, on a terminal, in front of real clients.

#![forbid(unsafe_code)]
#![cfg(target_os = "linux")] // what is expected here is not available on other systems

mod board;
mod recording;
mod screens;
mod slow;
mod truth;
mod webdriver;
