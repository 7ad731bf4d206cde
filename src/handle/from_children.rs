//! What the handlers in forked children ask of their server, which is another process.

use std::sync::atomic::{AtomicU8, Ordering};

use super::LifecyclePhase;

const DRAIN: u8 = 1;
const ABORT: u8 = 2;
const CLOSE: u8 = 4;

/// Lies in memory that the parent and its children share.
#[derive(Debug, Default)]
pub(super) struct FromChildren(AtomicU8);

/// What was asked for since the last look.
pub(super) struct Asked {
    pub(super) phase: Option<LifecyclePhase>,
    pub(super) close: bool,
}

impl FromChildren {
    pub(super) fn ask(&self, phase: LifecyclePhase) {
        let bits = match phase {
            LifecyclePhase::Serving => 0,
            LifecyclePhase::Draining => DRAIN,
            LifecyclePhase::Aborting => ABORT,
        };
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    pub(super) fn ask_to_close(&self) {
        self.0.fetch_or(CLOSE, Ordering::SeqCst);
    }

    pub(super) fn take(&self) -> Asked {
        let bits = self.0.swap(0, Ordering::SeqCst);
        Asked {
            phase: match bits {
                bits if bits & ABORT != 0 => Some(LifecyclePhase::Aborting),
                bits if bits & DRAIN != 0 => Some(LifecyclePhase::Draining),
                _ => None,
            },
            close: bits & CLOSE != 0,
        }
    }
}
