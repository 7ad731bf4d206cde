//! How much processor time a thread used, and how often it slept.

use std::time::Duration;

pub(crate) use backend::ThreadUsage;

#[cfg(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
))]
mod backend {
    use super::Duration;

    /// What the calling thread has used so far.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ThreadUsage {
        cpu: Duration,
        /// How often it gave up its core by itself.
        sleeps: i64,
    }

    impl ThreadUsage {
        /// As of now (getrusage(2), `RUSAGE_THREAD`).
        pub(crate) fn now() -> ThreadUsage {
            // SAFETY: all zeros are a valid `rusage`, and getrusage, which can't fail for the
            // calling thread, only writes it.
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

        /// How much of the time `took` since then the calling thread slept. Zero if it only waited
        /// for a core.
        pub(crate) fn slept(self, took: Duration) -> Duration {
            let now = ThreadUsage::now();
            if now.sleeps == self.sleeps {
                Duration::ZERO
            } else {
                took.saturating_sub(now.cpu.saturating_sub(self.cpu))
            }
        }
    }
}

/// For systems that do not count the sleeps of one thread (macOS).
#[cfg(not(all(
    any(target_os = "linux", target_os = "freebsd"),
    not(feature = "portable-sockets")
)))]
mod backend {
    use super::Duration;
    use rustix::time::{ClockId, clock_gettime};

    /// The processor time that the calling thread has used so far.
    #[derive(Clone, Copy, Debug)]
    pub(crate) struct ThreadUsage(Duration);

    impl ThreadUsage {
        /// As of now.
        pub(crate) fn now() -> ThreadUsage {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            ThreadUsage(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
        }

        /// How much of the time `took` since then the calling thread did not run. A wait for a core
        /// cannot be distinguished from sleep here.
        pub(crate) fn slept(self, took: Duration) -> Duration {
            took.saturating_sub(ThreadUsage::now().0.saturating_sub(self.0))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_thread_that_computes_does_not_sleep() {
        let long = Duration::from_millis(20);
        // On a busy machine it may wait for a core, which some systems cannot distinguish from
        // sleep.
        let computes = || {
            let (usage, begun) = (ThreadUsage::now(), Instant::now());
            while begun.elapsed() < long {
                std::hint::spin_loop();
            }
            usage.slept(begun.elapsed()) < long / 2
        };
        assert!((0..100).any(|_| computes()));
        let (usage, begun) = (ThreadUsage::now(), Instant::now());
        std::thread::sleep(long);
        let slept = usage.slept(begun.elapsed());
        assert!(slept >= long / 2, "{slept:?}");
    }
}
