//! Which threads are calling a server's handlers.

use std::cell::RefCell;

use super::Core;

thread_local! {
    /// The servers whose handlers this thread is calling: a handler may run another server.
    static SERVERS: RefCell<Vec<*const Core>> = const { RefCell::new(Vec::new()) };
}

/// Marks the present thread as one that calls handlers of a server, until it is dropped.
pub(crate) struct HandlerThread(());

impl Core {
    /// To be held while handlers are called. Costs a push to a thread's own list.
    pub(crate) fn enter_handler(&self) -> HandlerThread {
        SERVERS.with_borrow_mut(|servers| servers.push(self));
        HandlerThread(())
    }

    /// Whether the calling thread must not wait for the server's end, as that waits for the thread.
    pub(crate) fn is_called_by_handler(&self) -> bool {
        let is_this = |server: &*const Core| std::ptr::eq(*server, self);
        // Fails only while the thread ends, which calls no handler any more.
        let found = SERVERS.try_with(|servers| servers.borrow().iter().any(is_this));
        found.unwrap_or(false)
    }
}

impl Drop for HandlerThread {
    fn drop(&mut self) {
        SERVERS.with_borrow_mut(|servers| servers.pop());
    }
}
