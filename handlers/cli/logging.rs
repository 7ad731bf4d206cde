//! The log: `log` and `simplelog` with a writer that never delays a worker.

use std::io::{self, Write};
use std::sync::Arc;

use log::{Log, Metadata, Record};
use simplelog::{ConfigBuilder, LevelFilter, WriteLogger};

use super::options::LogOptions;
use crate::common::log_writer::{AUDIT, LogWriter, Target};
use crate::service::Failure;

/// Starts logging. With `threads`, a thread of its own writes the log.
pub(super) fn start(options: &LogOptions, threads: bool) -> Result<Arc<LogWriter>, Failure> {
    let target = options
        .log_file
        .as_deref()
        .map_or(Target::StandardError, Target::new);
    let name = options
        .log_file
        .as_deref()
        .unwrap_or("-".as_ref())
        .display()
        .to_string();
    let writer = LogWriter::open(target)
        .map_err(|error| Failure::usage(format!("--log-file {name}: {error}")))?;
    let writer = Arc::new(writer);
    if threads {
        writer.start().map_err(|error| {
            Failure::run(format!(
                "cannot start the log's thread: {error}; raise the limit on processes (`ulimit -u`)"
            ))
        })?;
    }
    let config = ConfigBuilder::new()
        .set_time_format_rfc3339()
        .set_time_level(LevelFilter::Error)
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Debug)
        .set_location_level(LevelFilter::Off)
        .build();
    let own = options.level();
    // `off` disables all records. At any other level, audit records are still logged.
    let level = if own == LevelFilter::Off {
        own
    } else {
        own.max(LevelFilter::Info)
    };
    let lines = Line {
        writer: Arc::clone(&writer),
        text: Vec::new(),
    };
    log::set_max_level(level);
    let logger = OneLine {
        level: own,
        lines: WriteLogger::new(level, config, lines),
    };
    log::set_boxed_logger(Box::new(logger)).map_err(Failure::run)?;
    Ok(writer)
}

/// Makes sure that each record is one line, whatever bytes a client has sent.
struct OneLine {
    /// The level of all records but audit records.
    level: LevelFilter,
    lines: Box<WriteLogger<Line>>,
}

impl Log for OneLine {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= self.level
            || (metadata.target() == AUDIT && self.lines.enabled(metadata))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let message: String = record
                .args()
                .to_string()
                .chars()
                .flat_map(escaped)
                .collect();
            let metadata = record.metadata().clone();
            self.lines.log(
                &Record::builder()
                    .metadata(metadata)
                    .args(format_args!("{message}"))
                    .build(),
            );
            self.lines.flush();
        }
    }

    fn flush(&self) {}
}

fn escaped(character: char) -> impl Iterator<Item = char> {
    let control = character.is_control();
    let plain = (!control).then_some(character);
    let escape = control
        .then(|| character.escape_default())
        .into_iter()
        .flatten();
    plain.into_iter().chain(escape)
}

/// Collects the parts of a record that simplelog writes, and passes them to the writer as one line.
struct Line {
    writer: Arc<LogWriter>,
    text: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.line(&self.text);
        self.text.clear();
        Ok(())
    }
}
