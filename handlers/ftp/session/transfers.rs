//! RETR, STOR, APPE, STOU and ABOR, and the events of data connections.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use socketserver::{Result, StreamRequest};

use super::connect::{Data, next_id};
use super::parameters::REST_NEEDS_BINARY;
use super::queue::Queued;
use super::{Answer, Session};
use crate::ftp::data::{Arrival, DataHandler, Event, Job};
use crate::ftp::path::VirtualPath;
use crate::ftp::reply::{Refused, Reply};
use crate::ftp::storage::View;
use crate::ftp::transfer::{Done, Receiving, Sending, Work};
use crate::ftp::transfer_log::{Direction, Record};
use crate::ftp::upload::{BeginError, Start};
use crate::ftp::verbs::{Entry, Verb};

/// Maximum time to wait for an interrupted upload to which another connection still writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between two attempts to resume such an upload.
const BUSY_INTERVAL: Duration = Duration::from_millis(20);
/// Maximum number of names that STOU tries.
const MAX_UNIQUE_NAMES: u32 = 100;

/// A transfer from its command until its final reply.
#[derive(Debug)]
pub(super) struct Transfer {
    /// The job for the data connection; `None` after the session has sent the job.
    job: Option<Job>,
    /// When the transfer fails if the data connection is not established by then. `None` if the
    /// data connection is established, or if there is no timeout.
    deadline: Option<Instant>,
    /// Whether the preliminary reply (150) was sent.
    is_announced: bool,
    /// The preliminary reply.
    announcement: Reply,
    /// The file, for the transfer log; `None` for a listing.
    file: Option<Logged>,
    /// Number of bytes that were transferred.
    progress: Arc<AtomicU64>,
    /// When the transfer began.
    begun: Instant,
    /// A description for STAT and the log.
    what: String,
}

/// The part of a line of the transfer log that is known when the transfer begins.
#[derive(Debug)]
struct Logged {
    path: VirtualPath,
    direction: Direction,
    view: Arc<View>,
    /// Whether the type is text (TYPE A).
    is_text: bool,
}

impl Transfer {
    /// When the transfer fails if the data connection is not established by then.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The line in the reply to STAT.
    pub(super) fn status(&self) -> String {
        let bytes = self.progress.load(Ordering::Relaxed);
        let state = if self.job.is_some() {
            ", waiting for the data connection"
        } else {
            ""
        };
        format!(" {}: {bytes} bytes transferred{state}", self.what)
    }
}

impl Session {
    pub(super) fn retr(
        &mut self,
        request: &mut StreamRequest,
        entry: &Entry,
        argument: &[u8],
    ) -> Answer {
        let restart = std::mem::take(&mut self.parameters.restart);
        let (view, path) = self.target(entry, argument)?;
        let coding = self.parameters.coding;
        if restart > 0 && coding.is_text {
            return Err(Refused::new(554, REST_NEEDS_BINARY));
        }
        let (file, length) = view.open_file(&path)?;
        if restart > length {
            let text = format!("Offset {restart} is beyond the end of the file at {length}.");
            return Err(Refused::new(554, text));
        }
        let work = Work::Send(Box::new(Sending::file(file, (restart, length), coding)));
        let size = length - restart;
        let announcement = Reply::new(150, format!("Opening data connection ({size} bytes)."));
        let logged = Logged {
            path,
            direction: Direction::Sent,
            view,
            is_text: coding.is_text,
        };
        self.start(request, work, announcement, Some(logged))
    }

    /// STOR, APPE and STOU.
    pub(super) fn store(
        &mut self,
        request: &mut StreamRequest,
        entry: &Entry,
        argument: &[u8],
    ) -> Answer {
        // The offset of REST applies to this command only, even if the command fails.
        let restart = std::mem::take(&mut self.parameters.restart);
        let coding = self.parameters.coding;
        let view = Arc::clone(self.view()?);
        let (path, start) = match entry.verb {
            Verb::Stou | Verb::Appe if restart > 0 => {
                let text = format!(
                    "{} cannot begin at an offset: REST was sent before.",
                    entry.name
                );
                return Err(Refused::new(450, text));
            }
            Verb::Stou => (self.unique_path(&view, argument)?, Start::Unique),
            Verb::Appe => (self.path(argument)?, Start::End),
            _ if restart > 0 && coding.is_text => {
                return Err(Refused::new(554, REST_NEEDS_BINARY));
            }
            _ if restart > 0 => (self.path(argument)?, Start::At(restart)),
            _ => (self.path(argument)?, Start::New),
        };
        let checked = view.check_upload(&path, start)?;
        self.check_ready()?;
        let upload = match view.begin_upload(&path, start, checked) {
            Ok(upload) => upload,
            Err(BeginError::Busy) => {
                self.try_later(request, entry, argument)?;
                self.parameters.restart = restart;
                return Ok(None);
            }
            Err(BeginError::Refused(refused)) => return Err(refused),
        };
        self.busy_until = None;
        let announcement = match entry.verb {
            // RFC 1123 §4.1.2.9 requires this form of the reply.
            Verb::Stou => {
                let name = path.name().unwrap_or_default();
                Reply::new(150, [b"FILE: ", name])
            }
            _ => Reply::new(150, "Ready to receive data."),
        };
        let is_digested =
            self.shared.transfer_log.wants_digests() && matches!(start, Start::New | Start::Unique);
        let receiving = Receiving::new(upload, Arc::clone(&view), coding, is_digested);
        let work = Work::Receive(Box::new(receiving));
        let logged = Logged {
            path,
            direction: Direction::Received,
            view,
            is_text: coding.is_text,
        };
        self.start(request, work, announcement, Some(logged))
    }

    /// Schedules another attempt at a command, which runs before all other commands. This is
    /// necessary while another connection, which may be about to end, still writes to the
    /// interrupted upload.
    fn try_later(
        &mut self,
        request: &StreamRequest,
        entry: &Entry,
        argument: &[u8],
    ) -> std::result::Result<(), Refused> {
        let now = request.server.clock().now();
        let until = *self.busy_until.get_or_insert(now + BUSY_TIMEOUT);
        if now >= until {
            self.busy_until = None;
            return Err(Refused::new(450, "Another connection sends this file."));
        }
        self.paused_until = Some(now + BUSY_INTERVAL);
        self.queue.push_front(Queued::again(entry, argument));
        Ok(())
    }

    /// Finds a path for STOU that is not the path of a file.
    fn unique_path(
        &self,
        view: &View,
        argument: &[u8],
    ) -> std::result::Result<VirtualPath, Refused> {
        let prefix = match argument {
            b"" => self.working.child(b"ftp"),
            argument => self.path(argument)?,
        };
        let folder = prefix.parent();
        let name = prefix.name().unwrap_or(b"ftp").to_vec();
        for _ in 0..MAX_UNIQUE_NAMES {
            let mut random = [0; 4];
            getrandom::fill(&mut random)
                .map_err(|_| Refused::new(451, "The system has no random numbers."))?;
            let number = u32::from_ne_bytes(random);
            let unique = folder.child(&[&name[..], format!(".{number:08x}").as_bytes()].concat());
            if view.symlink_metadata(&unique).is_err() {
                return Ok(unique);
            }
        }
        Err(Refused::new(450, "No free name was found."))
    }

    /// Checks that a transfer can begin, before a file is opened for it.
    pub(super) fn check_ready(&self) -> std::result::Result<(), Refused> {
        if self.data.is_none() {
            return Err(Refused::new(425, "Use PASV, EPSV, PORT or EPRT first."));
        }
        self.protection().map(drop)
    }

    /// Begins the transfer of a listing.
    pub(super) fn start_listing(
        &mut self,
        request: &mut StreamRequest,
        sending: Sending,
    ) -> Answer {
        let announcement = Reply::new(150, "Opening data connection for the listing.");
        self.start(request, Work::Send(Box::new(sending)), announcement, None)
    }

    /// Begins a transfer. The data connection gets its job when it is established.
    fn start(
        &mut self,
        request: &mut StreamRequest,
        work: Work,
        announcement: Reply,
        file: Option<Logged>,
    ) -> Answer {
        self.check_ready()?;
        let progress = Arc::new(AtomicU64::new(0));
        let job = Job {
            work,
            protection: self.protection()?,
            progress: Arc::clone(&progress),
            limiter: self
                .login
                .slot
                .as_ref()
                .and_then(|slot| slot.limiter.clone()),
        };
        if let Data::Target(target) = self.data {
            self.connect(request, target)?;
        }
        let now = request.server.clock().now();
        let timeout = request.server.timeouts().read;
        let what = match &file {
            Some(logged) => format!("{} {}", logged.direction.verb(), logged.path.escaped()),
            None => "Listing".to_owned(),
        };
        request.set_doing(what.clone());
        self.queue
            .iter_mut()
            .for_each(|queued| queued.is_behind_transfer = true);
        self.transfer = Some(Transfer {
            job: Some(job),
            deadline: timeout.and_then(|timeout| now.checked_add(timeout)),
            is_announced: false,
            announcement,
            file,
            progress,
            begun: now,
            what,
        });
        self.data.take_arrival(true);
        match self.data {
            // In active mode the reply 150 is sent after the connection is established. The reply
            // would be wrong if the server could not connect.
            Data::Connecting { .. } => Ok(None),
            _ => {
                self.hand_over(request)
                    .map_err(|error| Refused::new(426, format!("Transfer aborted: {error}.")))?;
                Ok(None)
            }
        }
    }

    fn connect(
        &mut self,
        request: &StreamRequest,
        target: std::net::SocketAddr,
    ) -> std::result::Result<(), Refused> {
        let Some((sender, _)) = &self.events else {
            return Err(Refused::new(425, "No data connection is possible."));
        };
        let id = next_id();
        let arrival = Arrival::default();
        arrival.take_or_await();
        let handler = DataHandler::new(id, sender.clone(), arrival);
        self.data = Data::None;
        request.server.connect(target, handler).map_err(|error| {
            log::debug!("{}: {error}", request.client_address);
            Refused::new(425, "Can't open the data connection.")
        })?;
        self.data = Data::Connecting { id };
        Ok(())
    }

    /// Sends the preliminary reply, and gives the data connection its job if it is established.
    fn hand_over(&mut self, request: &mut StreamRequest) -> Result<()> {
        let Some(transfer) = &mut self.transfer else {
            return Ok(());
        };
        if !std::mem::replace(&mut transfer.is_announced, true) {
            Session::reply(request, &transfer.announcement)?;
        }
        if let Data::Connected { link, .. } = &self.data
            && let Some(job) = transfer.job.take()
        {
            transfer.deadline = None;
            // `try_send` fails only if the data connection has ended. Then its event is in the
            // mailbox.
            let _ = link.jobs.try_send(job);
        }
        Ok(())
    }

    /// Handles the events of data connections. Events of earlier data connections are ignored.
    pub(super) fn take_events(&mut self, request: &mut StreamRequest) -> Result<()> {
        self.data.take_arrival(self.transfer.is_some());
        while let Some(event) = self.events.as_ref().and_then(|(_, mailbox)| mailbox.take()) {
            let own = self.data.id();
            match event {
                Event::Connected { id, link } if own == Some(id) => {
                    self.data = Data::Connected { id, link };
                    self.hand_over(request)?;
                }
                Event::Connected { link, .. } => {
                    link.waker
                        .abort("no session waits for this data connection");
                }
                Event::Failed { id, reason } if own == Some(id) => {
                    self.data = Data::None;
                    log::debug!("{}: {reason}", request.client_address);
                    let text = "Can't open the data connection.";
                    self.end_transfer(request, Err(Refused::new(425, text)))?;
                }
                Event::Ended { id, outcome } if own == Some(id) => {
                    // The data connection closes by itself after it has sent all bytes.
                    self.data = Data::None;
                    self.end_transfer(request, outcome)?;
                }
                Event::Failed { .. } | Event::Ended { .. } => {}
            }
        }
        Ok(())
    }

    /// Ends the transfer: logs it, and sends the final reply.
    pub(super) fn end_transfer(
        &mut self,
        request: &mut StreamRequest,
        outcome: std::result::Result<Done, Refused>,
    ) -> Result<()> {
        self.data.abort("the transfer has ended");
        request.clear_doing();
        let Some(transfer) = self.transfer.take() else {
            return Ok(());
        };
        self.log_transfer(&transfer, outcome.as_ref().ok());
        match outcome {
            Ok(done) => Session::reply(request, &complete(&transfer, &done)),
            Err(refused) => {
                log::info!("{}: {}: {refused}", request.client_address, transfer.what);
                Session::reply(request, &refused)
            }
        }
    }

    /// Writes a transfer to the transfer log. `done` is `None` if the transfer has failed.
    pub(super) fn log_transfer(&self, transfer: &Transfer, done: Option<&Done>) {
        let Some(logged) = &transfer.file else {
            return;
        };
        let stored = done.and_then(|done| done.stored.as_ref());
        let path = stored.map_or(&logged.path, |stored| &stored.path);
        self.shared.transfer_log.write(&Record {
            client: self.client.as_ref(),
            user: &logged.view.user,
            path,
            direction: logged.direction,
            bytes: done.map_or(transfer.progress.load(Ordering::Relaxed), |done| done.bytes),
            took: transfer.begun.elapsed(),
            ended: SystemTime::now(),
            is_text: logged.is_text,
            is_tls: self.is_private(),
            is_complete: done.is_some(),
            sha256: done.and_then(|done| done.sha256),
        });
    }

    /// ABOR (RFC 959 §4.1.3): sends the reply to the transfer first, then the reply to ABOR.
    pub(super) fn abor(&mut self, request: &mut StreamRequest) -> Answer {
        if self.transfer.is_none() {
            self.data.abort("ABOR");
            return Ok(Some(Reply::new(225, "There is no transfer.")));
        }
        let aborted = Refused::new(426, "The transfer was aborted by ABOR.");
        // An error is ignored, because the session ends anyway if a reply cannot be sent.
        let _ = self.end_transfer(request, Err(aborted));
        Ok(Some(Reply::new(226, "ABOR done.")))
    }
}

/// The final reply of a transfer that has succeeded.
fn complete(transfer: &Transfer, done: &Done) -> Reply {
    match (&done.stored, &transfer.file) {
        (Some(stored), Some(logged)) if stored.path != logged.path => {
            let name = stored.path.name().unwrap_or_default();
            Reply::new(226, [b"Transfer complete, stored as ", name, b"."])
        }
        _ => Reply::new(226, "Transfer complete."),
    }
}
