//! The challenge and its answer: HMAC (RFC 2104) over 32 random bytes.

use clap::ValueEnum;
use fast_md5::HmacMd5;
use hmac::{EagerHash, Hmac, KeyInit, Mac};
use sha2::{Sha256, Sha512};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::keys::Key;

/// Length of a challenge in bytes.
pub const CHALLENGE: usize = 32;
/// Maximum length of an answer in bytes.
pub const LONGEST_ANSWER: usize = 64;

/// The digest of the HMAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Digest {
    /// SHA-256: answers of 32 bytes
    Sha256,
    /// SHA-512: answers of 64 bytes
    Sha512,
    /// MD5, for old clients: answers of 16 bytes
    Md5,
}

impl Digest {
    /// Returns the length of an answer in bytes.
    pub fn answer_length(self) -> usize {
        match self {
            Digest::Sha256 => 32,
            Digest::Sha512 => 64,
            Digest::Md5 => 16,
        }
    }

    /// Returns the answer that proves the possession of this key.
    pub fn answer(self, key: &Key, challenge: &[u8]) -> Vec<u8> {
        match self {
            Digest::Sha256 => hmac::<Sha256>(&key.secret, challenge),
            Digest::Sha512 => hmac::<Sha512>(&key.secret, challenge),
            Digest::Md5 => {
                let mut mac = HmacMd5::new(&key.secret);
                mac.update(challenge);
                mac.finalize().to_vec()
            }
        }
    }

    /// Returns the key that the answer was made with. The time does not depend on the key, or on
    /// whether the answer is correct.
    pub fn verify<'k>(self, keys: &'k [Key], challenge: &[u8], answer: &[u8]) -> Option<&'k Key> {
        let mut found = Choice::from(0);
        let mut which = 0u32;
        for (index, key) in (0..).zip(keys) {
            let right = self.answer(key, challenge).ct_eq(answer);
            // If several keys are equal, the first one is used for its id.
            which.conditional_assign(&index, right & !found);
            found |= right;
        }
        bool::from(found)
            .then(|| keys.get(which as usize))
            .flatten()
    }
}

fn hmac<D: EagerHash>(key: &[u8], message: &[u8]) -> Vec<u8>
where
    Hmac<D>: Mac + KeyInit,
{
    match <Hmac<D> as KeyInit>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().to_vec(),
        Err(_) => unreachable!("an HMAC key may have any length"),
    }
}

/// Returns 32 unpredictable bytes.
///
/// # Errors
/// The system has no random numbers.
pub fn challenge() -> std::io::Result<[u8; CHALLENGE]> {
    let mut bytes = [0; CHALLENGE];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::keys::parse;

    /// RFC 4231 §4.3 and RFC 2202 §2, test case 2.
    #[test]
    fn answers_are_the_rfc_s_hmacs() {
        let key = &parse(b"Jefe").unwrap()[0];
        for (digest, expected) in [
            (
                Digest::Sha256,
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (
                Digest::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994\
                 a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
            (Digest::Md5, "750c783e6ab0b503eaa86e310a5db738"),
        ] {
            let answer = digest.answer(key, b"what do ya want for nothing?");
            let hex: String = answer.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(
                (hex.as_str(), answer.len()),
                (expected, digest.answer_length())
            );
        }
    }

    #[test]
    fn the_first_of_equal_keys_is_found_and_an_answer_of_another_length_is_wrong() {
        let keys = parse(b"a:x\nb:y\nc:y").unwrap();
        let answer = Digest::Md5.answer(&keys[2], b"challenge");
        assert_eq!(
            Digest::Md5
                .verify(&keys, b"challenge", &answer)
                .unwrap()
                .id
                .as_deref(),
            Some("b")
        );
        assert_eq!(Digest::Md5.verify(&keys, b"challenge", &answer[..15]), None);
        assert_eq!(Digest::Md5.verify(&keys, b"challenge", b""), None);
        assert_eq!(Digest::Md5.verify(&[], b"challenge", &answer), None);
        assert_ne!(challenge().unwrap(), challenge().unwrap());
    }
}
