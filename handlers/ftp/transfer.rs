//! The transfer of a file or a listing on a data connection, in steps.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use socketserver::StreamRequest;

use super::ascii;
use super::deflate::{Compressor, Decompressor};
use super::limits::Limiter;
use super::listing::Listing;
use super::reply::Refused;
use super::storage::View;
use super::upload::{Stored, Upload, refused};
use crate::common::digest::{Digests, Hasher};
use crate::common::store::{ReceiveError, StoreError};

/// Number of bytes of an unconverted file that are sent per turn.
const SENT_PER_TURN: u64 = 1 << 20;
/// Number of bytes of a file that are converted (TYPE A, MODE Z) and sent per turn.
const CONVERTED_PER_TURN: usize = 64 * 1024;
/// Number of received bytes that are converted at a time. Decompression may turn them into a
/// thousand times as many bytes.
const RECEIVE_BUFFER: usize = 4 * 1024;
/// Maximum time of receiving per turn, before other connections are served.
const RECEIVE_TIME_PER_TURN: Duration = Duration::from_millis(100);

/// The conversions between the bytes on the network and the bytes of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coding {
    /// Whether line ends are converted (TYPE A).
    pub is_text: bool,
    /// Whether the bytes are compressed (MODE Z).
    pub is_compressed: bool,
}

/// The result of a step.
#[derive(Debug)]
pub enum Step {
    /// The next step follows after the output is sent.
    Again,
    /// The next step follows after bytes have arrived.
    WaitForBytes,
    /// The next step follows after this time, because of the rate limit.
    Pause(Duration),
    /// The transfer is complete: all bytes are sent, or the file is stored.
    Done(Done),
}

/// A transfer that has succeeded.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Number of bytes that were transferred.
    pub bytes: u64,
    /// The stored file; `None` if a file or listing was sent.
    pub stored: Option<Stored>,
    /// The digest of the stored file; `None` if the transfer log does not need it, or if a file or
    /// listing was sent.
    pub sha256: Option<[u8; 32]>,
}

/// A transfer in one of the two directions.
#[derive(Debug)]
pub enum Work {
    /// To the client.
    Send(Box<Sending>),
    /// From the client.
    Receive(Box<Receiving>),
}

impl Work {
    /// Sends or receives the bytes of one turn.
    ///
    /// # Errors
    /// The transfer has failed. The error is the final reply of the transfer.
    pub fn step(
        &mut self,
        request: &mut StreamRequest,
        limiter: Option<&Limiter>,
    ) -> Result<Step, Refused> {
        match self {
            Work::Send(sending) => sending.step(request, limiter),
            Work::Receive(receiving) => receiving.step(request, limiter),
        }
    }

    /// Number of bytes that were transferred so far.
    pub fn bytes(&self) -> u64 {
        match self {
            Work::Send(sending) => sending.bytes,
            Work::Receive(receiving) => receiving.bytes,
        }
    }
}

/// The state of sending a file or a listing.
pub struct Sending {
    source: Source,
    /// Converts line ends; `None` unless a file is sent in text mode.
    text: Option<ascii::Encoder>,
    /// Compresses the bytes; `None` without MODE Z.
    compress: Option<Compressor>,
    /// Number of bytes of the source that were sent so far, before conversion.
    bytes: u64,
    /// Whether all bytes of the source were sent or compressed.
    is_over: bool,
}

enum Source {
    File { file: Arc<File>, at: u64, end: u64 },
    Listing(Listing),
}

impl std::fmt::Debug for Sending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sending").finish_non_exhaustive()
    }
}

impl Sending {
    /// Sends the bytes of a file from the offset `at` up to the offset `end`.
    pub fn file(file: File, (at, end): (u64, u64), coding: Coding) -> Sending {
        let file = Arc::new(file);
        let text = coding.is_text.then(ascii::Encoder::default);
        Sending::new(Source::File { file, at, end }, text, coding)
    }

    /// Sends a listing. Its lines already end with CR LF.
    pub fn listing(listing: Listing, coding: Coding) -> Sending {
        Sending::new(Source::Listing(listing), None, coding)
    }

    fn new(source: Source, text: Option<ascii::Encoder>, coding: Coding) -> Sending {
        let compress = coding.is_compressed.then(Compressor::default);
        Sending {
            source,
            text,
            compress,
            bytes: 0,
            is_over: false,
        }
    }

    fn step(
        &mut self,
        request: &mut StreamRequest,
        limiter: Option<&Limiter>,
    ) -> Result<Step, Refused> {
        if self.is_over {
            return Ok(Step::Done(Done {
                bytes: self.bytes,
                ..Done::default()
            }));
        }
        let is_plain = self.text.is_none() && self.compress.is_none();
        match &mut self.source {
            Source::File { file, at, end } if is_plain => {
                let count = match grant(limiter, SENT_PER_TURN.min(*end - *at)) {
                    Ok(count) => count,
                    Err(wait) => return Ok(Step::Pause(wait)),
                };
                let range = *at..*at + count;
                request
                    .wfile
                    .send_file(Arc::clone(file), range)
                    .map_err(lost)?;
                *at += count;
                self.bytes += count;
                self.is_over = at == end;
                Ok(Step::Again)
            }
            _ => self.convert(request, limiter),
        }
    }

    /// Converts the bytes of one turn, and sends them.
    fn convert(
        &mut self,
        request: &mut StreamRequest,
        limiter: Option<&Limiter>,
    ) -> Result<Step, Refused> {
        let mut raw = Vec::new();
        match &mut self.source {
            Source::File { file, at, end } => {
                let left = usize::try_from(*end - *at).unwrap_or(usize::MAX);
                let wanted = CONVERTED_PER_TURN.min(left);
                let granted = match grant(limiter, wanted as u64) {
                    Ok(count) => count,
                    Err(wait) => return Ok(Step::Pause(wait)),
                };
                raw.resize(usize::try_from(granted).unwrap_or(wanted), 0);
                let count = file.read_at(&mut raw, *at)?;
                if count == 0 && at < end {
                    return Err(became_shorter());
                }
                raw.truncate(count);
                *at += count as u64;
                self.is_over = at == end;
            }
            Source::Listing(listing) => self.is_over = !listing.next_lines(&mut raw),
        }
        self.bytes += raw.len() as u64;
        let mut text = Vec::new();
        let bytes = match &mut self.text {
            Some(encoder) => {
                encoder.encode(&raw, &mut text);
                &text
            }
            None => &raw,
        };
        let written = match &mut self.compress {
            None => request.wfile.write_all(bytes),
            Some(compressor) => compressor
                .compress(bytes, self.is_over)
                .and_then(|bytes| request.wfile.write_all(&bytes)),
        };
        written.map_err(lost)?;
        Ok(Step::Again)
    }
}

/// The number of bytes that the rate limit permits now, at most `wanted`.
///
/// # Errors
/// The rate limit permits no byte now. The error is the time to wait.
fn grant(limiter: Option<&Limiter>, wanted: u64) -> Result<u64, Duration> {
    match limiter {
        Some(limiter) if wanted > 0 => limiter.take(wanted, Instant::now()),
        _ => Ok(wanted),
    }
}

/// The reply if a file becomes shorter during its transfer.
pub(super) fn became_shorter() -> Refused {
    Refused::new(451, "The file became shorter during the transfer.")
}

/// The reply to an error of the data connection.
fn lost(_: io::Error) -> Refused {
    Refused::new(426, "Data connection closed, transfer aborted.")
}

/// The state of receiving a file.
pub struct Receiving {
    /// The upload that receives the bytes; `None` after the file was stored or removed.
    upload: Option<Upload>,
    /// The files of the user. The user's rights are checked again when the file is stored.
    view: Arc<View>,
    /// Converts line ends; `None` unless the type is text.
    text: Option<ascii::Decoder>,
    /// Decompresses the bytes; `None` without MODE Z.
    decompress: Option<Decompressor>,
    /// Computes the digest for the transfer log; `None` if the log does not need it.
    hasher: Option<Hasher>,
    /// Whether [`Upload::prepare`] is complete.
    is_prepared: bool,
    /// Number of bytes that were received so far, before conversion.
    bytes: u64,
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving")
            .field("upload", &self.upload)
            .finish_non_exhaustive()
    }
}

impl Receiving {
    /// Receives an upload of a user. Computes the digest of the file if `is_digested`.
    pub fn new(upload: Upload, view: Arc<View>, coding: Coding, is_digested: bool) -> Receiving {
        let decompress = coding.is_compressed.then(Decompressor::default);
        let wanted = Digests {
            sha256: Some([0; 32]),
            ..Digests::default()
        };
        Receiving {
            upload: Some(upload),
            view,
            text: coding.is_text.then(ascii::Decoder::default),
            decompress,
            hasher: is_digested.then(|| Hasher::of(&wanted)),
            is_prepared: false,
            bytes: 0,
        }
    }

    fn step(
        &mut self,
        request: &mut StreamRequest,
        limiter: Option<&Limiter>,
    ) -> Result<Step, Refused> {
        let Some(upload) = &mut self.upload else {
            return Err(Refused::new(451, "The upload has already ended."));
        };
        if !self.is_prepared {
            match upload.prepare() {
                Ok(true) => self.is_prepared = true,
                Ok(false) => return Ok(Step::Again),
                Err(refused) => return Err(self.end_after(refused)),
            }
        }
        let most = match grant(limiter, u64::MAX) {
            Ok(most) => most,
            Err(wait) => return Ok(Step::Pause(wait)),
        };
        let before = self.bytes;
        let is_plain = self.text.is_none() && self.decompress.is_none();
        let received = if is_plain {
            self.receive(request, most)
        } else {
            self.receive_coded(request, most)
        };
        if let Some(limiter) = limiter {
            limiter.give_back(most.saturating_sub(self.bytes - before));
        }
        match received {
            Ok(true) => self.publish().map(Step::Done),
            Ok(false) => Ok(Step::WaitForBytes),
            Err(refused) => Err(self.end_after(refused)),
        }
    }

    /// Removes the upload if it has failed because of its size or a full disk. A resumed upload
    /// would fail again. Until then it would use space that other uploads need.
    fn end_after(&mut self, refused: Refused) -> Refused {
        if matches!(refused.code(), 452 | 552)
            && let Some(upload) = self.upload.take()
        {
            upload.discard();
        }
        refused
    }

    /// Stores the received bytes without conversion. Returns true if the client has closed the
    /// connection, which means that the upload is complete.
    fn receive(&mut self, request: &mut StreamRequest, most: u64) -> Result<bool, Refused> {
        let Some(upload) = &mut self.upload else {
            return Ok(false);
        };
        let until = Instant::now() + RECEIVE_TIME_PER_TURN;
        let (mut is_over, hasher) = (false, &mut self.hasher);
        let source = |into: &mut [u8]| {
            if Instant::now() >= until {
                return Ok(None);
            }
            let count = request.rfile.try_read(into)?;
            if let (Some(count), Some(hasher)) = (count, hasher.as_mut()) {
                hasher.update(&into[..count]);
            }
            is_over |= count == Some(0);
            Ok(count)
        };
        let begun = upload.offset();
        let received = upload.receive(source, most);
        self.bytes += upload.offset() - begun;
        // If the upload was begun by another protocol, its size may be known. Then bytes after this
        // size are an error.
        let is_empty = request.rfile.buffer().is_empty();
        match received {
            Ok(()) if !is_over && !is_empty && upload.is_full() => {
                let max = upload.offset();
                Err(refused(&StoreError::TooLarge { max }))
            }
            Ok(()) => Ok(is_over || is_empty && request.rfile.is_eof()),
            Err(ReceiveError::Source(error)) => Err(lost(error)),
            Err(ReceiveError::Store { error, .. }) => Err(refused(&error)),
        }
    }

    /// Converts the received bytes, and stores them. Returns true if the client has closed the
    /// connection, which means that the upload is complete.
    fn receive_coded(&mut self, request: &mut StreamRequest, most: u64) -> Result<bool, Refused> {
        let until = Instant::now() + RECEIVE_TIME_PER_TURN;
        let mut raw = [0; RECEIVE_BUFFER];
        let mut left = usize::try_from(most).unwrap_or(usize::MAX);
        while left > 0 && Instant::now() < until {
            let wanted = raw.len().min(left);
            match request.rfile.try_read(&mut raw[..wanted]).map_err(lost)? {
                None => return Ok(false),
                Some(0) => {
                    self.store_coded(&[], true)?;
                    return Ok(true);
                }
                Some(count) => {
                    self.store_coded(&raw[..count], false)?;
                    self.bytes += count as u64;
                    left -= count;
                }
            }
        }
        Ok(false)
    }

    /// Converts and stores bytes. `is_last` means that no further bytes follow.
    fn store_coded(&mut self, bytes: &[u8], is_last: bool) -> Result<(), Refused> {
        let malformed =
            |_: io::Error| Refused::new(426, "The compressed data is malformed or incomplete.");
        let mut plain = Vec::new();
        let bytes = match &mut self.decompress {
            Some(decoder) => {
                decoder.decompress(bytes, &mut plain).map_err(malformed)?;
                if is_last && !decoder.is_complete() {
                    return Err(malformed(io::ErrorKind::UnexpectedEof.into()));
                }
                &plain
            }
            None => bytes,
        };
        let mut text = Vec::new();
        let bytes = match &mut self.text {
            Some(decoder) => {
                decoder.decode(bytes, &mut text);
                if is_last {
                    decoder.finish(&mut text);
                }
                &text
            }
            None => bytes,
        };
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        match &mut self.upload {
            Some(upload) => upload.write(bytes),
            None => Ok(()),
        }
    }

    /// Stores the complete file.
    fn publish(&mut self) -> Result<Done, Refused> {
        let upload = self.upload.take();
        let upload = upload.ok_or_else(|| refused(&StoreError::Busy))?;
        let digests = self.hasher.take().map(Hasher::finish);
        let stored = upload.publish(&self.view)?;
        Ok(Done {
            bytes: self.bytes,
            stored: Some(stored),
            sha256: digests.and_then(|digests| digests.sha256),
        })
    }
}
