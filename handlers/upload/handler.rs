//! Serves one connection: reads a header and the bytes of a file, answers, and continues with the
//! next file.
//!
//! | state | waits for | next state |
//! |---|---|---|
//! | `Header` | a complete header | `Body` or `Refused`; to resume, also `Held` or `Checking` |
//! | `Held` | another connection to release the upload | `Body`, `Checking` or `Refused` |
//! | `Checking` | the digests of stored bytes | `Body` or `Refused` |
//! | `Body` | the bytes of the file | `Header` after it is stored, or `Refused` |
//! | `Refused` | the remaining bytes of a refused file | `Header` |
//!
//! If a client resumes a file that is stored already, the next state is `Header`. The connection is
//! closed after a malformed header, at the end of the stream, and if a refused file is too large to
//! be discarded.

use std::io::BufRead;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::{Error, Next, Result, StreamRequest, StreamRequestHandler, Timeout, Wait};

use super::Settings;
use super::answer::Answer;
use super::header::{self, Header};
use crate::common::framing::{self, Status};
use crate::common::store::{
    Check, Intent, Name, Partial, Published, ReceiveError, Resumed, StoreError,
};

/// Maximum time of one turn: a sender that never pauses must let other connections have their turn.
const MAX_TURN_TIME: Duration = Duration::from_millis(100);
/// Maximum number of small uploads that one turn answers.
const UPLOADS_PER_TURN: u32 = 16;
/// Maximum number of bytes of a refused file that are read and discarded, so that the connection
/// can be used for the next file.
pub(super) const DROPPED: u64 = 64 << 20;
/// A client may resume an upload before the server has noticed the end of its interrupted
/// connection. The new connection tries again at this interval, until the timeout.
const RESUME_TIMEOUT: Duration = Duration::from_secs(1);
const RETRY_INTERVAL: Duration = Duration::from_millis(20);

/// Serves one connection.
///
/// An answer contains the digests that the client announced, and no others, because digests that
/// are not requested are not computed.
#[derive(Debug)]
pub struct UploadHandler {
    settings: Arc<Settings>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The header of the next file has to arrive.
    Header,
    /// Another connection still holds the upload that is to be resumed.
    Held { intent: Box<Intent>, until: Instant },
    /// Stored bytes are being digested, to find out how much of the upload the client must send.
    Checking(Box<Check>),
    /// The bytes of the file are received.
    Body(Box<Partial>),
    /// `left` bytes of a refused file must still be read and discarded.
    Refused { left: u64 },
}

/// What the handler does after a step.
enum Step {
    /// The next step can follow immediately.
    On,
    /// An upload has ended.
    Over,
    /// The connection waits for more bytes.
    Wait,
    /// The connection is closed.
    Close,
}

impl UploadHandler {
    /// Creates a handler for a new connection.
    pub fn new(settings: Arc<Settings>) -> UploadHandler {
        UploadHandler {
            settings,
            state: State::Header,
        }
    }

    fn step(&mut self, request: &mut StreamRequest) -> Result<Step> {
        match std::mem::replace(&mut self.state, State::Header) {
            State::Header => self.header(request),
            State::Held { intent, until } => self.resume(request, intent, until),
            State::Checking(check) => self.check(request, *check),
            State::Body(partial) => self.body(request, partial),
            State::Refused { left } => Ok(self.drop_rest(request, left)),
        }
    }

    fn header(&mut self, request: &mut StreamRequest) -> Result<Step> {
        let bytes = request.rfile.buffer();
        let (header, consumed) = match framing::parse(bytes, header::LONGEST) {
            Ok(Status::Complete { payload, consumed }) => (header::parse(payload), consumed),
            Ok(Status::Partial) if !request.rfile.is_eof() => return Ok(Step::Wait),
            Ok(Status::Partial) if bytes.is_empty() => return Ok(Step::Close),
            Ok(Status::Partial) => {
                return close(request, &Answer::bad_header("the header isn't whole"));
            }
            Err(error) => return close(request, &Answer::bad_header(error)),
        };
        match header {
            Ok(header) => {
                request.rfile.consume(consumed);
                self.begin(request, header)
            }
            Err(error) => close(request, &Answer::bad_header(error)),
        }
    }

    fn begin(&mut self, request: &mut StreamRequest, header: Header) -> Result<Step> {
        let Header {
            file_name,
            file_size,
            digests,
            resume,
            modified,
        } = header;
        let name = if self.settings.keep_paths {
            Name::path(&file_name)
        } else {
            Name::last_component(&file_name)
        };
        // A partial upload belongs to the identity whose key began it.
        let owner = request.identity.as_deref().map(str::to_owned);
        let intent = name.map(|name| Intent {
            size: Some(file_size),
            digests,
            owner,
            modified,
            ..Intent::new(name)
        });
        let begun = match intent {
            Ok(intent) if resume => {
                let until = request.server.clock().now() + RESUME_TIMEOUT;
                return self.resume(request, Box::new(intent), until);
            }
            Ok(intent) => self
                .settings
                .store
                .begin(intent, self.settings.on_duplicate),
            Err(error) => Err(error),
        };
        match begun {
            Ok(partial) => {
                self.state = State::Body(Box::new(partial));
                Ok(Step::On)
            }
            // A client that asks to resume waits for the answer before it sends bytes of the file.
            Err(error) => self.refuse(request, &error, if resume { 0 } else { file_size }),
        }
    }

    fn resume(
        &mut self,
        request: &mut StreamRequest,
        intent: Box<Intent>,
        until: Instant,
    ) -> Result<Step> {
        match self
            .settings
            .store
            .resume((*intent).clone(), self.settings.on_duplicate)
        {
            Ok(resumed) => self.resumed(request, resumed),
            Err(StoreError::Busy)
                if request.server.clock().now() < until && !request.rfile.is_eof() =>
            {
                self.state = State::Held { intent, until };
                Ok(Step::Wait)
            }
            Err(error) => self.refuse(request, &error, 0),
        }
    }

    /// Tells the client where to resume, or continues to digest the stored bytes.
    fn resumed(&mut self, request: &mut StreamRequest, resumed: Resumed) -> Result<Step> {
        match resumed {
            Resumed::Partial(partial) => {
                Answer::Continue {
                    offset: partial.offset(),
                }
                .write(&mut request.wfile)?;
                self.state = State::Body(partial);
                Ok(Step::On)
            }
            Resumed::Complete(published) => {
                Answer::Continue {
                    offset: published.size,
                }
                .write(&mut request.wfile)?;
                stored(request, &published)
            }
            Resumed::Checking(check) => {
                self.state = State::Checking(Box::new(check));
                Ok(Step::Wait)
            }
        }
    }

    /// Digests the next slice of the stored bytes. If the client has hung up, the work ends.
    fn check(&mut self, request: &mut StreamRequest, check: Check) -> Result<Step> {
        if request.rfile.is_eof() {
            return Ok(Step::Close);
        }
        match check.advance() {
            Ok(resumed) => self.resumed(request, resumed),
            Err(error) => self.refuse(request, &error, 0),
        }
    }

    fn body(&mut self, request: &mut StreamRequest, mut partial: Box<Partial>) -> Result<Step> {
        let until = Instant::now() + MAX_TURN_TIME;
        let source = |into: &mut [u8]| {
            if Instant::now() < until {
                request.rfile.try_read(into)
            } else {
                Ok(None)
            }
        };
        match partial.receive(source, u64::MAX) {
            Ok(()) => {}
            Err(ReceiveError::Source(error)) => return Err(error.into()),
            Err(ReceiveError::Store { error, lost }) => {
                let left = partial.remaining().unwrap_or_default() - lost;
                partial.discard()?;
                return self.refuse(request, &error, left);
            }
        }
        let size = partial.intent().size.unwrap_or_default();
        if partial.offset() < size {
            if request.rfile.is_eof() {
                let error = StoreError::Truncated {
                    came: partial.offset(),
                    announced: size,
                };
                return close(request, &Answer::refused(&error));
            }
            self.state = State::Body(partial);
            return Ok(Step::Wait);
        }
        match partial.publish(self.settings.on_duplicate) {
            Ok(published) => stored(request, &published),
            Err(error) => self.refuse(request, &error, 0),
        }
    }

    /// Refuses an upload. `left` bytes of its file will still arrive.
    fn refuse(
        &mut self,
        request: &mut StreamRequest,
        error: &StoreError,
        left: u64,
    ) -> Result<Step> {
        log::info!("{}: nothing is stored: {error}", request.client_address);
        let answer = Answer::refused(error);
        if left > DROPPED {
            return close(request, &answer);
        }
        answer.write(&mut request.wfile)?;
        self.state = State::Refused { left };
        Ok(Step::On)
    }

    fn drop_rest(&mut self, request: &mut StreamRequest, left: u64) -> Step {
        let count = request
            .rfile
            .buffer()
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        request.rfile.consume(count);
        let left = left - count as u64;
        if left == 0 {
            return Step::Over;
        }
        self.state = State::Refused { left };
        if request.rfile.is_eof() {
            Step::Close
        } else {
            Step::Wait
        }
    }
}

impl StreamRequestHandler for UploadHandler {
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let mut uploads = 0;
        while uploads < UPLOADS_PER_TURN {
            match self.step(request)? {
                Step::On => {}
                Step::Over => uploads += 1,
                Step::Wait => break,
                Step::Close => return Ok(Next::Close),
            }
        }
        Ok(match &self.state {
            State::Header => Next::Wait,
            State::Checking(check) => {
                let after = check.after().unwrap_or_default();
                Wait::new().in_message().after(after).into()
            }
            State::Held { .. } => Wait::new().in_message().after(RETRY_INTERVAL).into(),
            _ => Next::in_message(),
        })
    }

    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        if let State::Body(partial) = &self.state {
            let announced = partial.intent().size.unwrap_or_default();
            let error = StoreError::Truncated {
                came: partial.offset(),
                announced,
            };
            let message = format!("{what}: {error}");
            // The client may not receive this answer any more. An error cannot be reported to
            // anyone.
            let _ = Answer::Error {
                code: error.code(),
                message,
            }
            .write(&mut request.wfile);
        }
    }

    fn rbufsize(&self) -> Option<usize> {
        Some(framing::PREFIX + header::LONGEST)
    }
}

fn stored(request: &mut StreamRequest, published: &Published) -> Result<Step> {
    log::info!(
        "{}: stored {:?}, {} bytes",
        request.client_address,
        published.name.text(),
        published.size
    );
    Answer::stored(published).write(&mut request.wfile)?;
    Ok(Step::Over)
}

/// Sends a last answer and closes the connection, because the next bytes are malformed or too many
/// to be discarded.
fn close(request: &mut StreamRequest, answer: &Answer<'_>) -> Result<Step> {
    answer.write(&mut request.wfile).map_err(Error::from)?;
    request.linger();
    Ok(Step::Close)
}
