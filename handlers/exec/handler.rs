//! Handles the requests of one client: parses them, checks whether they are allowed, runs them and
//! answers.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::{Error, Next, Result, StreamRequest, StreamRequestHandler};

use super::answer::{Answer, Framing, READY};
use super::request::{self, LONGEST, Request};
use crate::common::command::{self, Client, Limits, Task};
use crate::common::framing::PREFIX;
use crate::common::log_writer::AUDIT;

/// Text without a line end is complete when no byte was received for this time.
const TEXT_TIMEOUT: Duration = Duration::from_millis(100);
/// The variables of the server's environment that a command gets.
const ENVIRONMENT: [&str; 3] = ["PATH", "LANG", "HOME"];

/// Exit codes of commands that were not run, as shells use them.
const MISUSED: i32 = 2;
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// The rules for all clients of a server.
#[derive(Clone, Debug)]
pub struct Rules {
    /// The framing of answers.
    pub framing: Framing,
    /// The commands that may be run; `None` for any.
    pub allowed: Option<Vec<String>>,
    /// Whether a shell runs the text. Otherwise the text is split into words.
    pub shell: bool,
    /// The limits of each command.
    pub limits: Limits,
}

impl Rules {
    /// Returns the program's name and the task that runs it, or an answer with the reason why it
    /// may not run.
    fn task(&self, text: &str) -> Result<(String, Task), Answer> {
        let words = if self.shell {
            vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()]
        } else {
            shell_words::split(text)
                .map_err(|_| Answer::refusal(MISUSED, "a quote in the command isn't closed"))?
        };
        let Some((program, arguments)) = words.split_first() else {
            return Err(Answer::refusal(
                NOT_FOUND,
                "there is no command in the request",
            ));
        };
        if self
            .allowed
            .as_ref()
            .is_some_and(|allowed| !allowed.contains(program))
        {
            return Err(Answer::refusal(
                NOT_EXECUTABLE,
                &format!("{program}: not allowed"),
            ));
        }
        let task = Task::new(program, arguments).keep_variables(&ENVIRONMENT);
        Ok((program.clone(), task))
    }

    /// Runs the text. `None` if the client has disconnected.
    fn run(&self, text: &str, client: Client<'_>) -> Option<Answer> {
        let (program, task) = match self.task(text) {
            Ok(task) => task,
            Err(refusal) => return Some(refusal),
        };
        match command::run(task, self.limits, client) {
            Ok(output) => output.map(Answer::from),
            Err(error) => Some(match error.kind() {
                io::ErrorKind::NotFound => {
                    Answer::refusal(NOT_FOUND, &format!("{program}: not found"))
                }
                _ => Answer::refusal(NOT_EXECUTABLE, &format!("{program}: {error}")),
            }),
        }
    }
}

/// Serves one connection. A running command occupies the thread of its connection.
#[derive(Debug)]
pub struct ExecHandler {
    rules: Arc<Rules>,
    /// The number of received bytes of text without a line end, and the time of the last one.
    quiet: Option<(usize, Instant)>,
    /// The output, which is sent after the client's `recv_ready`, in [`Framing::Ack`].
    held_back: Option<Arc<[u8]>>,
}

impl ExecHandler {
    /// Creates a handler with these rules.
    pub fn new(rules: Arc<Rules>) -> ExecHandler {
        ExecHandler {
            rules,
            quiet: None,
            held_back: None,
        }
    }

    /// Returns the remaining time to wait for more text, after text without a line end.
    fn silence_left(&mut self, request: &StreamRequest) -> Duration {
        let (length, now) = (request.rfile.buffer().len(), request.server.clock().now());
        let since = match self.quiet {
            Some((seen, since)) if seen == length => since,
            _ => now,
        };
        self.quiet = Some((length, since));
        TEXT_TIMEOUT.saturating_sub(now.saturating_duration_since(since))
    }

    /// Runs a command, writes it to the audit log, and answers.
    fn run(&mut self, request: &mut StreamRequest, text: &str) -> Result<Next> {
        let begun = Instant::now();
        let client = Client {
            socket: request.fileno(),
            half_closed: request.rfile.is_eof(),
        };
        let answer = self.rules.run(text, client);
        let outcome = match &answer {
            Some(answer) => {
                format!(
                    "exit code {}{}",
                    answer.exit_code,
                    if answer.truncated { ", truncated" } else { "" }
                )
            }
            None => "killed, as its client has gone or the server goes down".to_owned(),
        };
        let (who, key) = (
            &request.client_address,
            request.identity.as_deref().unwrap_or("-"),
        );
        let seconds = begun.elapsed().as_secs_f64();
        log::info!(target: AUDIT, "{who}: key {key}: {text:?}: {outcome}, {seconds:.3} s");
        match answer {
            Some(answer) => self.answer(request, answer),
            None => Err(Error::Disconnected(io::ErrorKind::ConnectionAborted.into())),
        }
    }

    fn answer(&mut self, request: &mut StreamRequest, answer: Answer) -> Result<Next> {
        request.wfile.write_all(&answer.head(self.rules.framing))?;
        if self.rules.framing == Framing::Ack {
            self.held_back = Some(answer.data.into());
            return Ok(Next::in_message());
        }
        self.send(request, answer.data.into())
    }

    /// Sends data while the connection is parked, so that a slow reader occupies no thread.
    fn send(&mut self, request: &mut StreamRequest, data: Arc<[u8]>) -> Result<Next> {
        let length = data.len();
        request.wfile.send_shared(data, 0..length)?;
        let over = request.rfile.is_eof() && request.rfile.buffer().is_empty();
        Ok(if over { Next::Close } else { Next::Wait })
    }

    /// Waits for the client's `recv_ready`, and then sends the output.
    fn await_ready(&mut self, request: &mut StreamRequest, data: Arc<[u8]>) -> Result<Next> {
        let come = request.rfile.buffer();
        if come.starts_with(READY) {
            request.rfile.take_exact(READY.len());
            return self.send(request, data);
        }
        if READY.starts_with(come) && !request.rfile.is_eof() {
            self.held_back = Some(data);
            return Ok(Next::in_message());
        }
        Err(Error::Protocol(
            "the client didn't send recv_ready".to_owned(),
        ))
    }
}

impl StreamRequestHandler for ExecHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if let Some(data) = self.held_back.take() {
            return self.await_ready(request, data);
        }
        let ended = request.rfile.is_eof();
        let mut found = request::parse(request.rfile.buffer(), ended);
        if found == Request::Text {
            let left = self.silence_left(request);
            if !left.is_zero() {
                return Ok(Next::after(left));
            }
            found = request::parse(request.rfile.buffer(), true);
        }
        match found {
            Request::Complete { command, consumed } => {
                self.quiet = None;
                request.rfile.take_exact(consumed);
                self.run(request, &command)
            }
            Request::Partial if ended && request.rfile.buffer().is_empty() => Ok(Next::Close),
            Request::Partial if ended => self.refuse(request, "the frame ends before its length"),
            Request::Partial | Request::Text => Ok(Next::Wait),
            Request::Bad(reason) => self.refuse(request, &reason),
        }
    }

    fn rbufsize(&self) -> Option<usize> {
        // The maximum length of a request, and one more byte that shows that a text is longer.
        Some(PREFIX + LONGEST + 1)
    }
}

impl ExecHandler {
    /// Answers a malformed request, and closes the connection, because the beginning of the next
    /// request is unknown.
    fn refuse(&mut self, request: &mut StreamRequest, reason: &str) -> Result<Next> {
        log::info!("{}: bad request: {reason}", request.client_address);
        let answer = Answer::refusal(MISUSED, &format!("bad request: {reason}"));
        request.wfile.write_all(&answer.head(self.rules.framing))?;
        request.wfile.write_all(&answer.data)?;
        request.linger();
        Ok(Next::Close)
    }
}
