//! One handler, four concurrency models: `cargo run --bin lesson-socketserver [MODEL]
//! [HOST:PORT]`, where MODEL is sequential, threads, processes or pool.

use std::io::Write;
use std::process;
use std::thread;
use std::time::Duration;

use socketserver::{
    Builder, ForkingMixIn, Next, Result, StreamRequest, StreamRequestHandler, Synchronous,
    ThreadPerRequest, ThreadingMixIn, shutdown_on_ctrl_c,
};

struct Thinker;

impl StreamRequestHandler for Thinker {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        tell(request, "1 setup")
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        if !request.rfile.buffer().is_empty() {
            tell(request, "2 handle")?;
            thread::sleep(Duration::from_millis(300));
            request
                .wfile
                .write_all(&request.rfile.take_all().to_ascii_uppercase())?;
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }

    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        request.wfile.flush()?;
        tell(request, "3 finish; 4 close")
    }
}

fn tell(request: &StreamRequest, step: &str) -> Result<()> {
    let (process, client) = (process::id(), &request.client_address);
    writeln!(
        std::io::stderr(),
        "process {process} {:?} {client}: {step}",
        thread::current().id()
    )?;
    Ok(())
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().unwrap_or_else(|| "pool".to_owned());
    let address = arguments
        .next()
        .unwrap_or_else(|| "127.0.0.1:7007".to_owned());
    let builder = match model.as_str() {
        "sequential" => Builder::new().process(Synchronous),
        "threads" => Builder::new().process(ThreadPerRequest::new()),
        "processes" => Builder::new().process(ForkingMixIn::new()),
        _ => Builder::new().process(ThreadingMixIn::new()),
    };
    let mut server = builder.tcp(&address, |_| Thinker)?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "{model} listening on {}",
        server.server_address().url("tcp")
    )?;
    server.serve_forever()
}
