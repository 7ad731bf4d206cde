//! The framework as its users see it: through its public interface, over real sockets, or in memory
//! with a clock set by hand.

mod alarms;
mod connections;
mod custom_models;
mod datagram_buffers;
mod datagram_order;
mod datagram_peers;
mod datagrams;
mod datagrams_in_memory;
mod deadlines;
mod documents;
mod faults;
mod half_close;
mod handlers;
mod leaks;
mod life_cycle;
mod limits;
mod lingering;
mod listeners;
mod mix_ins;
mod overload;
mod panics;
mod pool;
mod promises;
mod proxy;
mod python_style;
mod serve_again;
mod short_reads;
mod shortages;
mod shutdowns;
mod slow_readers;
mod stress;
mod subjects;
mod support;
mod tls;
