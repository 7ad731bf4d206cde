//! The checks of `fuzz/` on stable Rust: seeds, and mutations of them that are the same in
//! every run. It finds what is easy to find; the fuzzer itself goes deeper.

use socketserver_handlers::accounts::{basic, share};
use socketserver_handlers::files::form;
use socketserver_handlers::ftp::client as ftp_client;
use socketserver_handlers::http::protocol::{
    accept_encoding, chunked, conditional, digest_fields, head, range, target, tus_fields,
};
use socketserver_handlers::ping::packet;
use socketserver_handlers::time::sntp;
use socketserver_handlers::{auth, exec, ftp, transfer, upload};

const MUTATIONS: usize = 20_000;
/// Longer inputs are slow to check and tell nothing new.
const MAX_LENGTH: usize = 300;

#[test]
fn accepted_codings_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"gzip, deflate, br, zstd",
        b"br;q=1.0, gzip;q=0.8, *;q=0.1",
        b"identity;q=0.5 ,\tzstd ; Q=0.001",
        b"*;q=0",
    ];
    mutate(seeds, b";;,,q==001.* \t", accept_encoding::check);
}

#[test]
fn chunked_bodies_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"5\r\nhello\r\n0\r\n\r\nGET /",
        b"A;name=\"x y\"\r\n0123456789\r\n00;last\r\nDigest: a\r\nX:\r\n\r\n",
        b"1 ;a\r\nx\r\n2\r\n\r\n\r\n0\r\n\r\n",
        b"fffffffffffffff\r\n",
    ];
    mutate(seeds, b"\r\n\r\n;;= \t:00159aAfF", chunked::check);
}

#[test]
fn conditional_headers_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"*",
        b"\"a\"",
        b"W/\"a\"",
        b"\"b\", W/\"a\" ,\t\"c\"",
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
    ];
    mutate(seeds, b"\"\"W/*, \t:0919", conditional::check);
}

#[test]
fn lines_of_ftp_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"USER ada\r\nPASS secret\r\nNOOP\n",
        b"\xff\xf4\xff\xf2ABOR\r\n",
        b"CWD a\xff\xffb\r\0c\r\n\r\n",
    ];
    mutate(seeds, b"\r\n\r\n\xff\xff\xf4\xfb \0", ftp::command::check);
}

#[test]
fn arguments_of_ftp_hold_under_mutation() {
    let addresses: &[&[u8]] = &[b"127,0,0,1,4,1", b"|1|1.2.3.4|80|", b"|2|::1|5282|", b"ALL"];
    mutate(addresses, b",,||..::0129", ftp::address::check);
    mutate(
        &[b"type;size;", b"unix.mode;X;"],
        b";;.txTX ",
        ftp::facts::check,
    );
    mutate(
        &[b"-la a*b", b"-- [a-c]?", b"*.txt"],
        b"--  **?[]!^",
        ftp::listing::check,
    );
}

#[test]
fn request_targets_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"/",
        b"/a/b.txt?c=d",
        b"/a/../b/./c//d/",
        b"/%2e%2E/%2f%5c%00%252e",
        b"/caf%C3%A9/%ff\xff?%zz",
    ];
    mutate(seeds, b"//..%%?2eEfF5c0\\#", target::check);
}

#[test]
fn request_heads_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        b"POST http://h:80/x?y HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n\
          hello",
        b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n",
    ];
    mutate(seeds, b"\r\n\r\n  ::\t\0,;/19", head::check);
}

#[test]
fn ranges_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"bytes=0-499",
        b"bytes=500-",
        b"bytes=-1",
        b"Bytes=0-0, 5-9 ,,\t-3",
        b"bytes=18446744073709551615-18446744073709551616",
    ];
    mutate(seeds, b"--,,==0199 \t", range::check);
}

#[test]
fn digest_fields_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
        b"md5=:AAAA:;a;b=1.5;c=\"x\\\",:\",\tunknown-*=::",
        b"sha-512=:AA==:, sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:",
        b"sha-256=10, md5=3;a,\tsha=0, unknown=7",
    ];
    mutate(seeds, b"::==,; \t\"\\aA0*-", digest_fields::check);
}

#[test]
fn forms_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"b\n--b\r\nContent-Disposition: form-data; filename=\"a\"\r\n\r\nx\r\n--b--",
        b"b\npreamble\r\n--b \r\nContent-Disposition:form-data;filename=../a\r\n\r\n--b\r\n\
          content-disposition: form-data\r\n\r\ny\r\n--b--\r\n",
        b"-- b\n---- b\r\nContent-Disposition: form-data; filename=\"a\\\"%22\"; x=\r\n\r\n\r\n\
          \r\n---- b-\r\n---- b--",
        b"form-data; a=\"b\\\"\"; c=d;\n",
    ];
    mutate(seeds, b"--\r\n\r\n--b;=\"\\ /", form::check);
}

#[test]
fn tus_fields_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"filename d29ybGRfZG9taW5hdGlvbl9wbGFuLnBkZg==,is_confidential",
        b"relativePath YS9iLnR4dA==, filename Yi50eHQ= ,\tother",
        b"mtime MTcwMDAwMDAwMC41,lastModified MTcwMDAwMDAwMDUwMA==,filename Yg==",
        b"sha1 Kq5sNclPz7QV2+lfQIuc6R7oRu0=",
        b"md5 kAFQmDzST7DWlj99KOF/cg==",
        b"18446744073709551615",
    ];
    mutate(seeds, b"  ,,==AZ09+/", tus_fields::check);
}

#[test]
fn pings_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"Ping 1 1700000000.000001",
        b"PING 2 1700000000.123456 XXXX",
        b"Ping 3 1700000000.123456 split=0123abcd:0000000000 xx",
        b"PING 3 1700000000.123456 SPLIT=0123ABCD:0000000017",
    ];
    mutate(seeds, b"  ..::==0019aAsS", packet::check);
}

#[test]
fn proxy_headers_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET",
        b"PROXY TCP6 2001:db8::1 ::ffff:192.0.2.1 1 65535\r\n",
        b"PROXY UNKNOWN ffff::1 anything\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0cabcdefghijkl",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x14abcdefghijkl\x01\x00\x02h2\x04\x00\x00",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24abcdefghijklmnopabcdefghijklmnopabcd",
    ];
    mutate(
        seeds,
        b"  ::..\r\n\0\x01\x02\x1109f",
        socketserver::fuzzing::proxy,
    );
}

#[test]
fn transferred_objects_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        br#"{"filename": "a.txt", "filedata": "aGVsbG8="}"#,
        br#"{"filedata":"\/\/+\u002fAA==","filename":"\ud83d\ude00 \u0000"}"#,
        br#" { "x" : [ { "y" : [ ] } , -1.5e+7 , true , null ] , "filename" : "" , "filedata" : "" } "#,
    ];
    mutate(seeds, b"\"\"\\\\{}[],:=AQu0e-.d8", transfer::decode::check);
}

#[test]
fn sntp_packets_hold_under_mutation() {
    let packet = |first: u8, rest: u8| [&[first][..], &[rest; 47]].concat();
    let reply = [&packet(0x24, 1)[..12], b"LOCL", &[0xED; 32]].concat();
    let seeds: &[&[u8]] = &[
        &packet(0x23, 0),
        &packet(0x1B, 0xFF),
        &packet(0xE4, 0),
        &reply,
        &[0x23; 68],
    ];
    mutate(
        seeds,
        b"\x08\x0B\x1B\x21\x23\x24\xE4\x00\x01\x10\x80\xFF",
        sntp::check,
    );
}

#[test]
fn what_a_server_of_ftp_sends_holds_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"211-Features\r\n HASH SHA-1*;MD5\r\n MLST type*;\r\n REST STREAM\r\n211 End\r\n",
        b"227 Entering Passive Mode (127,0,0,1,25,46)\r\n",
        b"229 Entering Extended Passive Mode (|||6446|)\r\n",
        b"213 SHA-256 0-5 900150983cd24fb0d6963f7d28e17f72 a\r\n",
        b"type=file;size=5;modify=20240229235959.25; a b; c\r\n",
        b"type=OS.unix=slink:/x; ../l\r\n",
        b"-rw-r--r--    1 1000     1000           12 Feb 29 13:46 a b\r\n",
        b"lrwxrwxrwx 1 u g 5 2024-01-02 03:04 l -> x\r\n",
        b"11-05-24  01:46PM       <DIR>          d e\r\n",
    ];
    mutate(seeds, b"\r\n -;=/.,|():0229", ftp_client::check);
}

#[test]
fn requests_of_exec_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"\x0d\0\0\0{\"cmd\": \"ls\"}",
        b"\x17\0\0\0{\"x\": [1], \"cmd\":\"\\u00e9\"}",
        b"ls -l\r\n",
        b"a\n",
        "naïve text".as_bytes(),
    ];
    mutate(seeds, b"\0\0\0\n\r \x1f\"{}:\\cmd", exec::request::check);
}

#[test]
fn key_files_hold_under_mutation() {
    let seeds: &[&[u8]] = &[b"secret\n", b"# old\r\nid:key\r\n\r\nA_-9:x:y", b":\n::\n#"];
    mutate(seeds, b"::\n\r\n#_-a \xff\0", auth::keys::check);
}

#[test]
fn basic_credentials_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
        b"basic  dGVzdDoxMjPCow==",
        b"Bearer x",
        b"Basic Og==",
    ];
    mutate(seeds, b"  ==Bb:OYTpi/+", basic::check);
}

#[test]
fn share_tokens_hold_under_mutation() {
    let token = [b'A'; 64];
    let seeds: &[&[u8]] = &[
        &token,
        b"share=AAAAAAAAAAAAAAAA_-89",
        b"x=1&share=a&share=b",
        &[b'_'; 64],
    ];
    mutate(seeds, b"share=&=&A_-+/=9", share::check);
}

/// Checks the seeds and their mutations; `favourites` are bytes that mean something there.
fn mutate(seeds: &[&[u8]], favourites: &[u8], check: fn(&[u8])) {
    for seed in seeds {
        check(seed);
    }
    let mut random = Xorshift(0x9e37_79b9_7f4a_7c15);
    let mut data = Vec::new();
    for _ in 0..MUTATIONS {
        // Now and then a fresh start, else one mutation more on top of the last.
        if data.is_empty() || random.below(4) == 0 {
            data = seeds[random.below(seeds.len())].to_vec();
        }
        mutate_once(&mut data, seeds, favourites, &mut random);
        data.truncate(MAX_LENGTH);
        let input = data.clone();
        let outcome = std::panic::catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "failed for b\"{}\"", data.escape_ascii());
    }
}

fn mutate_once(data: &mut Vec<u8>, seeds: &[&[u8]], favourites: &[u8], random: &mut Xorshift) {
    let at = random.below(data.len() + 1);
    let end = at + random.below(data.len() - at + 1).min(8);
    match random.below(6) {
        0 => data.insert(at, favourites[random.below(favourites.len())]),
        1 => data.insert(at, random.below(256).to_le_bytes()[0]),
        2 => drop(data.drain(at..end)),
        3 => data.extend_from_within(at..end),
        4 => {
            let seed = seeds[random.below(seeds.len())];
            data.truncate(at);
            data.extend_from_slice(&seed[random.below(seed.len())..]);
        }
        _ => {
            if let Some(byte) = data.get_mut(at) {
                *byte ^= 1 << random.below(8);
            }
        }
    }
}

/// Marsaglia's xorshift64: the same numbers in every run, and no dependency.
struct Xorshift(u64);

impl Xorshift {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).map_or(0, |number| number % bound)
    }
}

#[test]
fn upload_headers_hold_under_mutation() {
    let seeds: &[&[u8]] = &[
        b"\x24\0\0\0{\"file_size\": 3, \"file_name\": \"a.txt\"}abc",
        br#"{"file_name":"../\u00e9","file_size":18446744073709551615,"resume":true,"mtime":-1.5e9}"#,
        br#"{"md5":"900150983CD24FB0D6963F7D28E17F72","file_size":0,"file_name":"","x":[{"file_size":1}],"resume":false}"#,
    ];
    mutate(seeds, b"\"\"{}[],:0919.-eE\\\0\x01", upload::header::check);
}
