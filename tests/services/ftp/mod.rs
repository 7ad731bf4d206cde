//! `serve ftp`, `client ftp` and `doctor ftp`.

mod client;
mod client_attacks;
mod client_faults;
mod client_servers;
mod clients;
mod doctor;
mod fake;
mod faults;
mod idle;
mod model;
mod mounts;
mod names;
mod network;
mod random;
mod rights;
mod session;
mod tls;
mod transfers;
mod uploads;
mod users;
