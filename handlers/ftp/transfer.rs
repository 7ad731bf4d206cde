//! What a data connection sends or receives, piece by piece.

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

/// Bytes of a file that are sent as they are, before the handler is called again.
const SENT_PER_TURN: u64 = 1 << 20;
/// Bytes of a file that are translated in one turn.
const TRANSLATED_PER_TURN: usize = 64 * 1024;
/// Bytes from the client that are translated at a time. Compressed ones may become a thousand times
/// as many.
const RECEIVED_AT_A_TIME: usize = 4 * 1024;
/// How long one turn reads from a client that never pauses, before other connections are served.
const RECEIVE_TIME_PER_TURN: Duration = Duration::from_millis(100);

/// How the bytes on the network differ from those of the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coding {
    /// TYPE A.
    pub is_text: bool,
    /// MODE Z.
    pub is_compressed: bool,
}

/// What a step of the work leads to.
#[derive(Debug)]
pub enum Step {
    /// Another one when the output is sent.
    Again,
    /// Another one when bytes have come.
    WaitForBytes,
    /// Another one after this time.
    Pause(Duration),
    /// Everything is sent, or stored.
    Done(Done),
}

/// A transfer that has succeeded.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// Bytes of the file.
    pub bytes: u64,
    /// What is stored.
    pub stored: Option<Stored>,
    /// The digest of a whole file that was received, if it is logged.
    pub sha256: Option<[u8; 32]>,
}

/// What is sent or received.
#[derive(Debug)]
pub enum Work {
    /// To the client.
    Send(Box<Sending>),
    /// From the client.
    Receive(Box<Receiving>),
}

impl Work {
    /// Does what is possible now.
    ///
    /// # Errors
    /// The reply that ends the transfer.
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

    /// Number of bytes that have passed.
    pub fn bytes(&self) -> u64 {
        match self {
            Work::Send(sending) => sending.bytes,
            Work::Receive(receiving) => receiving.bytes,
        }
    }
}

/// Something that is sent.
pub struct Sending {
    source: Source,
    text: Option<ascii::Encoder>,
    compress: Option<Compressor>,
    bytes: u64,
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
    /// Bytes `at` to `end` of a file.
    pub fn file(file: File, (at, end): (u64, u64), coding: Coding) -> Sending {
        let file = Arc::new(file);
        let text = coding.is_text.then(ascii::Encoder::default);
        Sending::new(Source::File { file, at, end }, text, coding)
    }

    /// A listing, whose lines end as the network has it.
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
            _ => self.translate(request, limiter),
        }
    }

    fn translate(
        &mut self,
        request: &mut StreamRequest,
        limiter: Option<&Limiter>,
    ) -> Result<Step, Refused> {
        let mut raw = Vec::new();
        match &mut self.source {
            Source::File { file, at, end } => {
                let left = usize::try_from(*end - *at).unwrap_or(usize::MAX);
                let wanted = TRANSLATED_PER_TURN.min(left);
                let granted = match grant(limiter, wanted as u64) {
                    Ok(count) => count,
                    Err(wait) => return Ok(Step::Pause(wait)),
                };
                raw.resize(usize::try_from(granted).unwrap_or(wanted), 0);
                let count = file.read_at(&mut raw, *at)?;
                if count == 0 && at < end {
                    return Err(Refused::new(451, "The file became shorter meanwhile."));
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

/// How many of `wanted` bytes may pass now; the time to wait if none may.
fn grant(limiter: Option<&Limiter>, wanted: u64) -> Result<u64, Duration> {
    match limiter {
        Some(limiter) if wanted > 0 => limiter.take(wanted, Instant::now()),
        _ => Ok(wanted),
    }
}

fn lost(_: io::Error) -> Refused {
    Refused::new(426, "Data connection closed, transfer aborted.")
}

/// A file that is received.
pub struct Receiving {
    /// `None` once it is stored or given up.
    upload: Option<Upload>,
    view: Arc<View>,
    text: Option<ascii::Decoder>,
    decompress: Option<Decompressor>,
    /// For the log.
    hasher: Option<Hasher>,
    is_prepared: bool,
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
    /// Receives an upload of a user; the digest of a whole file is computed if `is_digested`.
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
            return Err(Refused::new(451, "The upload is over."));
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

    /// What cannot be stored, because of its size or a full disk, is not kept for a resumption: it
    /// would leave no room for anything else.
    fn end_after(&mut self, refused: Refused) -> Refused {
        if matches!(refused.code(), 452 | 552)
            && let Some(upload) = self.upload.take()
        {
            upload.discard();
        }
        refused
    }

    /// Stores bytes as they are. Returns whether the client has ended the connection.
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
        // An upload of another protocol, whose size is known, takes nothing more when it is full.
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

    /// Translates what has come, and stores it.
    fn receive_coded(&mut self, request: &mut StreamRequest, most: u64) -> Result<bool, Refused> {
        let until = Instant::now() + RECEIVE_TIME_PER_TURN;
        let mut raw = [0; RECEIVED_AT_A_TIME];
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

    fn store_coded(&mut self, bytes: &[u8], is_over: bool) -> Result<(), Refused> {
        let malformed =
            |_: io::Error| Refused::new(426, "The compressed data is malformed or cut off.");
        let mut plain = Vec::new();
        let bytes = match &mut self.decompress {
            Some(decoder) => {
                decoder.decompress(bytes, &mut plain).map_err(malformed)?;
                if is_over && !decoder.is_complete() {
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
                if is_over {
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
