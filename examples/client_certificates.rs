//! Greets each client by the subject of its certificate, and says which name the client asked for.
//! A client without a certificate of the CA is refused in the handshake.
//!
//! `cargo run --example client_certificates HOST:PORT CERT.pem KEY.pem CLIENTS_CA.pem`, then
//! `openssl s_client -connect HOST:PORT -servername NAME -cert C.pem -key C.key`.

use std::io::Write;

use socketserver::{
    Builder, Error, Next, Result, StreamRequest, StreamRequestHandler, Tls, shutdown_on_ctrl_c,
};
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Default)]
struct Greeter {
    subject: String,
    asked_for: String,
}

impl StreamRequestHandler for Greeter {
    /// Called after the handshake, so the certificate was checked already.
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        let chain = request.peer_certificates().unwrap_or_default();
        let own = chain
            .first()
            .ok_or_else(|| Error::handler("no certificate"))?;
        let (_, certificate) = X509Certificate::from_der(own).map_err(Error::handler)?;
        self.subject = certificate.subject().to_string();
        self.asked_for = request
            .server_name()
            .unwrap_or_else(|| "no name".to_owned());
        Ok(())
    }

    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        let Greeter { subject, asked_for } = self;
        while request.rfile.take_line(1024)?.is_some() {
            writeln!(
                request.wfile,
                "Hello, {subject}. You asked for {asked_for}."
            )?;
        }
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, certificate, key, clients_ca] = &arguments[..] else {
        let usage = "usage: client_certificates HOST:PORT CERT.pem KEY.pem CLIENTS_CA.pem";
        return Err(Error::handler(usage));
    };
    let tls =
        Tls::from_pem_files(certificate, key, &[])?.require_client_certificates(clients_ca)?;
    let mut server = Builder::new()
        .tls(Some(tls))
        .tcp(address, |_| Greeter::default())?;
    shutdown_on_ctrl_c(server.handle())?;
    writeln!(
        std::io::stdout(),
        "greeter listening on {}",
        server.server_address().url("tls")
    )?;
    server.serve_forever()
}
