//! Digests of whole files on request, computed in slices by the connections that wait for them.
//!
//! The queue has no thread. A waiter calls [`DigestTask::advance`] in its own turns, and each call
//! digests one slice. Equal requests share one job, so that each slice is digested once. A job
//! without waiters is dropped together with its work. At most one job per core advances at a time:
//! after some slices it goes to the end of the queue. The waiters of the other jobs get a time to
//! come back after. Computed digests are remembered as long as the file stays the same.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Weak};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Digests, FileIdentity, Hasher};

/// Bytes of one slice. To digest them takes some milliseconds.
pub const BYTES_PER_SLICE: u64 = 1024 * 1024;
/// Slices that a job digests before it goes to the end of the queue, so that a small file does not
/// wait for the end of a large one.
pub const SLICES_PER_TURN: u64 = 16;
/// If the waiters of a job have not called for this long, other jobs advance in its place.
const MAX_ABSENCE: Duration = Duration::from_secs(1);
/// Maximum number of jobs.
const MAX_JOBS: usize = 256;
/// Maximum number of files whose digests are remembered.
const MAX_FILES: usize = 1000;
/// How long a waiter waits when it is not the turn of its job, or another waiter digests a slice.
const WAIT_INTERVAL: Duration = Duration::from_millis(20);

/// The number of cores. To ask the system takes several system calls, too many for each slice.
static CORES: LazyLock<usize> =
    LazyLock::new(|| available_parallelism().map_or(1, |cores| cores.get()));

/// The content that a digest belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DigestKey {
    /// The identity of the file.
    pub identity: FileIdentity,
    /// Which form of the file, such as its entity tag when it is compressed; empty for its own
    /// content.
    pub form: String,
}

/// The source of the bytes that are digested.
#[derive(Clone, Debug)]
pub enum DigestSource {
    /// A file, from its beginning to its end.
    File(Arc<File>),
    /// Bytes in memory.
    Memory(Arc<[u8]>),
}

/// The digests of a server's files: the jobs that compute them, and the remembered digests.
#[derive(Clone, Debug, Default)]
pub struct DigestQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// In the order of their turns.
    jobs: Mutex<Vec<Weak<Job>>>,
    known: Mutex<HashMap<DigestKey, Digests>>,
    /// The number of [`SlicePermit`]s.
    alone: AtomicUsize,
}

/// The right to digest some slices that only one client needs.
#[derive(Debug)]
pub struct SlicePermit(DigestQueue);

impl Drop for SlicePermit {
    fn drop(&mut self) {
        self.0.0.alone.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The computation of a file's digests, for all its waiters.
#[derive(Debug)]
struct Job {
    key: DigestKey,
    /// Which digests are computed. The values do not matter.
    wanted: Digests,
    /// When a waiter called last.
    seen: Mutex<Instant>,
    state: Mutex<JobState>,
}

#[derive(Debug)]
struct JobState {
    hasher: Hasher,
    done: u64,
    length: u64,
    /// The result, for waiters that call after the end.
    outcome: Option<Result<Digests, io::ErrorKind>>,
}

/// A waiter for the digests of a file, until it is dropped.
#[derive(Debug)]
pub struct DigestTask {
    queue: DigestQueue,
    job: Arc<Job>,
    source: DigestSource,
}

/// The result of [`DigestTask::advance`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DigestProgress {
    /// The digests are complete.
    Done(Digests),
    /// The next slice can be digested. Other connections should have their turn before it.
    Again,
    /// It is not this file's turn. The next call is worth it after this time.
    After(Duration),
}

impl DigestQueue {
    /// Begins to wait for digests. `Ok(Err)` has the digests if they are remembered. The values in
    /// `wanted` do not matter, only which digests it has.
    ///
    /// # Errors
    /// `WouldBlock` if the digests of too many files are being computed.
    pub fn begin(
        &self,
        key: DigestKey,
        source: DigestSource,
        wanted: &Digests,
    ) -> io::Result<Result<DigestTask, Digests>> {
        if let Some(known) = self.find(&key, wanted) {
            return Ok(Err(known));
        }
        let mut jobs = self.0.jobs.lock();
        jobs.retain(|job| job.strong_count() > 0);
        let equal = jobs
            .iter()
            .filter_map(Weak::upgrade)
            .find(|job| job.key == key && wanted.union(&job.wanted) == job.wanted);
        let job = match equal {
            Some(job) => job,
            None if jobs.len() >= MAX_JOBS => return Err(io::ErrorKind::WouldBlock.into()),
            None => {
                let job = Arc::new(Job {
                    state: Mutex::new(JobState {
                        hasher: Hasher::of(wanted),
                        done: 0,
                        length: source.length(&key),
                        outcome: None,
                    }),
                    key,
                    wanted: wanted.clone(),
                    seen: Mutex::new(Instant::now()),
                });
                jobs.push(Arc::downgrade(&job));
                job
            }
        };
        drop(jobs);
        Ok(Ok(DigestTask {
            queue: self.clone(),
            job,
            source,
        }))
    }

    /// The right to digest slices that no other client waits for, such as the bytes of an upload
    /// that is resumed. At most one per core is given at a time. It should be dropped after
    /// [`SLICES_PER_TURN`] slices.
    ///
    /// # Errors
    /// All are taken. The value is the time after which to ask again.
    pub fn permit(&self) -> Result<SlicePermit, Duration> {
        let taken = self
            .0
            .alone
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |alone| {
                (alone < *CORES).then_some(alone + 1)
            });
        match taken {
            Ok(_) => Ok(SlicePermit(self.clone())),
            Err(_) => Err(WAIT_INTERVAL),
        }
    }

    /// The remembered digests of a file, if all of the wanted ones are among them.
    pub fn find(&self, key: &DigestKey, wanted: &Digests) -> Option<Digests> {
        let known = self.0.known.lock().get(key)?.clone();
        (known.union(wanted) == known).then_some(known)
    }

    /// Adds digests to the remembered ones of a file.
    pub fn remember(&self, key: DigestKey, digests: &Digests) {
        let mut files = self.0.known.lock();
        // Any entry may be removed. If its digest is requested often, it is computed again and
        // remembered.
        if files.len() >= MAX_FILES
            && !files.contains_key(&key)
            && let Some(victim) = files.keys().next().cloned()
        {
            files.remove(&victim);
        }
        let known = files.entry(key).or_default();
        *known = known.union(digests);
    }

    /// Whether it is a job's turn: it is one of the first of the queue, one per core.
    fn is_due(&self, job: &Arc<Job>) -> bool {
        let mut jobs = self.0.jobs.lock();
        jobs.retain(|job| job.strong_count() > 0);
        let is_waited_for = |job: &Arc<Job>| job.seen.lock().elapsed() < MAX_ABSENCE;
        jobs.iter()
            .filter_map(Weak::upgrade)
            .filter(is_waited_for)
            .take(*CORES)
            .any(|due| Arc::ptr_eq(&due, job))
    }

    /// Moves a job to the end of the queue.
    fn put_behind(&self, job: &Arc<Job>) {
        let mut jobs = self.0.jobs.lock();
        jobs.retain(|other| other.as_ptr() != Arc::as_ptr(job));
        jobs.push(Arc::downgrade(job));
    }

    fn end(&self, job: &Arc<Job>) {
        self.0
            .jobs
            .lock()
            .retain(|other| other.as_ptr() != Arc::as_ptr(job));
    }
}

impl DigestTask {
    /// Digests the next slice, if it is this file's turn.
    ///
    /// # Errors
    /// The file cannot be read, or became shorter.
    pub fn advance(&self) -> io::Result<DigestProgress> {
        *self.job.seen.lock() = Instant::now();
        // Another waiter digests a slice.
        let Some(mut state) = self.job.state.try_lock() else {
            return Ok(DigestProgress::After(WAIT_INTERVAL));
        };
        if let Some(outcome) = &state.outcome {
            return outcome
                .clone()
                .map(DigestProgress::Done)
                .map_err(io::Error::from);
        }
        if !self.queue.is_due(&self.job) {
            return Ok(DigestProgress::After(WAIT_INTERVAL));
        }
        let until = state.length.min(state.done + BYTES_PER_SLICE);
        let done = state.done;
        if let Err(error) = self.source.digest(&mut state.hasher, done, until) {
            state.outcome = Some(Err(error.kind()));
            self.queue.end(&self.job);
            return Err(error);
        }
        state.done = until;
        if state.done < state.length {
            if (state.done / BYTES_PER_SLICE).is_multiple_of(SLICES_PER_TURN) {
                self.queue.put_behind(&self.job);
            }
            return Ok(DigestProgress::Again);
        }
        let digests = std::mem::take(&mut state.hasher).finish();
        state.outcome = Some(Ok(digests.clone()));
        drop(state);
        if self.job.key.identity.has_rested() && self.source.is(&self.job.key.identity)? {
            self.queue.remember(self.job.key.clone(), &digests);
        }
        self.queue.end(&self.job);
        Ok(DigestProgress::Done(digests))
    }
}

impl DigestSource {
    fn length(&self, key: &DigestKey) -> u64 {
        match self {
            DigestSource::File(_) => key.identity.length,
            DigestSource::Memory(bytes) => bytes.len() as u64,
        }
    }

    fn digest(&self, hasher: &mut Hasher, from: u64, until: u64) -> io::Result<()> {
        match self {
            DigestSource::File(file) => hasher.update_range(file, from..until),
            DigestSource::Memory(bytes) => {
                hasher.update(&bytes[from as usize..until as usize]);
                Ok(())
            }
        }
    }

    /// Whether the file still has this identity.
    fn is(&self, identity: &FileIdentity) -> io::Result<bool> {
        Ok(match self {
            DigestSource::File(file) => FileIdentity::of(&file.metadata()?) == *identity,
            DigestSource::Memory(_) => true,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::time::{Duration as Age, SystemTime};

    use super::*;

    const MD5: Digests = Digests {
        md5: Some([0; 16]),
        sha1: None,
        sha256: None,
        blake3: None,
    };

    /// A file of this many slices, without a name.
    fn file(slices: u64) -> (DigestKey, DigestSource) {
        let path = std::env::temp_dir().join(format!(
            "socketserver-digests-{}-{:?}-{slices}",
            std::process::id(),
            std::thread::current().id()
        ));
        let mut options = File::options();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .open(&path)
            .unwrap();
        std::fs::remove_file(path).unwrap();
        file.set_len(slices * BYTES_PER_SLICE).unwrap();
        file.rewind().unwrap();
        file.write_all(&[slices as u8]).unwrap();
        file.set_modified(SystemTime::now() - Age::from_secs(60))
            .unwrap();
        let identity = FileIdentity::of(&file.metadata().unwrap());
        let key = DigestKey {
            identity,
            form: String::new(),
        };
        (key, DigestSource::File(Arc::new(file)))
    }

    fn begin(queue: &DigestQueue, (key, source): &(DigestKey, DigestSource)) -> DigestTask {
        queue
            .begin(key.clone(), source.clone(), &MD5)
            .unwrap()
            .unwrap()
    }

    #[test]
    fn equal_requests_share_the_slices_and_a_job_without_waiters_ends() {
        let queue = DigestQueue::default();
        let four = file(4);
        let (first, second) = (begin(&queue, &four), begin(&queue, &four));
        for _ in 0..2 {
            assert_eq!(first.advance().unwrap(), DigestProgress::Again);
        }
        assert_eq!(second.advance().unwrap(), DigestProgress::Again);
        let DigestProgress::Done(digests) = second.advance().unwrap() else {
            panic!("four slices are digested");
        };
        assert_eq!(first.advance().unwrap(), DigestProgress::Done(digests));
        drop((first, second));
        let abandoned = begin(&queue, &four);
        assert_eq!(abandoned.advance().unwrap(), DigestProgress::Again);
        drop(abandoned);
        let anew = begin(&queue, &four);
        for _ in 0..3 {
            assert_eq!(anew.advance().unwrap(), DigestProgress::Again);
        }
        assert!(matches!(anew.advance().unwrap(), DigestProgress::Done(_)));
        assert!(queue.0.jobs.lock().is_empty());
    }

    #[test]
    fn one_file_per_core_advances_and_the_others_wait() {
        let queue = DigestQueue::default();
        let cores = *CORES;
        let files: Vec<_> = (0..=cores).map(|_| file(2)).collect();
        let tasks: Vec<_> = files.iter().map(|file| begin(&queue, file)).collect();
        let last = tasks.last().unwrap();
        assert_eq!(
            last.advance().unwrap(),
            DigestProgress::After(WAIT_INTERVAL)
        );
        assert_eq!(tasks[0].advance().unwrap(), DigestProgress::Again);
        assert!(matches!(
            tasks[0].advance().unwrap(),
            DigestProgress::Done(_)
        ));
        assert_eq!(last.advance().unwrap(), DigestProgress::Again);
    }

    #[test]
    fn a_small_file_does_not_wait_for_the_end_of_large_ones() {
        let queue = DigestQueue::default();
        let cores = *CORES;
        let files: Vec<_> = (0..cores).map(|_| file(1000)).collect();
        let large: Vec<_> = files.iter().map(|file| begin(&queue, file)).collect();
        let small = begin(&queue, &file(1));
        let mut rounds = 0;
        while !matches!(small.advance().unwrap(), DigestProgress::Done(_)) {
            for task in &large {
                task.advance().unwrap();
            }
            rounds += 1;
            assert!(rounds <= SLICES_PER_TURN, "it waits only for its turn");
        }
    }

    #[test]
    fn one_permit_per_core_is_given() {
        let queue = DigestQueue::default();
        let cores = *CORES;
        let mut permits: Vec<_> = (0..cores).map(|_| queue.permit().unwrap()).collect();
        assert_eq!(queue.permit().unwrap_err(), WAIT_INTERVAL);
        permits.pop();
        assert!(queue.permit().is_ok());
    }

    #[test]
    fn the_number_of_files_that_wait_is_limited() {
        let queue = DigestQueue::default();
        let (key, source) = file(1);
        let form = |form: usize| DigestKey {
            form: form.to_string(),
            ..key.clone()
        };
        let begin = |number| queue.begin(form(number), source.clone(), &MD5);
        let tasks: Vec<_> = (0..MAX_JOBS).map(|number| begin(number).unwrap()).collect();
        assert_eq!(
            begin(MAX_JOBS).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
        assert!(begin(0).is_ok(), "an equal request shares a job");
        drop(tasks);
        assert!(begin(MAX_JOBS).is_ok());
    }

    #[test]
    fn digests_are_found_if_all_wanted_ones_are_remembered_for_a_limited_number_of_files() {
        let queue = DigestQueue::default();
        let (key, _) = file(1);
        let form = |form: usize| DigestKey {
            form: form.to_string(),
            ..key.clone()
        };
        let sha1 = Digests {
            sha1: Some([2; 20]),
            ..Digests::default()
        };
        assert_eq!(queue.find(&form(0), &MD5), None);
        queue.remember(form(0), &MD5);
        assert_eq!(queue.find(&form(0), &MD5), Some(MD5));
        assert_eq!(queue.find(&form(0), &sha1), None);
        queue.remember(form(0), &sha1);
        assert_eq!(
            queue.find(&form(0), &MD5.union(&sha1)),
            Some(MD5.union(&sha1))
        );
        assert_eq!(queue.find(&form(1), &MD5), None, "of another form");
        for number in 0..MAX_FILES + 10 {
            queue.remember(form(number), &MD5);
            assert!(queue.find(&form(number), &MD5).is_some());
        }
        assert_eq!(queue.0.known.lock().len(), MAX_FILES);
    }
}
