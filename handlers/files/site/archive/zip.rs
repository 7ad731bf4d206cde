//! Writes archives in the format zip, from beginning to end without seeking (PKWARE's APPNOTE
//! 6.3.10).
//!
//! Lengths and checksums follow the content (§4.3.9). Names are UTF-8 (§4.4.4, bit 11). Values that
//! need more than 32 bits are in the fields of ZIP64 (§4.5.3).

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use socketserver_http::engine::produce::Produced;

use super::{PIECE_SIZE, Writer};
use crate::files::site::listing::entries::{Facts, Kind};
use crate::files::site::media;

/// A 32-bit value which means that the real value is in the ZIP64 field.
const ELSEWHERE: u32 = u32::MAX;
/// From this size on, a file has ZIP64 fields, in bytes. It is a little less than 4 GiB, because
/// deflate can make content slightly longer.
const WIDE: u64 = (1 << 32) - (1 << 24);
/// Flags of an entry. Bit 3: lengths follow the content. Bit 11: the name is UTF-8.
const FOLLOWS: u16 = 1 << 3;
const UTF_8: u16 = 1 << 11;
/// The archive is made on Unix, by a program that supports version 4.5.
const MADE_BY: u16 = (3 << 8) | 45;
const STORED: u16 = 0;
const DEFLATED: u16 = 8;

/// A zip archive.
pub(super) struct Zip {
    zone: TimeZone,
    file: Option<Entry>,
    /// The encoder is reused for all files, because it has 300 KB of state.
    encoder: DeflateEncoder<Vec<u8>>,
    level: Compression,
    /// Bytes written so far.
    offset: u64,
    /// Number of entries so far.
    entries: u64,
    /// The directory at the end of the archive. The bytes before `sent` are already sent.
    directory: Vec<u8>,
    sent: usize,
    is_ended: bool,
}

/// An entry that is being written.
struct Entry {
    name: String,
    /// Time and date of MS-DOS (§4.4.6).
    dos: (u16, u16),
    /// Seconds since 1970.
    modified: i64,
    attributes: u32,
    /// The start of the entry in the archive.
    offset: u64,
    /// Whether the entry has ZIP64 fields.
    is_wide: bool,
    method: u16,
    crc: Crc,
    compressed: u64,
}

impl Zip {
    pub(super) fn new(zone: TimeZone) -> Zip {
        let level = Compression::fast();
        Zip {
            zone,
            file: None,
            encoder: DeflateEncoder::new(Vec::new(), level),
            level,
            offset: 0,
            entries: 0,
            directory: Vec::new(),
            sent: 0,
            is_ended: false,
        }
    }

    fn entry(&self, name: &[u8], facts: &Facts) -> Entry {
        let (kind, dos_attribute) = if facts.kind == Kind::Directory {
            (0o40_000, 0x10)
        } else {
            (0o100_000, 0)
        };
        let slash = if facts.kind == Kind::Directory {
            "/"
        } else {
            ""
        };
        Entry {
            name: String::from_utf8_lossy(name).into_owned() + slash,
            dos: dos_time(facts.modified, &self.zone),
            modified: facts.modified,
            attributes: ((kind | (facts.mode & 0o777)) << 16) | dos_attribute,
            offset: self.offset,
            is_wide: facts.kind == Kind::File && facts.size >= WIDE,
            method: if facts.kind == Kind::File {
                DEFLATED
            } else {
                STORED
            },
            crc: Crc::new(),
            compressed: 0,
        }
    }

    /// Counts the bytes that were written since `to` had the length `before`.
    fn count(&mut self, to: &[u8], before: usize) {
        self.offset += (to.len() - before) as u64;
    }

    fn list(&mut self, entry: &Entry, size: u64) {
        self.entries += 1;
        entry.write_central(&mut self.directory, size);
    }

    /// Writes the records after the directory (§4.3.14 to §4.3.16).
    fn write_end(&mut self) {
        let size = self.directory.len() as u64;
        let to = &mut self.directory;
        let is_wide =
            self.entries >= u64::from(u16::MAX) || size.max(self.offset) >= u64::from(ELSEWHERE);
        if is_wide {
            to.extend(0x0606_4b50_u32.to_le_bytes());
            to.extend(44_u64.to_le_bytes()); // the rest of this record
            push_16(to, &[MADE_BY, 45]);
            push_32(to, &[0, 0]);
            push_64(to, &[self.entries, self.entries, size, self.offset]);
            push_32(to, &[0x0706_4b50, 0]);
            push_64(to, &[self.offset + size]);
            push_32(to, &[1]);
        }
        let entries = u16::try_from(self.entries).unwrap_or(u16::MAX);
        push_32(to, &[0x0605_4b50]);
        push_16(to, &[0, 0, entries, entries]);
        push_32(to, &[narrow(size), narrow(self.offset)]);
        push_16(to, &[0]);
    }
}

impl Writer for Zip {
    fn directory(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()> {
        let (entry, before) = (self.entry(name, facts), to.len());
        entry.write_local(to);
        self.count(to, before);
        self.list(&entry, 0);
        Ok(())
    }

    fn begin_file(&mut self, name: &[u8], facts: &Facts, to: &mut Vec<u8>) -> io::Result<()> {
        let (entry, before) = (self.entry(name, facts), to.len());
        entry.write_local(to);
        self.count(to, before);
        self.file = Some(entry);
        if std::mem::replace(&mut self.level, level(name)) == self.level {
            self.encoder.reset(Vec::new())?;
        } else {
            self.encoder = DeflateEncoder::new(Vec::new(), self.level);
        }
        Ok(())
    }

    fn content(&mut self, bytes: &[u8], to: &mut Vec<u8>) -> io::Result<()> {
        let Some(entry) = &mut self.file else {
            return Ok(());
        };
        let before = to.len();
        entry.crc.update(bytes);
        self.encoder.write_all(bytes)?;
        entry.drain(&mut self.encoder, to);
        self.count(to, before);
        Ok(())
    }

    fn end_file(&mut self, to: &mut Vec<u8>) -> io::Result<()> {
        let Some(mut entry) = self.file.take() else {
            return Ok(());
        };
        let before = to.len();
        let size = self.encoder.total_in();
        self.encoder.try_finish()?;
        entry.drain(&mut self.encoder, to);
        push_32(to, &[0x0807_4b50, entry.crc.sum()]);
        if entry.is_wide {
            push_64(to, &[entry.compressed, size]);
        } else {
            push_32(to, &[narrow(entry.compressed), narrow(size)]);
        }
        self.count(to, before);
        self.list(&entry, size);
        Ok(())
    }

    fn end(&mut self, to: &mut Vec<u8>) -> io::Result<Produced> {
        if !std::mem::replace(&mut self.is_ended, true) {
            self.write_end();
        }
        let end = self.directory.len().min(self.sent + PIECE_SIZE);
        to.extend_from_slice(&self.directory[self.sent..end]);
        self.sent = end;
        Ok(if end == self.directory.len() {
            Produced::Over
        } else {
            Produced::More
        })
    }
}

impl Entry {
    fn drain(&mut self, encoder: &mut DeflateEncoder<Vec<u8>>, to: &mut Vec<u8>) {
        self.compressed += encoder.get_ref().len() as u64;
        to.append(encoder.get_mut());
    }

    fn flags(&self) -> u16 {
        UTF_8 | if self.method == DEFLATED { FOLLOWS } else { 0 }
    }

    fn version(&self) -> u16 {
        if self.is_wide { 45 } else { 20 }
    }

    /// The length of the name. A system opens no path longer than 65535 bytes: Linux's PATH_MAX is
    /// 4096.
    fn name_length(&self) -> u16 {
        u16::try_from(self.name.len()).unwrap_or(u16::MAX)
    }

    /// The extra field with the time of the last change in UTC. The time in the format of MS-DOS
    /// has no time zone.
    fn timestamp(&self) -> Vec<u8> {
        let Ok(modified) = i32::try_from(self.modified) else {
            return Vec::new();
        };
        let mut field = Vec::with_capacity(9);
        push_16(&mut field, &[0x5455, 5]);
        field.push(1);
        field.extend(modified.to_le_bytes());
        field
    }

    /// Writes the header before the content (§4.3.7).
    fn write_local(&self, to: &mut Vec<u8>) {
        let mut extra = self.timestamp();
        if self.is_wide {
            push_16(&mut extra, &[1, 16]);
            push_64(&mut extra, &[0, 0]);
        }
        let length = if self.is_wide { ELSEWHERE } else { 0 };
        push_32(to, &[0x0403_4b50]);
        push_16(
            to,
            &[
                self.version(),
                self.flags(),
                self.method,
                self.dos.0,
                self.dos.1,
            ],
        );
        push_32(to, &[0, length, length]);
        push_16(to, &[self.name_length(), extra.len() as u16]);
        to.extend(self.name.bytes());
        to.extend(extra);
    }

    /// Writes the entry's record in the directory at the end (§4.3.12).
    fn write_central(&self, to: &mut Vec<u8>, size: u64) {
        let mut wide = Vec::new();
        if self.is_wide {
            push_64(&mut wide, &[size, self.compressed]);
        }
        if self.offset >= u64::from(ELSEWHERE) {
            push_64(&mut wide, &[self.offset]);
        }
        let mut extra = self.timestamp();
        if !wide.is_empty() {
            push_16(&mut extra, &[1, wide.len() as u16]);
            extra.extend(wide);
        }
        let lengths = if self.is_wide {
            [ELSEWHERE; 2]
        } else {
            [narrow(self.compressed), narrow(size)]
        };
        push_32(to, &[0x0201_4b50]);
        push_16(
            to,
            &[
                MADE_BY,
                self.version(),
                self.flags(),
                self.method,
                self.dos.0,
                self.dos.1,
            ],
        );
        push_32(to, &[self.crc.sum(), lengths[0], lengths[1]]);
        push_16(to, &[self.name_length(), extra.len() as u16, 0, 0, 0]);
        push_32(to, &[self.attributes, narrow(self.offset)]);
        to.extend(self.name.bytes());
        to.extend(extra);
    }
}

fn push_16(to: &mut Vec<u8>, values: &[u16]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn push_32(to: &mut Vec<u8>, values: &[u32]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn push_64(to: &mut Vec<u8>, values: &[u64]) {
    to.extend(values.iter().flat_map(|value| value.to_le_bytes()));
}

fn narrow(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(ELSEWHERE)
}

/// The compression level for a file. Images, videos and archives are already compressed, so they
/// get the method "deflate" with level 0. The method "stored" can't be used: it needs the length
/// before the content.
fn level(name: &[u8]) -> Compression {
    use std::os::unix::ffi::OsStrExt;
    const PACKED: [&str; 12] = [
        "image/jpeg",
        "image/png",
        "image/gif",
        "image/webp",
        "image/avif",
        "video/",
        "audio/",
        "font/woff",
        "application/zip",
        "application/gzip",
        "application/x-7z",
        "application/zstd",
    ];
    let media_type = media::content_type(std::path::Path::new(std::ffi::OsStr::from_bytes(name)));
    if PACKED.iter().any(|packed| media_type.starts_with(packed)) {
        Compression::none()
    } else {
        Compression::fast()
    }
}

/// Time and date in the format of MS-DOS: local time, in steps of two seconds, from 1980 to 2107.
fn dos_time(seconds: i64, zone: &TimeZone) -> (u16, u16) {
    // One day inside the limits of the format, so that the year is valid in every time zone.
    const FIRST: i64 = 315_619_200;
    const LAST: i64 = 4_354_732_799;
    let utc = Timestamp::from_second(seconds.clamp(FIRST, LAST)).unwrap_or(Timestamp::UNIX_EPOCH);
    let local = zone.to_datetime(utc);
    let time = ((local.hour() as u16) << 11)
        | ((local.minute() as u16) << 5)
        | (local.second() as u16 / 2);
    let date = (local.year() - 1980) as u16;
    (
        time,
        (date << 9) | ((local.month() as u16) << 5) | local.day() as u16,
    )
}
