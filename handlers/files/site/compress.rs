//! Compresses files. The result is cached, so each file is compressed only once.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use socketserver_http::protocol::accept_encoding::Coding;

/// Takes about 10 ms for 100 KiB. Higher qualities take many times as long and save a few percent.
const BROTLI_QUALITY: i32 = 5;
/// 2^19 bytes. Files have at most a few MiB, so a larger window would mainly use more memory.
const BROTLI_WINDOW: i32 = 19;
const ZSTD_LEVEL: i32 = 6;

/// Compresses content with a coding.
pub(crate) fn compress(coding: Coding, plain: &[u8]) -> io::Result<Vec<u8>> {
    match coding {
        Coding::Brotli => {
            let parameters = brotli::enc::BrotliEncoderParams {
                quality: BROTLI_QUALITY,
                lgwin: BROTLI_WINDOW,
                size_hint: plain.len(),
                ..Default::default()
            };
            let mut coded = Vec::new();
            brotli::BrotliCompress(&mut &plain[..], &mut coded, &parameters)?;
            Ok(coded)
        }
        Coding::Zstd => zstd::bulk::compress(plain, ZSTD_LEVEL),
        Coding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain)?;
            encoder.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn read_all(mut reader: impl Read) -> Vec<u8> {
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        all
    }

    #[test]
    fn what_is_coded_can_be_decoded() {
        let text = "What is repeated is shorter. ".repeat(1000);
        for coding in Coding::ALL {
            for plain in ["", "a", &text] {
                let coded = compress(coding, plain.as_bytes()).unwrap();
                let decoded = match coding {
                    Coding::Brotli => read_all(brotli::Decompressor::new(&coded[..], 4096)),
                    Coding::Zstd => zstd::bulk::decompress(&coded, 1 << 20).unwrap(),
                    Coding::Gzip => read_all(flate2::read::GzDecoder::new(&coded[..])),
                };
                assert_eq!(String::from_utf8(decoded).unwrap(), plain, "{coding:?}");
                assert!(
                    plain.len() < 1000 || coded.len() < plain.len() / 20,
                    "{coding:?}: {}",
                    coded.len()
                );
            }
        }
    }
}
