//! `serve http`: the files below a directory, by HTTP/1.1 and 1.0.
//!
//! The way of a request: [`head`] parses it, [`exchange`] decides, [`site`] finds what the path stands for (hot files come from
//! its [`cache`]), [`reply`] writes. Everything that can be decided on bytes alone is a pure function in a file of its own.

mod cache;
pub mod conditional;
pub mod date;
mod exchange;
pub mod head;
mod listing;
pub mod media;
pub mod range;
mod reply;
mod site;
pub mod target;

pub use exchange::HttpHandler;
pub use site::Site;
