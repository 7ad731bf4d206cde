//! The services, through the binary.

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod auth;
mod browser;
mod command_line;
mod echo;
mod every_service;
mod exec;
mod http_after_upload;
mod http_archive;
mod http_behind_proxies;
mod http_browser;
mod http_changes;
mod http_clients;
mod http_conditions;
mod http_files;
mod http_forms;
mod http_heads;
mod http_like_nginx;
mod http_limits;
mod http_listing;
mod http_login;
mod http_names;
mod http_negotiation;
mod http_options;
mod http_paths;
mod http_races;
mod http_raw;
mod http_share;
mod http_slow_clients;
mod http_upload;
mod http_users;
mod lessons;
mod life_cycle;
mod neighbours;
mod ping;
mod ping_client;
mod time;
mod tls;
mod transfer;
mod upload;
mod upload_client;
mod upload_faults;
