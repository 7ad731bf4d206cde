//! Password hashes of other programs: bcrypt, SHA-crypt with SHA-256 or SHA-512, and yescrypt.
//! `users import` adds users with such hashes. At the first login of a user, the hash is replaced
//! by an argon2id hash.

use std::str::FromStr;

use argon2::Params;
use argon2::password_hash::phc::PasswordHash;
use bcrypt::HashParts;
use sha_crypt::password_hash::Error;
use sha_crypt::{PasswordVerifier, ShaCrypt};
use yescrypt::Yescrypt;

use super::Result;
use super::hash::{LONGEST_PASSWORD, bad};

/// Costs of bcrypt: one more doubles the time. The maximum takes about a second, in which no other
/// password is checked.
const BCRYPT_COSTS: std::ops::RangeInclusive<u32> = 4..=14;
/// Rounds of SHA-crypt. The maximum takes about a second, and longer for a very long password.
const SHA_CRYPT_ROUNDS: std::ops::RangeInclusive<u32> = 1000..=1_000_000;
/// Maximum memory of argon2id, which the server keeps, and of yescrypt, in KiB.
const MAX_MEMORY: u32 = 256 * 1024;
/// Maximum product of memory in KiB and passes of argon2id, which determines the time: 1 GiB takes
/// one to two seconds.
const MAX_ARGON2_WORK: u64 = 1024 * 1024;
/// Maximum length in bytes of the passwords of SHA-crypt and yescrypt. crypt(3) refuses longer ones
/// (`CRYPT_MAX_PASSPHRASE_SIZE`), and each round of SHA-crypt takes more time for them.
const CRYPT_LENGTH: usize = 511;
/// bcrypt ignores the part of a password behind this many bytes.
const BCRYPT_LENGTH: usize = 72;

/// The scheme of a hash of another program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    /// `$2a$`, `$2b$`, `$2y$`
    Bcrypt,
    /// `$5$`, `$6$`
    ShaCrypt,
    /// `$y$`
    Yescrypt,
}

impl Scheme {
    /// The scheme that the beginning of a hash names.
    pub(super) fn of(hash: &str) -> Option<Scheme> {
        let is_any = |prefixes: &[&str]| prefixes.iter().any(|prefix| hash.starts_with(prefix));
        match () {
            () if is_any(&["$2a$", "$2b$", "$2y$"]) => Some(Scheme::Bcrypt),
            () if is_any(&["$5$", "$6$"]) => Some(Scheme::ShaCrypt),
            () if is_any(&["$y$"]) => Some(Scheme::Yescrypt),
            () => None,
        }
    }

    /// Whether the password is the one of this hash.
    ///
    /// # Errors
    /// The hash is malformed.
    pub(super) fn matches(self, password: &str, hash: &str) -> Result<bool> {
        let max_length = match self {
            Scheme::Bcrypt => LONGEST_PASSWORD,
            Scheme::ShaCrypt | Scheme::Yescrypt => CRYPT_LENGTH,
        };
        if password.len() > max_length {
            return Ok(false);
        }
        match self {
            Scheme::Bcrypt => bcrypt::verify(password, hash).map_err(bad),
            Scheme::ShaCrypt => verified(ShaCrypt::default(), password, hash),
            Scheme::Yescrypt => verified(Yescrypt::default(), password, hash),
        }
    }

    /// Whether the hash depends on the whole password, so that it may be replaced by an argon2id
    /// hash.
    pub(super) fn covers(self, password: &str) -> bool {
        self != Scheme::Bcrypt || password.len() <= BCRYPT_LENGTH
    }
}

fn verified(verifier: impl PasswordVerifier<str>, password: &str, hash: &str) -> Result<bool> {
    match verifier.verify_password(password.as_bytes(), hash) {
        Ok(()) => Ok(true),
        Err(Error::PasswordInvalid) => Ok(false),
        Err(error) => Err(bad(error)),
    }
}

/// Checks that logins with this hash are possible, and do not take too long.
///
/// # Errors
/// The reason why such logins are impossible or take too long.
pub fn check_hash(hash: &str) -> Result<(), String> {
    match (hash, Scheme::of(hash)) {
        ("", _) => Err("the line has no password hash".to_owned()),
        ("x", _) => Err(
            "the password hash `x` is in another file, the shadow file: import \
                         that one"
                .to_owned(),
        ),
        (locked, _) if locked.starts_with(['!', '*']) => {
            Err("the account is locked: it has no password".to_owned())
        }
        (_, Some(Scheme::Bcrypt)) => check_bcrypt(hash),
        (_, Some(Scheme::ShaCrypt)) => check_sha_crypt(hash),
        (_, Some(Scheme::Yescrypt)) => check_yescrypt(hash),
        _ if hash.starts_with("$argon2id$") => check_argon2id(hash),
        _ => Err(format!(
            "unsupported password hash {}: use bcrypt ($2y$), SHA-crypt ($5$, $6$), yescrypt ($y$) \
             or argon2id, or `users add` with a new password",
            shown_scheme(hash)
        )),
    }
}

/// The scheme of a hash that is not supported; never the hash itself.
fn shown_scheme(hash: &str) -> String {
    let dollars = hash.strip_prefix('$').and_then(|rest| rest.split_once('$'));
    let braces = hash.strip_prefix('{').and_then(|rest| rest.split_once('}'));
    let is_name = |name: &&str| name.len() <= 12 && name.chars().all(|c| c.is_ascii_alphanumeric());
    match (dollars.map(|(name, _)| name), braces.map(|(name, _)| name)) {
        (Some(name), _) if is_name(&name) => format!("of the scheme ${name}$"),
        (_, Some(name)) if is_name(&name) => format!("of the scheme {{{name}}}"),
        _ => "of an unknown scheme".to_owned(),
    }
}

fn check_bcrypt(hash: &str) -> Result<(), String> {
    let parts = HashParts::from_str(hash).map_err(|error| format!("malformed hash: {error}"))?;
    let cost = parts.get_cost();
    match BCRYPT_COSTS.contains(&cost) {
        true => Ok(()),
        false => Err(format!(
            "unsupported cost {cost} of bcrypt: the maximum is 14"
        )),
    }
}

fn check_sha_crypt(hash: &str) -> Result<(), String> {
    let malformed = || "malformed hash: SHA-crypt is $5$SALT$HASH or $6$SALT$HASH".to_owned();
    let (scheme, mut rest) = hash.split_at_checked(3).ok_or_else(malformed)?;
    if let Some(rounds) = rest.strip_prefix("rounds=") {
        let (rounds, after) = rounds.split_once('$').ok_or_else(malformed)?;
        let number: u32 = rounds.parse().map_err(|_| malformed())?;
        if !SHA_CRYPT_ROUNDS.contains(&number) {
            return Err(format!(
                "unsupported number of rounds {number} of SHA-crypt: use 1000 to 1000000"
            ));
        }
        rest = after;
    }
    // The length of the hash is that of its digest in base64: SHA-256 or SHA-512.
    let length = if scheme == "$5$" { 43 } else { 86 };
    match rest.split_once('$') {
        Some((_, digest)) if digest.len() == length => {}
        _ => return Err(malformed()),
    }
    // Parses all parts as a login does, but with the minimum number of rounds, to take little time.
    let quick = format!("{scheme}rounds={}${rest}", SHA_CRYPT_ROUNDS.start());
    match Scheme::ShaCrypt.matches("", &quick) {
        Ok(_) => Ok(()),
        Err(_) => Err(malformed()),
    }
}

/// Accepts only the parameters that crypt(3) writes: the mode, N and r.
fn check_yescrypt(hash: &str) -> Result<(), String> {
    let malformed = || "malformed hash: yescrypt is $y$PARAMETERS$SALT$HASH".to_owned();
    let mut parts = hash.split('$').skip(2);
    let (Some(params), Some(salt), Some(digest), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(malformed());
    };
    if params.len() != 3 || digest.len() != 43 {
        return Err(malformed());
    }
    let parsed: yescrypt::Params = params.parse().map_err(|_| malformed())?;
    // A block has 128 bytes, so 8 blocks are 1 KiB.
    let memory = parsed.n().saturating_mul(parsed.r().into()) / 8;
    if memory > MAX_MEMORY.into() {
        return Err("unsupported cost of yescrypt: the maximum is 256 MiB".to_owned());
    }
    // Parses the other parts as a login does, but with the lowest cost of crypt(3).
    let quick = format!("$y$j75${salt}${digest}");
    let read = Scheme::Yescrypt.matches("", &quick);
    read.map(drop).map_err(|_| malformed())
}

fn check_argon2id(hash: &str) -> Result<(), String> {
    let malformed = |error: &dyn std::fmt::Display| format!("malformed hash: {error}");
    let parsed = PasswordHash::new(hash).map_err(|error| malformed(&error))?;
    let params = Params::try_from(&parsed).map_err(|error| malformed(&error))?;
    if parsed.version != Some(argon2::Version::V0x13.into())
        || parsed.salt.is_none()
        || parsed.hash.is_none()
    {
        return Err("malformed hash: it is not argon2id, version 19".to_owned());
    }
    let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
    match params.m_cost() <= MAX_MEMORY && work <= MAX_ARGON2_WORK {
        true => Ok(()),
        false => Err(
            "unsupported cost of argon2id: the maximum is 256 MiB, and 1 GiB for memory × passes"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hashes of `secret` that libxcrypt and OpenSSL have made.
    const HASHES: [&str; 5] = [
        "$y$j9T$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
        "$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
        "$5$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
        "$6$saltstring$AIsRs/Ee56G/tC8MEHhvReZTfx8u3rXXMl6eYrjCG9ibix19DxoMBLogdTET5Ukw9Sf7eZTITsuk\
         0Ry5qulYz.",
        "$6$rounds=10000$saltsalt$WowrPBpEDVlCoruBosYlrZycTCx3//TyDHYqEhX9DUHHt0XTztUqzQDDUuvUGRA8a\
         Ue9p55hcAxeGcu58sm3u.",
    ];

    #[test]
    fn hashes_of_other_programs_know_their_password() {
        for hash in HASHES {
            assert_eq!(check_hash(hash), Ok(()), "{hash}");
            let scheme = Scheme::of(hash).unwrap();
            assert!(scheme.matches("secret", hash).unwrap(), "{hash}");
            for wrong in ["Secret", "secret ", "", "s"] {
                assert!(!scheme.matches(wrong, hash).unwrap(), "{hash} {wrong}");
            }
            let long = "x".repeat(LONGEST_PASSWORD + 1);
            assert!(!scheme.matches(&long, hash).unwrap(), "{hash}");
        }
        let own = super::super::hash_password("secret", super::super::Cost::CHEAP).unwrap();
        assert_eq!((check_hash(&own), Scheme::of(&own)), (Ok(()), None));
    }

    #[test]
    fn passwords_that_crypt_refuses_are_not_hashed() {
        // Made by libxcrypt from 511 bytes.
        let hash = "$5$abc$sEBCBFo.VnVNn4zbSdjkxPjyz8EePHDuB5ll/OO2mF4";
        let matches = |length: usize| Scheme::ShaCrypt.matches(&"x".repeat(length), hash);
        assert!(matches(CRYPT_LENGTH).unwrap());
        // The error of a malformed hash shows that a password is hashed.
        let malformed = "$5$abc$short";
        let hashed = |length: usize| {
            let password = "x".repeat(length);
            Scheme::ShaCrypt.matches(&password, malformed).is_err()
        };
        assert!(hashed(CRYPT_LENGTH) && !hashed(CRYPT_LENGTH + 1));
    }

    #[test]
    fn the_time_of_argon2id_is_limited() {
        let check = |memory: u32, passes: u32| {
            let digest = "nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
            check_hash(&format!(
                "$argon2id$v=19$m={memory},t={passes},p=1$c29tZXNhbHQ${digest}"
            ))
        };
        for (memory, passes) in [(256, 2), (65536, 3), (MAX_MEMORY, 4), (19456, 32)] {
            assert_eq!(check(memory, passes), Ok(()), "{memory} {passes}");
        }
        for (memory, passes) in [(MAX_MEMORY, 5), (MAX_MEMORY, 32), (1024, u32::MAX)] {
            let refused = check(memory, passes).unwrap_err();
            assert!(refused.contains("1 GiB"), "{refused}");
        }
    }

    #[test]
    fn what_bcrypt_ignores_is_not_proved() {
        assert!(Scheme::Bcrypt.covers(&"x".repeat(72)) && !Scheme::Bcrypt.covers(&"x".repeat(73)));
        assert!(Scheme::ShaCrypt.covers(&"x".repeat(73)));
    }

    #[test]
    fn other_hashes_are_refused_with_the_reason() {
        for (hash, reason) in [
            ("", "no password hash"),
            ("x", "shadow file"),
            ("*", "locked"),
            ("!$6$salt$x", "locked"),
            ("$apr1$abc$PZF73YJz5hJ9yyI.7OP.R.", "of the scheme $apr1$"),
            ("$1$abc$x", "of the scheme $1$"),
            (
                "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn",
                "of the scheme $7$",
            ),
            ("$y$j9T$abcdefgh$IUWJt2", "malformed"),
            (
                "$y$j9T$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
                "malformed",
            ),
            (
                "$y$j9T.$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
                "malformed",
            ),
            (
                "$y$jFT$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
                "256 MiB",
            ),
            (
                "$y$jZ5$abcdefgh$IUWJt2doU4Kf6E/JP1UkAT3S5O3Q7SSA8SJirXIlEu9",
                "256 MiB",
            ),
            ("{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "of the scheme {SHA}"),
            ("abJnggxhB/yWI", "of an unknown scheme"),
            (
                "$2x$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                "$2x$",
            ),
            (
                "$2y$15$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a",
                "cost 15",
            ),
            ("$2y$05$short", "malformed"),
            ("$6$salt$x", "malformed"),
            ("$6$", "malformed"),
            (
                "$5$rounds=999$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
                "rounds 999",
            ),
            (
                "$5$rounds=9999999$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
                "1000000",
            ),
            (
                "$5$rounds=x$abc$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
                "malformed",
            ),
            (
                "$5$a$b$qsg6EHbUzHQzF1POlD7zUwBINSELQxypPaeDcZe6vH0",
                "malformed",
            ),
            ("$argon2id$v=19$m=8,t=1,p=1", "malformed"),
            (
                "$argon2id$v=19$m=4000000,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bM\
                 CHGi/4",
                "256 MiB",
            ),
        ] {
            let refused = check_hash(hash).unwrap_err();
            assert!(refused.contains(reason), "{hash}: {refused}");
            assert!(
                !refused.contains('\n') && !refused.contains("PZF73"),
                "{refused}"
            );
        }
    }
}
