//! Finds out, in slices, how much of an announced file is stored already.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::partial::Begin;
use super::{Intent, OnDuplicate, Partial, Published, Store, StoreError};
use crate::common::digest::{
    DigestKey, DigestProgress, DigestSource, DigestTask, Digests, FileIdentity, SLICES_PER_TURN,
    SlicePermit,
};

/// The result of [`Store::resume`].
#[derive(Debug)]
pub enum Resumed {
    /// The upload continues at [`Partial::offset`].
    Partial(Box<Partial>),
    /// The file is stored already.
    Complete(Published),
    /// Stored bytes must be digested before the upload can continue.
    Checking(Check),
}

/// Stored bytes that must be digested before an upload is resumed. Dropping this value cancels the
/// work.
#[derive(Debug)]
pub struct Check {
    state: CheckState,
    /// Delay before the next call of [`advance`](Check::advance); `None` means no delay.
    after: Option<Duration>,
}

#[derive(Debug)]
enum CheckState {
    /// A file with the announced name and size, which may be the announced file.
    File {
        store: Store,
        intent: Box<Intent>,
        on_duplicate: OnDuplicate,
        task: DigestTask,
    },
    /// The bytes of the interrupted upload.
    Partial(CatchingUp),
}

impl Check {
    /// Delay before the next call of [`advance`](Check::advance). `None` means no delay, but other
    /// connections should get their turn first.
    pub fn after(&self) -> Option<Duration> {
        self.after
    }

    /// Digests one slice.
    ///
    /// # Errors
    /// As for [`Store::resume`].
    pub fn advance(self) -> Result<Resumed, StoreError> {
        match self.state {
            CheckState::Partial(catching_up) => catching_up.advance(),
            CheckState::File {
                store,
                intent,
                on_duplicate,
                task,
            } => {
                let after = match task.advance()? {
                    DigestProgress::Done(digests)
                        if intent.digests.difference(&digests).is_none() =>
                    {
                        return Ok(Resumed::Complete(published(&intent, digests)));
                    }
                    DigestProgress::Done(_) => return store.resume_partial(*intent, on_duplicate),
                    DigestProgress::Again => None,
                    DigestProgress::After(time) => Some(time),
                };
                let state = CheckState::File {
                    store,
                    intent,
                    on_duplicate,
                    task,
                };
                Ok(Resumed::Checking(Check { state, after }))
            }
        }
    }
}

impl Store {
    /// Resumes the upload with the same name, size, digests and owner, or begins it.
    ///
    /// If stored bytes must be digested first, the result is [`Resumed::Checking`], which digests
    /// them slice by slice.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn resume(&self, intent: Intent, on_duplicate: OnDuplicate) -> Result<Resumed, StoreError> {
        let intent = self.resolved(intent)?;
        let Some(file) = self.possibly_complete(&intent) else {
            return self.resume_partial(intent, on_duplicate);
        };
        if intent.digests.is_empty() {
            return Ok(Resumed::Complete(published(&intent, Digests::default())));
        }
        let task = match self.digests_of(file, &intent.digests)? {
            Ok(task) => task,
            Err(known) if intent.digests.difference(&known).is_none() => {
                return Ok(Resumed::Complete(published(&intent, known)));
            }
            Err(_) => return self.resume_partial(intent, on_duplicate),
        };
        let (store, intent) = (self.clone(), Box::new(intent));
        let state = CheckState::File {
            store,
            intent,
            on_duplicate,
            task,
        };
        Check { state, after: None }.advance()
    }

    /// Resumes an upload, and blocks until all necessary bytes are digested.
    ///
    /// # Errors
    /// As for [`begin`](Store::begin).
    pub fn resume_at_once(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
    ) -> Result<Resumed, StoreError> {
        let mut resumed = self.resume(intent, on_duplicate)?;
        while let Resumed::Checking(check) = resumed {
            if let Some(time) = check.after() {
                std::thread::sleep(time);
            }
            resumed = check.advance()?;
        }
        Ok(resumed)
    }

    /// Begins to compute the digests of a file below the folder, in slices. `Ok(Err)` contains the
    /// digests if they are known already. Only the kinds of digests in `wanted` matter, not their
    /// values.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if too many files are being digested; those of the system.
    pub fn digests_of(
        &self,
        file: File,
        wanted: &Digests,
    ) -> Result<Result<DigestTask, Digests>, StoreError> {
        let identity = FileIdentity::of(&file.metadata()?);
        let key = DigestKey {
            identity,
            form: String::new(),
        };
        let source = DigestSource::File(Arc::new(file));
        self.0
            .digests
            .begin(key, source, wanted)
            .map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => {
                    StoreError::Unavailable("too many files are being digested")
                }
                _ => error.into(),
            })
    }

    fn resume_partial(
        &self,
        intent: Intent,
        on_duplicate: OnDuplicate,
    ) -> Result<Resumed, StoreError> {
        self.adopt(&intent)?;
        let partial = self.start(intent, on_duplicate, Begin::Resumed)?;
        CatchingUp {
            partial: Box::new(partial),
            permit: None,
            slices: 0,
        }
        .advance()
    }

    /// Opens the file with the announced name if it may be the announced file: it has the announced
    /// size and, if no digests were announced, the announced time.
    fn possibly_complete(&self, intent: &Intent) -> Option<File> {
        let size = intent.size?;
        let path = intent.name.as_path();
        let metadata = self.root().symlink_metadata(path).ok()?;
        if !metadata.is_file() || metadata.len() != size {
            return None;
        }
        // Without a digest, only the time distinguishes a changed file of the same size.
        let stored = metadata
            .modified()
            .map(cap_std::time::SystemTime::into_std)
            .ok();
        if intent.digests.is_empty() && !is_same_time(intent.modified, stored) {
            return None;
        }
        let file = self.root().open(path).ok()?.into_std();
        let is_same = |opened: std::fs::Metadata| {
            use cap_std::fs::MetadataExt as _;
            opened.ino() == metadata.ino()
        };
        file.metadata().is_ok_and(is_same).then_some(file)
    }
}

/// A resumed upload whose stored bytes are being digested.
#[derive(Debug)]
struct CatchingUp {
    partial: Box<Partial>,
    permit: Option<SlicePermit>,
    /// The number of slices that were digested with this permit.
    slices: u64,
}

impl CatchingUp {
    fn advance(mut self) -> Result<Resumed, StoreError> {
        if self.partial.is_caught_up() {
            return Ok(Resumed::Partial(self.partial));
        }
        if self.permit.is_none() {
            match self.partial.store.0.digests.permit() {
                Ok(permit) => {
                    self.permit = Some(permit);
                    self.slices = 0;
                }
                Err(time) => return Ok(self.later(Some(time))),
            }
        }
        if self.partial.catch_up()? {
            return Ok(Resumed::Partial(self.partial));
        }
        self.slices += 1;
        if self.slices == SLICES_PER_TURN {
            self.permit = None;
        }
        Ok(self.later(None))
    }

    fn later(self, after: Option<Duration>) -> Resumed {
        let state = CheckState::Partial(self);
        Resumed::Checking(Check { state, after })
    }
}

fn published(intent: &Intent, digests: Digests) -> Published {
    Published {
        name: intent.name.clone(),
        size: intent.size.unwrap_or_default(),
        digests,
    }
}

/// Whether a stored file has the announced time, to the millisecond, because file systems and JSON
/// round times. True if no time was announced.
fn is_same_time(announced: Option<SystemTime>, stored: Option<SystemTime>) -> bool {
    const EXACTNESS: Duration = Duration::from_millis(1);
    let (Some(announced), Some(stored)) = (announced, stored) else {
        return true;
    };
    let apart = stored
        .duration_since(announced)
        .unwrap_or_else(|error| error.duration());
    apart < EXACTNESS
}
