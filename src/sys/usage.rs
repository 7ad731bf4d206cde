//! How much processor time a thread used, and how often it slept.

use std::time::Duration;

/// What the calling thread has used so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ThreadUsage {
    cpu: Duration,
    /// How often it gave up its core by itself.
    sleeps: i64,
}

impl ThreadUsage {
    /// As of now (getrusage(2), `RUSAGE_THREAD`).
    #[cfg(target_os = "linux")]
    pub(crate) fn now() -> ThreadUsage {
        // SAFETY: all zeros are a valid `rusage`, and getrusage, which can't fail for the calling
        // thread, only writes it.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage);
            usage
        };
        let time =
            |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
        ThreadUsage {
            cpu: time(usage.ru_utime) + time(usage.ru_stime),
            sleeps: usage.ru_nvcsw,
        }
    }

    /// For how much of the time that `took` since then the calling thread slept. None, if it only
    /// waited for a core.
    #[cfg(target_os = "linux")]
    pub(crate) fn slept(self, took: Duration) -> Duration {
        let now = ThreadUsage::now();
        if now.sleeps == self.sleeps {
            Duration::ZERO
        } else {
            took.saturating_sub(now.cpu.saturating_sub(self.cpu))
        }
    }

    /// Nothing is known here of a thread alone.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn now() -> ThreadUsage {
        ThreadUsage {
            cpu: Duration::ZERO,
            sleeps: 0,
        }
    }

    /// Long turns are taken for waiting ones.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn slept(self, took: Duration) -> Duration {
        took
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_computes_does_not_sleep() {
        let long = Duration::from_millis(20);
        let (usage, begun) = (ThreadUsage::now(), Instant::now());
        while begun.elapsed() < long {
            std::hint::spin_loop();
        }
        let computed = usage.slept(begun.elapsed());
        let (usage, begun) = (ThreadUsage::now(), Instant::now());
        std::thread::sleep(long);
        let slept = usage.slept(begun.elapsed());
        assert!(
            computed < long / 2 && slept >= long / 2,
            "{computed:?} of computing, {slept:?} of sleeping"
        );
    }
}
