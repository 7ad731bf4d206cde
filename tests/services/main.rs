//! The services, through the binary.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod auth;
mod command_line;
mod echo;
mod every_service;
mod exec;
mod exec_killed;
mod exec_processes;
mod frozen;
mod ftp;
mod honoured;
mod http;
mod inherited;
mod lessons;
mod life_cycle;
mod neighbours;
mod ping;
mod ping_client;
mod ping_client_signals;
mod promises;
mod refusals;
mod restarts;
mod shortages;
mod store_digests;
mod store_faults;
mod store_killed;
mod store_links;
mod store_quota;
mod terminal;
mod time;
mod time_clients;
mod time_limits;
mod tls;
mod transfer;
mod transfer_client;
mod upload;
mod upload_client;
mod upload_faults;
mod users_import;
