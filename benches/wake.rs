//! The time from `Waker::wake` in another thread to `handle`, for `connections.py`:
//! `wake COUNT PAUSE_US`. Prints one line of JSON with the median and the 99th percentile.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{self, Sender};
use std::time::{Duration, Instant};

use socketserver::{
    Builder, Error, Next, Result, StreamRequest, StreamRequestHandler, ThreadingMixIn, Waker,
};

struct Shared {
    begun: Instant,
    /// Nanoseconds from `begun` to the present wake.
    woken_at: AtomicU64,
    handled: AtomicUsize,
}

impl Shared {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }
}

struct Woken {
    shared: Arc<Shared>,
    waker: Sender<Waker>,
    latencies: Sender<u64>,
}

impl StreamRequestHandler for Woken {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        // Fails only when the program ends.
        let _ = self.waker.send(request.waker());
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if request.cause().is_woken() {
            let latency = self.shared.now() - self.shared.woken_at.load(SeqCst);
            let _ = self.latencies.send(latency);
            self.shared.handled.fetch_add(1, SeqCst);
        }
        Ok(Next::Wait)
    }
}

fn main() -> Result<()> {
    let arguments: Vec<usize> = std::env::args()
        .skip(1)
        .filter_map(|text| text.parse().ok())
        .collect();
    let &[count @ 1..=1_000_000, pause] = &arguments[..] else {
        return Err(Error::handler("usage: wake COUNT PAUSE_US"));
    };
    let pause = Duration::from_micros(pause as u64);
    let shared = Arc::new(Shared {
        begun: Instant::now(),
        woken_at: AtomicU64::new(0),
        handled: AtomicUsize::new(0),
    });
    let server = Builder::new()
        .process(ThreadingMixIn::new())
        .tcp("127.0.0.1:0", |_: &_| {
            |_: &mut StreamRequest| Ok(Next::Close)
        })?
        .spawn()?;
    let (_client, stream) = UnixStream::pair()?;
    let (waker, wakers) = mpsc::channel();
    let (sender, latencies) = mpsc::channel();
    let handler = Woken {
        shared: Arc::clone(&shared),
        waker,
        latencies: sender,
    };
    server.handle().adopt(stream, handler)?;
    let waker = wakers
        .recv()
        .map_err(|_| Error::handler("the connection ended before its setup"))?;
    for number in 0..count {
        loop {
            std::thread::sleep(pause);
            if shared.handled.load(SeqCst) == number {
                break;
            }
        }
        shared.woken_at.store(shared.now(), SeqCst);
        waker.wake();
    }
    let mut micros: Vec<f64> = latencies
        .iter()
        .take(count)
        .map(|nanos| nanos as f64 / 1000.0)
        .collect();
    micros.sort_by(f64::total_cmp);
    let percentile = |percent| micros.get(count * percent / 100).copied();
    let (Some(median), Some(p99)) = (percentile(50), percentile(99)) else {
        return Err(Error::handler("the connection ended before the last wake"));
    };
    writeln!(
        std::io::stdout(),
        "{{\"median_us\": {median:.3}, \"p99_us\": {p99:.3}}}"
    )?;
    server.stop()
}
