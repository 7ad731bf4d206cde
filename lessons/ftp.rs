//! Lets everybody read the folder `www` by FTP: `cargo run --bin lesson-ftp [HOST:PORT]`.

use std::io::Write;

use socketserver::{Builder, Listen, Mailbox, MailboxSender, Next, Outbox, Result};
use socketserver::{RunningListener, StreamRequest, StreamRequestHandler, shutdown_on_ctrl_c};

/// A data connection. It sends its `Outbox`, which can send bytes to the client, to `Control`.
struct Data(MailboxSender<Outbox>);

impl StreamRequestHandler for Data {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let _ = self.0.try_send(request.outbox(16 << 20));
        Ok(())
    }

    fn handle(&mut self, _: &mut StreamRequest) -> Result<Next> {
        Ok(Next::Close) // the client has closed the connection, or has sent bytes
    }
}

#[derive(Default)]
struct Control {
    port: Option<(RunningListener, Mailbox<Outbox>)>, // `Data` sends its outbox to the mailbox
    file: Option<Vec<u8>>, // sent when the data connection is established
}

impl Control {
    /// EPSV: opens a port for one data connection.
    fn listen(&mut self, request: &mut StreamRequest) -> Result<()> {
        let (sender, mailbox) = request.mailbox(1);
        let class = move |_: &_| Data(sender.clone());
        let once = Listen::new().once(None);
        let listener = request.server.listen("127.0.0.1:0", once, class)?;
        let port = listener.server_address().inet().map_or(0, |at| at.port());
        self.port = Some((listener, mailbox));
        write!(request.wfile, "229 Connect to port (|||{port}|)\r\n")?;
        Ok(())
    }

    fn obey(&mut self, request: &mut StreamRequest, line: &str) -> Result<()> {
        let reply = match line.split_once(' ').unwrap_or((line, "")) {
            ("USER", _) => "230 Everybody may read.",
            ("TYPE", _) => "200 Files are sent as they are.",
            ("EPSV", _) => return self.listen(request),
            ("RETR", name) if !name.contains('/') => {
                let file = std::fs::read(format!("www/{name}"));
                let found = file.map(|file| self.file = Some(file));
                found.map_or("550 There is no such file.", |()| "150 The file follows.")
            }
            _ => "502 This server does not implement the command.",
        };
        Ok(write!(request.wfile, "{reply}\r\n")?)
    }
}

impl StreamRequestHandler for Control {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"220 A small FTP server.\r\n")?)
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        while let Some(line) = request.rfile.take_line(4096)? {
            let line = String::from_utf8_lossy(line).trim_end().to_owned();
            self.obey(request, &line)?;
        }
        // The client may connect before or after it sends RETR.
        let port = self.port.as_ref().filter(|_| self.file.is_some());
        if let Some(data) = port.and_then(|(_, mailbox)| mailbox.take()) {
            let sent = data.try_send(self.file.take().unwrap_or_default());
            data.shutdown_write(); // the end of the connection marks the end of the file
            let reply = sent.map_or("426 The file is too large.", |()| "226 The file is sent.");
            write!(request.wfile, "{reply}\r\n")?;
        }
        if request.rfile.is_eof() {
            return Ok(Next::Close);
        }
        Ok(Next::Wait)
    }
}

fn main() -> Result<()> {
    let given = std::env::args().nth(1);
    let address = given.as_deref().unwrap_or("127.0.0.1:2121");
    let mut server = Builder::new().tcp(address, |_| Control::default())?;
    shutdown_on_ctrl_c(server.handle())?;
    let url = server.server_address().url("ftp");
    writeln!(std::io::stdout(), "ftp listening on {url}")?;
    server.serve_forever()
}
