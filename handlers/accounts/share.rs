//! Share links: who has one may fetch a file, or what lies below a directory, for some time or so
//! many times.
//!
//! A link is an ordinary one with `?share=TOKEN` behind it. The token carries the share's number
//! and its end, signed together with the path (HMAC-SHA-256) under a key in the accounts file,
//! which also counts the uses. Removing a share from the file revokes its link.

use std::borrow::Cow;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64_simd::URL_SAFE_NO_PAD;
use hmac::Mac;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{OptionalExtension, params};

use super::{AccountsError, Prefix, Result, Store, hmac};

#[cfg(test)]
mod tests;

/// The parameter of a link's query; the cookie's name too.
pub(crate) const PARAMETER: &str = "share";
/// What the end of a share that has none is signed as.
const NEVER: u64 = u64::MAX;
/// RFC 3986 §2.3: all but unreserved characters, and the slashes of a path.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// A share, as the accounts file holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its number, never given twice.
    pub id: i64,
    /// The file, or the directory with all below it.
    pub path: Prefix,
    /// When it ends. `None`: never.
    pub expires: Option<SystemTime>,
    /// How often it may be used. `None`: without a limit.
    pub max_uses: Option<u64>,
    /// How often it was used.
    pub used: u64,
}

impl Share {
    /// Whether its time is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// Whether it was used as often as it may be.
    pub fn is_used_up(&self) -> bool {
        self.max_uses.is_some_and(|most| self.used >= most)
    }
}

/// Why a token opens nothing.
#[derive(Debug)]
pub enum ShareError {
    /// It is none, is forged, or its share is revoked: 403, or as without a token.
    Invalid,
    /// It is for another path: 403, or as without a token.
    OtherPath,
    /// Its time is over: 410.
    Expired,
    /// It was used as often as it may be: 410.
    UsedUp,
    /// The accounts file can't be read: 500.
    Accounts(AccountsError),
}

impl fmt::Display for ShareError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShareError::Invalid => f.write_str("this link is not valid, or was revoked"),
            ShareError::OtherPath => f.write_str("this link is for another path"),
            ShareError::Expired => f.write_str("this link has expired"),
            ShareError::UsedUp => f.write_str("this link was used as often as it may be"),
            ShareError::Accounts(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ShareError {}

impl From<AccountsError> for ShareError {
    fn from(error: AccountsError) -> ShareError {
        ShareError::Accounts(error)
    }
}

/// The shares of an accounts file.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'a>(&'a Store);

impl Store {
    /// The shares of the file.
    pub fn shares(&self) -> Shares<'_> {
        Shares(self)
    }
}

impl Shares<'_> {
    /// Adds a share; returns it with its token.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn add(
        self,
        path: &Prefix,
        expires: Option<SystemTime>,
        max_uses: Option<u64>,
    ) -> Result<(Share, String)> {
        // Whole seconds are kept, and signed.
        let seconds = expires.map(seconds);
        let most = max_uses.map(|most| i64::try_from(most).unwrap_or(i64::MAX));
        let id = self.0.with(|connection| {
            let row = params![path.as_str(), seconds, most];
            connection.execute(
                "INSERT INTO shares (path, expires, max_uses) VALUES (?1, ?2, ?3)",
                row,
            )?;
            Ok(connection.last_insert_rowid())
        })?;
        let share = Share {
            id,
            path: path.clone(),
            expires: seconds.map(time),
            max_uses,
            used: 0,
        };
        let key = self
            .0
            .with(|connection| connection.query_row(KEY, [], |row| row.get::<_, Vec<u8>>(0)))?;
        let token = Token {
            id,
            expires: expiry(&share),
        };
        Ok((share, token.sign(&key, path)))
    }

    /// All shares, the oldest first.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn list(self) -> Result<Vec<Share>> {
        self.0.with(|connection| {
            let mut shares = connection
                .prepare("SELECT id, path, expires, max_uses, used FROM shares ORDER BY id")?;
            shares.query_map([], share_of)?.collect()
        })
    }

    /// Removes a share: its link opens nothing any more.
    ///
    /// # Errors
    /// There is no such share, or the file can't be written.
    pub fn revoke(self, id: i64) -> Result<()> {
        let removed = self
            .0
            .with(|connection| connection.execute("DELETE FROM shares WHERE id = ?1", [id]))?;
        if removed == 1 {
            Ok(())
        } else {
            Err(AccountsError::NoSuchShare(id))
        }
    }

    /// The share that a token opens `path` with, for listing and reading. Whether it [is used
    /// up](Share::is_used_up) is for the caller to look at, who may be sending a further part of
    /// what was counted. A use is counted by [`Shares::take`].
    ///
    /// # Errors
    /// The token is wrong, over, or for another path, or the file can't be read.
    pub fn check(self, token: &str, path: &[u8], now: SystemTime) -> Result<Share, ShareError> {
        let (token, signature) = Token::parse(token).ok_or(ShareError::Invalid)?;
        let found = self.0.with(|connection| {
            let find = "SELECT id, path, expires, max_uses, used, value FROM shares, secrets \
                 WHERE id = ?1 AND name = 'share'";
            let mut find = connection.prepare_cached(find)?;
            find.query_row([token.id], |row| {
                Ok((share_of(row)?, row.get::<_, Vec<u8>>(5)?))
            })
            .optional()
        })?;
        let (share, key) = found.ok_or(ShareError::Invalid)?;
        // Compares in constant time; nothing about the share is told before.
        token
            .mac(&key, &share.path)
            .verify_slice(&signature)
            .map_err(|_| ShareError::Invalid)?;
        match share {
            share if expiry(&share) != token.expires => Err(ShareError::Invalid),
            share if !share.path.covers(path) => Err(ShareError::OtherPath),
            share if share.is_expired(now) => Err(ShareError::Expired),
            share => Ok(share),
        }
    }

    /// Counts one use of a share: a file or an archive that is fetched, in parts perhaps. To be
    /// called before its first byte: of several requests at once only as many get through as the
    /// share allows.
    ///
    /// # Errors
    /// The last use was taken, or the share revoked, since the check; or the file can't be written.
    pub fn take(self, share: &Share) -> Result<(), ShareError> {
        let taken = self.0.with(|connection| {
            let take = "UPDATE shares SET used = used + 1 \
                 WHERE id = ?1 AND (max_uses IS NULL OR used < max_uses)";
            connection.prepare_cached(take)?.execute([share.id])
        })?;
        if taken == 1 {
            Ok(())
        } else {
            Err(ShareError::UsedUp)
        }
    }
}

const KEY: &str = "SELECT value FROM secrets WHERE name = 'share'";

fn share_of(row: &rusqlite::Row<'_>) -> rusqlite::Result<Share> {
    let path: String = row.get(1)?;
    let unreadable = |why: String| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, why.into())
    };
    Ok(Share {
        id: row.get(0)?,
        path: path.parse().map_err(unreadable)?,
        expires: row.get::<_, Option<i64>>(2)?.map(time),
        max_uses: row.get::<_, Option<i64>>(3)?.map(i64::unsigned_abs),
        used: row.get::<_, i64>(4)?.unsigned_abs(),
    })
}

fn expiry(share: &Share) -> u64 {
    share
        .expires
        .map_or(NEVER, |end| seconds(end).unsigned_abs())
}

/// Seconds since 1970; nothing ended before.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds.unsigned_abs()))
        .unwrap_or(UNIX_EPOCH)
}

/// What a token says: 8 bytes of number and 8 of end, big endian; 32 bytes of signature follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    id: i64,
    expires: u64,
}

impl Token {
    fn parse(text: &str) -> Option<(Token, [u8; 32])> {
        // 48 bytes fill 64 letters: there is one way to write a token.
        if text.len() != URL_SAFE_NO_PAD.encoded_length(48) {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode_to_vec(text).ok()?;
        let (id, rest) = bytes.split_first_chunk()?;
        let (expires, signature) = rest.split_first_chunk()?;
        let token = Token {
            id: i64::from_be_bytes(*id),
            expires: u64::from_be_bytes(*expires),
        };
        Some((token, signature.try_into().ok()?))
    }

    fn sign(self, key: &[u8], path: &Prefix) -> String {
        let signature = self.mac(key, path).finalize().into_bytes();
        let bytes = [
            &self.id.to_be_bytes()[..],
            &self.expires.to_be_bytes(),
            &signature,
        ]
        .concat();
        URL_SAFE_NO_PAD.encode_to_string(bytes)
    }

    fn mac(self, key: &[u8], path: &Prefix) -> hmac::Hmac<sha2::Sha256> {
        hmac(key)
            .chain_update(self.id.to_be_bytes())
            .chain_update(self.expires.to_be_bytes())
            .chain_update(path.as_str())
    }
}

/// The link that opens a path with a token, below `base`, such as `https://files.example`.
pub fn link(base: &str, path: &Prefix, token: &str) -> String {
    let path = utf8_percent_encode(path.as_str(), IN_PATH);
    format!("{}{path}?{PARAMETER}={token}", base.trim_end_matches('/'))
}

/// The token in a request's query, if it holds one.
pub fn token_in(query: &[u8]) -> Option<&str> {
    let query = std::str::from_utf8(query).ok()?;
    let parameters = query
        .split('&')
        .filter_map(|parameter| parameter.split_once('='));
    parameters
        .filter(|(name, _)| *name == PARAMETER)
        .map(|(_, token)| token)
        .next()
}

/// A request line for a log, whose readers are not to use the links in it.
pub(crate) fn without_token(line: &[u8]) -> Cow<'_, [u8]> {
    let begin = [b"?", b"&"].into_iter().find_map(|before| {
        let parameter = [before, PARAMETER.as_bytes(), b"="].concat();
        Some(memchr::memmem::find(line, &parameter)? + parameter.len())
    });
    let Some(begin) = begin else {
        return line.into();
    };
    let length = memchr::memchr2(b'&', b' ', &line[begin..]).unwrap_or(line.len() - begin);
    [&line[..begin], b"...", &line[begin + length..]]
        .concat()
        .into()
}

/// Fuzzed: a token is written in one way only, and what isn't one is refused without a panic.
#[doc(hidden)]
pub fn check(text: &[u8]) {
    let text = String::from_utf8_lossy(text);
    if let Some((token, signature)) = Token::parse(&text) {
        let bytes = [
            &token.id.to_be_bytes()[..],
            &token.expires.to_be_bytes(),
            &signature,
        ]
        .concat();
        assert_eq!(URL_SAFE_NO_PAD.encode_to_string(bytes), text);
    }
    if let Some(token) = token_in(text.as_bytes()) {
        assert!(!token.contains('&'));
    }
}
