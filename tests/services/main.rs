//! The services, through the binary.

#[path = "../support/mod.rs"]
mod support;

mod command_line;
mod echo;
mod every_service;
mod lessons;
mod life_cycle;
mod transfer;
