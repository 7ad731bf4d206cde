//! The framework as its users see it: through its public interface, over real sockets, or in memory with a clock set by hand.

mod connections;
mod handlers;
mod life_cycle;
mod mix_ins;
mod promises;
mod subjects;
mod support;
