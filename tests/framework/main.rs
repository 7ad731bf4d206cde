//! The framework as its users see it: through its public interface, over real sockets, or in memory
//! with a clock set by hand.

mod alarms;
mod connections;
mod datagrams;
mod deadlines;
mod handlers;
mod leaks;
mod life_cycle;
mod limits;
mod listeners;
mod mix_ins;
mod pool;
mod promises;
mod proxy;
mod slow_readers;
mod subjects;
mod support;
mod tls;
