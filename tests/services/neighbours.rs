//! Other servers, which tests run beside ours: on a socket file each, so that no port is taken
//! twice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use crate::http::raw::Answer;
use crate::support::{BoundedCommand, PATIENCE, Process, TestDir, wait_until};

/// A server with a folder of its own, ended at the end of the test.
pub(crate) struct Neighbour {
    _process: Process,
    dir: TestDir,
}

impl Neighbour {
    /// Starts nginx as one process, with these lines in its `http` block; `{dir}` in them is its
    /// folder, where it listens on `socket`.
    pub(crate) fn nginx(name: &str, http: &str) -> Neighbour {
        let config = format!(
            "daemon off; master_process off; pid {{dir}}/pid; error_log {{dir}}/error.log;
             events {{ worker_connections 256; }}
             http {{
                 access_log off; client_body_temp_path {{dir}}/body; proxy_temp_path {{dir}}/proxy;
                 fastcgi_temp_path {{dir}}/fastcgi; uwsgi_temp_path {{dir}}/uwsgi;
                 scgi_temp_path {{dir}}/scgi;
                 {http}
             }}"
        );
        Neighbour::start(
            "nginx",
            name,
            &config,
            &["-e", "{dir}/error.log", "-c", "{dir}/config"],
        )
    }

    /// Starts HAProxy with this configuration; `{dir}` in it is its folder, where it listens on
    /// `socket`.
    pub(crate) fn haproxy(name: &str, config: &str) -> Neighbour {
        Neighbour::start("haproxy", name, config, &["-db", "-f", "{dir}/config"])
    }

    fn start(program: &str, name: &str, config: &str, arguments: &[&str]) -> Neighbour {
        let dir = TestDir::new(name);
        let place = |text: &str| text.replace("{dir}", dir.as_str());
        dir.write("config", place(config));
        let log = std::fs::File::create(dir.join("log")).unwrap();
        let mut command = Command::new(program);
        command.args(arguments.iter().map(|argument| place(argument)));
        let process = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .start();
        let neighbour = Neighbour {
            _process: process,
            dir,
        };
        wait_until(&format!("{program} listens"), || {
            UnixStream::connect(neighbour.dir.join("socket")).is_ok()
        });
        neighbour
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.join("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// What it wrote into a file of its folder, or (`log`) on its standard output.
    pub(crate) fn file(&self, name: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.join(name)).unwrap()).into_owned()
    }
}

/// Sends bytes, and reads the first response. `None` is the connection's end, or an answer of
/// HTTP/0.9.
pub(crate) fn exchange(mut stream: impl Read + Write, bytes: &[u8]) -> Option<Answer> {
    // It may have seen enough before all is sent.
    let _ = stream.write_all(bytes);
    let (mut come, mut piece) = (Vec::new(), vec![0; 1 << 16]);
    loop {
        // A reset behind a refusal is an end too.
        let count = stream.read(&mut piece).unwrap_or(0);
        come.extend_from_slice(&piece[..count]);
        match first_answer(&come, bytes.starts_with(b"HEAD ")) {
            Ok(httparse::Status::Complete(answer)) => return Some(answer),
            Ok(httparse::Status::Partial) if count > 0 => {}
            _ => return None,
        }
    }
}

/// The first of the responses in these bytes, if it is whole.
fn first_answer(bytes: &[u8], of_head: bool) -> httparse::Result<Answer> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Response::new(&mut fields);
    let httparse::Status::Complete(length) = head.parse(bytes)? else {
        return Ok(httparse::Status::Partial);
    };
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let fields = head
        .headers
        .iter()
        .map(|field| (field.name.to_owned(), text(field.value)))
        .collect();
    let mut answer = Answer {
        status: head.code.unwrap_or(0),
        fields,
        body: Vec::new(),
    };
    if !of_head && !matches!(answer.status, 100..200 | 204 | 304) {
        let count = answer.field("Content-Length").parse().unwrap();
        match bytes[length..].get(..count) {
            Some(body) => body.clone_into(&mut answer.body),
            None => return Ok(httparse::Status::Partial),
        }
    }
    Ok(httparse::Status::Complete(answer))
}
