//! Password hashes: argon2id (RFC 9106), written as PHC strings.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;

use super::foreign::Scheme;
use super::{AccountsError, Result};

/// Maximum length of a password in bytes.
pub(super) const LONGEST_PASSWORD: usize = 1024;
/// Maximum number of password checks that wait for another one. Further checks are refused.
const MAX_WAITING: usize = 16;

/// The memory and time that one hash takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Memory in KiB.
    pub memory: u32,
    /// Passes over that memory.
    pub passes: u32,
}

impl Cost {
    /// The minimum of OWASP's Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
    pub const OWASP: Cost = Cost {
        memory: 19 * 1024,
        passes: 2,
    };
    /// The lowest cost of argon2, for tests.
    pub const CHEAP: Cost = Cost {
        memory: 8,
        passes: 1,
    };
}

/// Returns the PHC string of a password, for [`Store::set_hash`](super::Store::set_hash).
///
/// # Errors
/// The password is not valid, or the system has no random numbers.
pub fn hash_password(password: &str, cost: Cost) -> Result<String> {
    check_password(password)?;
    Hasher::new(cost)?.hash(password)
}

/// Checks that a password is valid: HTTP and FTP must be able to send it (RFC 7617 §2).
fn check_password(password: &str) -> Result<()> {
    Err(AccountsError::BadPassword(match password {
        "" => "is empty",
        long if long.len() > LONGEST_PASSWORD => "is longer than 1024 bytes",
        odd if odd.contains(char::is_control) => "holds control characters",
        _ => return Ok(()),
    }))
}

/// Hashes one password at a time and reuses the memory. So simultaneous logins take more time, but
/// not more memory.
pub(crate) struct Hasher {
    cost: Cost,
    memory: Mutex<Vec<Block>>,
    waiting: AtomicUsize,
    /// A hash that no password matches. The password of an unknown user is compared with it, so
    /// that the response takes as long as for a known user.
    dummy: String,
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("cost", &self.cost)
            .finish_non_exhaustive()
    }
}

impl Hasher {
    /// Creates a hasher for new hashes of this cost. Existing hashes are verified at their own
    /// cost.
    pub(crate) fn new(cost: Cost) -> Result<Hasher> {
        let params = Params::new(cost.memory, cost.passes, 1, None).map_err(bad)?;
        let dummy = phc(params, &random()?, &random::<32>()?)?;
        Ok(Hasher {
            cost,
            memory: Mutex::new(Vec::new()),
            waiting: AtomicUsize::new(0),
            dummy,
        })
    }

    /// Returns a PHC string that replaces the hash of another program after a successful login.
    /// `None` if the hash is an argon2id hash already, if it does not depend on the whole password,
    /// or if the password is not valid here.
    pub(crate) fn replacement(&self, password: &str, hash: &str) -> Option<String> {
        let scheme = Scheme::of(hash)?;
        if !scheme.covers(password) || check_password(password).is_err() {
            return None;
        }
        self.hash(password).ok()
    }

    /// Returns the PHC string of a password, with a new salt.
    fn hash(&self, password: &str) -> Result<String> {
        let params = Params::new(self.cost.memory, self.cost.passes, 1, None).map_err(bad)?;
        let salt: [u8; 16] = random()?;
        let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
        self.run(&argon2, password, &salt, &mut output)?;
        phc(params, &salt, &output)
    }

    /// Whether the password matches this PHC string. Without a PHC string, the password is compared
    /// with the dummy hash. `None` if too many checks are waiting already.
    pub(crate) fn matches(&self, password: &str, hash: Option<&str>) -> Result<Option<bool>> {
        let Some(_turn) = Turn::take(&self.waiting) else {
            return Ok(None);
        };
        let right = self.is_right(password, hash.unwrap_or(&self.dummy))?;
        Ok(Some(right && hash.is_some()))
    }

    fn is_right(&self, password: &str, hash: &str) -> Result<bool> {
        if let Some(scheme) = Scheme::of(hash) {
            // The lock limits these hashes to one at a time, like argon2id hashes.
            let _turn = self.memory.lock();
            return scheme.matches(password, hash);
        }
        let hash = PasswordHash::new(hash).map_err(bad)?;
        if hash.algorithm != Algorithm::Argon2id.ident()
            || hash.version != Some(Version::V0x13.into())
        {
            return Err(bad("it is not of argon2id, version 19"));
        }
        let params = Params::try_from(&hash).map_err(bad)?;
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else {
            return Err(bad("it is not whole"));
        };
        let mut output = [0; Output::MAX_LENGTH];
        let output = &mut output[..expected.len()];
        self.run(
            &Argon2::new(Algorithm::Argon2id, Version::V0x13, params),
            password,
            salt,
            output,
        )?;
        Ok(output.ct_eq(expected.as_bytes()).into())
    }

    fn run(
        &self,
        argon2: &Argon2<'_>,
        password: &str,
        salt: &[u8],
        output: &mut [u8],
    ) -> Result<()> {
        let mut memory = self.memory.lock();
        let blocks = argon2.params().block_count();
        if memory.len() < blocks {
            memory.resize(blocks, Block::default());
        }
        let memory = &mut memory[..blocks];
        argon2
            .hash_password_into_with_memory(password.as_bytes(), salt, output, memory)
            .map_err(bad)
    }
}

/// A place in the queue of waiting password checks. Dropping it frees the place.
struct Turn<'a>(&'a AtomicUsize);

impl<'a> Turn<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Turn<'a>> {
        let place = waiting.fetch_add(1, Ordering::Relaxed);
        let turn = Turn(waiting);
        (place <= MAX_WAITING).then_some(turn)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn phc(params: Params, salt: &[u8; 16], output: &[u8; 32]) -> Result<String> {
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(params).map_err(bad)?,
        salt: Some(Salt::new(salt).map_err(bad)?),
        hash: Some(Output::new(output).map_err(bad)?),
    };
    Ok(hash.to_string())
}

pub(super) fn bad(why: impl fmt::Display) -> AccountsError {
    AccountsError::Hash(why.to_string())
}

/// Returns bytes of the system's random number generator.
pub(crate) fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(bad)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_a_phc_string_of_the_owasp_minimum_and_knows_its_password() {
        let hasher = Hasher::new(Cost::OWASP).unwrap();
        let hash = hasher.hash("pa:ss@wörd").unwrap();
        assert!(
            hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"),
            "{hash}"
        );
        assert_eq!(
            hasher.matches("pa:ss@wörd", Some(&hash)).unwrap(),
            Some(true)
        );
        assert_eq!(
            hasher.matches("pa:ss@word", Some(&hash)).unwrap(),
            Some(false)
        );
    }

    #[test]
    fn what_http_could_not_send_is_no_password() {
        for password in [
            String::new(),
            "a\nb".into(),
            "\u{7f}".into(),
            "x".repeat(LONGEST_PASSWORD + 1),
        ] {
            assert!(
                matches!(
                    hash_password(&password, Cost::CHEAP),
                    Err(AccountsError::BadPassword(_))
                ),
                "{password}"
            );
        }
        assert!(hash_password(" : @ ", Cost::CHEAP).is_ok());
    }

    #[test]
    fn every_hash_has_a_salt_of_its_own_and_is_verified_at_its_own_cost() {
        let (cheap, dearer) = (
            Hasher::new(Cost::CHEAP).unwrap(),
            Hasher::new(Cost {
                memory: 64,
                passes: 3,
            })
            .unwrap(),
        );
        let hash = dearer.hash("x").unwrap();
        assert_ne!(hash, dearer.hash("x").unwrap());
        assert_eq!(cheap.matches("x", Some(&hash)).unwrap(), Some(true));
        assert_eq!(cheap.matches("x", None).unwrap(), Some(false));
    }

    #[test]
    fn hashes_of_the_reference_implementation_are_understood() {
        // The test vectors of the Password Hashing Competition's C code for the password
        // `password`.
        let hasher = Hasher::new(Cost::CHEAP).unwrap();
        let hash =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert_eq!(hasher.matches("password", Some(hash)).unwrap(), Some(true));
        assert_eq!(hasher.matches("Password", Some(hash)).unwrap(), Some(false));
    }

    #[test]
    fn a_malformed_hash_is_an_error() {
        let hasher = Hasher::new(Cost::CHEAP).unwrap();
        for hash in [
            "",
            "secret",
            "$argon2i$v=19$m=8,t=1,p=1$c29tZXNhbHQ$AAAAAAAAAAAAAAAA",
            "$argon2id$v=19$m=8,t=1,p=1",
        ] {
            assert!(hasher.matches("x", Some(hash)).is_err(), "{hash}");
        }
    }

    #[test]
    fn who_comes_when_too_many_wait_is_sent_away() {
        let hasher = Hasher::new(Cost::CHEAP).unwrap();
        let turns: Vec<_> = (0..=MAX_WAITING)
            .map_while(|_| Turn::take(&hasher.waiting))
            .collect();
        assert_eq!(turns.len(), MAX_WAITING + 1);
        assert_eq!(hasher.matches("x", None).unwrap(), None);
        drop(turns);
        assert_eq!(hasher.matches("x", None).unwrap(), Some(false));
    }
}
