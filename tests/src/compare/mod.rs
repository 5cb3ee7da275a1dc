//! What the program `compare` is made of: the same clients meet every server at the same moment,
//! what happens is recorded once, and the recording is drawn in several ways.
//!
//! [`Scenario`] says what the clients do, [`perform`] lets them do it and makes a [`Recording`],
//! [`Reading`] says what was measured and whether the servers did what they should. The drawings
//! ([`Picture`], [`svg`]) take a recording and its reading, and know nothing of sockets.

mod axis;
mod lane;
mod picture;
mod reading;
mod recording;
mod scenario;
mod screen;
mod script;
mod stage;
mod svg;

pub use picture::{Cell, Picture, Role};
pub use reading::Reading;
pub use recording::{ClientDid, Lanes, Recording, ServerIs, Shows, letter};
pub use scenario::Scenario;
pub use screen::{Dress, Screen};
pub use script::{Act, Script, client};
pub use stage::{Conditions, end_all_servers, perform};
pub use svg::svg;
