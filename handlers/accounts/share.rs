//! Share links. A person who has a link may read a file or the contents of a directory, until a
//! time or for a number of uses.
//!
//! A link is the URL of the path with `?share=TOKEN` behind it. The token contains the number and
//! the end of the share. Its signature (HMAC-SHA-256) also covers the path; the key is in the
//! accounts file. The file also counts the uses. Removing a share from the file revokes its link.

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

/// The name of the query parameter of a link, and of the cookie.
pub(crate) const PARAMETER: &str = "share";
/// The signed end of a share that never ends.
const NEVER: u64 = u64::MAX;
/// The bytes of a path to percent-encode: all but unreserved characters (RFC 3986 §2.3) and
/// slashes.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/');

/// A share in the accounts file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The number of the share. Numbers are never used again.
    pub id: i64,
    /// The shared file, or the shared directory with everything below it.
    pub path: Prefix,
    /// The time when the share ends. `None`: never.
    pub expires: Option<SystemTime>,
    /// Maximum number of uses. `None`: no limit.
    pub max_uses: Option<u64>,
    /// Number of uses so far.
    pub used: u64,
}

impl Share {
    /// Whether the share has ended.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|end| now >= end)
    }

    /// Whether the maximum number of uses is reached.
    pub fn is_used_up(&self) -> bool {
        self.max_uses.is_some_and(|most| self.used >= most)
    }
}

/// Why a token gives no access.
#[derive(Debug)]
pub enum ShareError {
    /// The token is malformed or forged, or its share was revoked. The response is 403, or the one
    /// without a token.
    Invalid,
    /// The token is for another path. The response is 403, or the one without a token.
    OtherPath,
    /// The share has ended. The response is 410.
    Expired,
    /// The maximum number of uses is reached. The response is 410.
    UsedUp,
    /// The accounts file cannot be read. The response is 500.
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

/// Access to the shares of an accounts file.
#[derive(Clone, Copy, Debug)]
pub struct Shares<'a>(&'a Store);

impl Store {
    /// The shares of the file.
    pub fn shares(&self) -> Shares<'_> {
        Shares(self)
    }
}

impl Shares<'_> {
    /// Adds a share, and returns it with its token.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn add(
        self,
        path: &Prefix,
        expires: Option<SystemTime>,
        max_uses: Option<u64>,
    ) -> Result<(Share, String)> {
        // The end is stored and signed in whole seconds.
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

    /// Returns all shares, the oldest first.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn list(self) -> Result<Vec<Share>> {
        self.0.with(|connection| {
            let mut shares = connection
                .prepare("SELECT id, path, expires, max_uses, used FROM shares ORDER BY id")?;
            shares.query_map([], share_of)?.collect()
        })
    }

    /// Removes a share, so that its link gives no access any more.
    ///
    /// # Errors
    /// The share does not exist, or the accounts file cannot be written.
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

    /// Returns the share whose token gives the rights to list and read `path`. The caller checks
    /// whether the share [is used up](Share::is_used_up), because a request for a further part of a
    /// counted download is still allowed. [`Shares::take`] counts a use.
    ///
    /// # Errors
    /// The token is invalid, has expired or is for another path, or the file cannot be read.
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
        // The signature is compared in constant time, and before any other check. So the response
        // reveals nothing about the share to a client without a valid token.
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

    /// Counts one use of a share: the download of a file or archive, perhaps in several parts. Call
    /// it before the first byte is sent. Then simultaneous requests cannot exceed the maximum
    /// number of uses.
    ///
    /// # Errors
    /// The share was used up or revoked since the check, or the file cannot be written.
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

/// Returns the seconds since 1970; 0 for an earlier time.
fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds.unsigned_abs()))
        .unwrap_or(UNIX_EPOCH)
}

/// The contents of a token: 8 bytes of number and 8 bytes of end in seconds since 1970, both big
/// endian. A signature of 32 bytes follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Token {
    id: i64,
    expires: u64,
}

impl Token {
    fn parse(text: &str) -> Option<(Token, [u8; 32])> {
        // 48 bytes are exactly 64 letters of base64, without unused bits. So each token has only
        // one spelling.
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

/// Returns the link for a path and a token. `base` is a URL such as `https://files.example`.
pub fn link(base: &str, path: &Prefix, token: &str) -> String {
    let path = utf8_percent_encode(path.as_str(), IN_PATH);
    format!("{}{path}?{PARAMETER}={token}", base.trim_end_matches('/'))
}

/// Returns the token in the query of a request, if there is one.
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

/// Replaces the token in a request line, so that readers of a log cannot use the link.
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

/// Fuzz target: each token has one spelling only, and parsing any other text does not panic.
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
