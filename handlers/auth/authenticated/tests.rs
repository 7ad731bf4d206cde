use socketserver::Builder;
use socketserver::testing::TestConnection;

use super::*;
use crate::auth::challenge::Digest;
use crate::auth::keys::parse;

const HEAD: Duration = Duration::from_secs(10);
const DIGESTS: [Digest; 3] = [Digest::Sha256, Digest::Sha512, Digest::Md5];

fn gate(file: &[u8], digest: Digest) -> Arc<Gate> {
    Arc::new(Gate::new(
        Arc::new(Keys::new(parse(file).unwrap(), digest)),
        Some(HEAD),
    ))
}

fn connect<H: StreamRequestHandler>(gate: &Arc<Gate>, inner: fn() -> H) -> TestConnection {
    let gate = Arc::clone(gate);
    TestConnection::new(Builder::new(), move |_| {
        Authenticated::new(inner(), Arc::clone(&gate))
    })
}

fn shout() -> impl StreamRequestHandler {
    |request: &mut StreamRequest| {
        let bytes = request.rfile.take_all().to_ascii_uppercase();
        request.wfile.write_all(&bytes)?;
        Ok(if request.rfile.is_eof() {
            Next::Close
        } else {
            Next::Wait
        })
    }
}

/// Returns the correct answer to the challenge that was received.
fn answer(client: &mut TestConnection, digest: Digest, key: &[u8]) -> Vec<u8> {
    let challenge = client.received();
    assert_eq!(challenge.len(), CHALLENGE);
    digest.answer(&parse(key).unwrap()[0], &challenge)
}

#[test]
fn the_right_answer_opens_cut_at_every_byte() {
    for digest in DIGESTS {
        let gate = gate(b"secret", digest);
        for cut in 0..=digest.answer_length() {
            let mut client = connect(&gate, shout);
            let answer = answer(&mut client, digest, b"secret");
            client.send(&answer[..cut]).send(&answer[cut..]);
            assert_eq!(client.received(), b"", "{digest:?}, cut at {cut}");
            client.send(b"hello");
            assert_eq!(client.received(), b"HELLO", "{digest:?}, cut at {cut}");
        }
    }
}

#[test]
fn what_is_glued_behind_the_answer_reaches_the_handler_and_so_does_the_end() {
    let gate = gate(b"secret", Digest::Sha256);
    let mut client = connect(&gate, shout);
    let answer = [
        &answer(&mut client, Digest::Sha256, b"secret")[..],
        b"glued",
    ]
    .concat();
    client.send(&answer).finish();
    assert_eq!(client.received(), b"GLUED");
    assert!(client.is_closed());
}

#[test]
fn every_key_opens_and_no_other_does() {
    let long = b"0123456789".repeat(20);
    let gate = gate(
        &[b"one\nlong:", &long[..], b"\nthree"].concat(),
        Digest::Sha256,
    );
    for (key, opens) in [
        (&b"one"[..], true),
        (&long, true),
        (b"three", true),
        (b"two", false),
        (b"on", false),
    ] {
        let mut client = connect(&gate, shout);
        let answer = answer(&mut client, Digest::Sha256, key);
        client.send(&answer).send(b"x");
        assert_eq!(
            client.received(),
            if opens { &b"X"[..] } else { b"" },
            "{}",
            key.escape_ascii()
        );
        assert_eq!(client.is_closed(), !opens, "{}", key.escape_ascii());
    }
}

#[test]
fn a_changed_bit_anywhere_is_wrong() {
    for byte in 0..32 {
        let gate = gate(b"secret", Digest::Sha256);
        let mut client = connect(&gate, shout);
        let mut answer = answer(&mut client, Digest::Sha256, b"secret");
        answer[byte] ^= 1 << (byte % 8);
        client.send(&answer);
        assert!(
            client.is_closed() && client.received().is_empty(),
            "byte {byte}"
        );
    }
}

#[test]
fn the_handler_learns_whose_key_it_was() {
    let named = || {
        |request: &mut StreamRequest| {
            let identity = request.identity.clone();
            request.rfile.take_all();
            request
                .wfile
                .write_all(identity.as_deref().unwrap_or("nobody").as_bytes())?;
            Ok(Next::Wait)
        }
    };
    let gate = gate(b"anonymous\nci:first\ndeploy:second", Digest::Sha512);
    for (key, identity) in [
        (&b"first"[..], "ci"),
        (b"second", "deploy"),
        (b"anonymous", "nobody"),
    ] {
        let mut client = connect(&gate, named);
        let answer = answer(&mut client, Digest::Sha512, key);
        client.send(&answer).send(b"?");
        assert_eq!(client.received(), identity.as_bytes());
    }
}

#[test]
fn silence_and_half_an_answer_are_closed_at_the_head_time_out_without_a_byte() {
    let gate = gate(b"secret", Digest::Sha256);
    for sent in [0, 31] {
        let mut client = connect(&gate, shout);
        let answer = answer(&mut client, Digest::Sha256, b"secret");
        client
            .advance(HEAD - Duration::from_millis(1))
            .send(&answer[..sent]);
        assert!(!client.is_closed(), "{sent}");
        client.advance(Duration::from_millis(1));
        assert!(client.is_closed() && client.received().is_empty(), "{sent}");
    }
}

#[test]
fn an_end_after_half_an_answer_is_a_failure_and_a_mere_look_is_none() {
    let gate = gate(b"secret", Digest::Sha256);
    for _ in 0..20 {
        assert!(connect(&gate, shout).finish().is_closed());
    }
    for _ in 0..6 {
        let mut client = connect(&gate, shout);
        assert_eq!(client.received().len(), CHALLENGE);
        assert!(client.send(b"half").finish().is_closed());
    }
    assert_eq!(connect(&gate, shout).received(), b"");
}

#[test]
fn after_six_failures_the_challenge_comes_later_and_the_right_answer_still_opens() {
    let gate = gate(b"secret", Digest::Md5);
    for delay in [0, 0, 0, 0, 0, 0, 250, 500, 1000, 2000, 2000].map(Duration::from_millis) {
        let mut client = connect(&gate, shout);
        if !delay.is_zero() {
            client.advance(delay - Duration::from_millis(1));
            assert_eq!(client.received(), b"", "{delay:?}");
            client.advance(Duration::from_millis(1));
        }
        assert_eq!(client.received().len(), CHALLENGE, "{delay:?}");
        client.send(&[0; 16]);
        assert!(client.is_closed(), "{delay:?}");
    }
    let mut client = connect(&gate, shout);
    client.advance(Duration::from_secs(2));
    let answer = answer(&mut client, Digest::Md5, b"secret");
    client.send(&answer).send(b"hello");
    assert_eq!(client.received(), b"HELLO");
}

#[test]
fn replaced_keys_count_from_the_next_answer_on() {
    let gate = gate(b"old", Digest::Sha256);
    let (mut early, mut open) = (connect(&gate, shout), connect(&gate, shout));
    let right = answer(&mut open, Digest::Sha256, b"old");
    open.send(&right);
    gate.keys.replace(parse(b"new").unwrap());
    let late = answer(&mut early, Digest::Sha256, b"old");
    assert!(early.send(&late).is_closed());
    open.send(b"still here");
    assert_eq!(open.received(), b"STILL HERE");
    let mut client = connect(&gate, shout);
    let right = answer(&mut client, Digest::Sha256, b"new");
    client.send(&right).send(b"x");
    assert_eq!(client.received(), b"X");
}

/// A handler that sends the name of each call.
struct Chatty;

impl StreamRequestHandler for Chatty {
    fn setup(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"setup ")?)
    }
    fn handle(&mut self, request: &mut StreamRequest) -> Result<Next> {
        request.rfile.take_all();
        request.wfile.write_all(b"handle ")?;
        Ok(Next::Wait)
    }
    fn finish(&mut self, request: &mut StreamRequest) -> Result<()> {
        Ok(request.wfile.write_all(b"finish")?)
    }
    fn on_timeout(&mut self, request: &mut StreamRequest, what: Timeout) {
        // A client that has disconnected does not receive it.
        let _ = write!(request.wfile, "{what:?} ");
    }
    fn speaks_first(&self) -> bool {
        true
    }
}

#[test]
fn the_inner_handler_lives_its_whole_life_behind_the_gate_and_none_before() {
    let gate = gate(b"secret", Digest::Sha256);
    let mut client = connect(&gate, || Chatty);
    let right = answer(&mut client, Digest::Sha256, b"secret");
    client.send(&right);
    assert_eq!(client.received(), b"setup handle ");
    client.advance(Duration::from_secs(600));
    assert_eq!(client.received(), b"Idle finish");
    let mut client = connect(&gate, || Chatty);
    client.received();
    assert!(client.send(&[0; 32]).is_closed());
    assert_eq!(client.received(), b"");
    let mut client = connect(&gate, || Chatty);
    client.received();
    client.shutdown();
    assert_eq!(client.received(), b"");
}
