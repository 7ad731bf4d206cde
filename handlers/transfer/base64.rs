//! Decodes base64 in pieces of any size, strictly (RFC 4648 §4): the standard alphabet, padding,
//! and no other characters.

use base64_simd::STANDARD;

/// Number of letters that encode three bytes.
const GROUP: usize = 4;

/// The text is not base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotBase64;

impl From<base64_simd::Error> for NotBase64 {
    fn from(_: base64_simd::Error) -> NotBase64 {
        NotBase64
    }
}

/// Decodes pieces. It stores less than one group of letters.
#[derive(Debug, Default)]
pub(super) struct Base64Decoder {
    group: [u8; GROUP],
    letters: usize,
    /// Whether a padded group was decoded. It must be the last one.
    ended: bool,
}

impl Base64Decoder {
    /// Decodes the complete groups of `text`, and appends their bytes to `data`.
    pub(super) fn push(&mut self, mut text: &[u8], data: &mut Vec<u8>) -> Result<(), NotBase64> {
        if self.letters > 0 {
            let (first, rest) = text.split_at(text.len().min(GROUP - self.letters));
            self.group[self.letters..self.letters + first.len()].copy_from_slice(first);
            self.letters += first.len();
            if self.letters < GROUP {
                return Ok(());
            }
            self.letters = 0;
            let group = self.group;
            self.push_groups(&group, data)?;
            text = rest;
        }
        let (groups, rest) = text.split_at(text.len() / GROUP * GROUP);
        self.push_groups(groups, data)?;
        self.group[..rest.len()].copy_from_slice(rest);
        self.letters = rest.len();
        Ok(())
    }

    fn push_groups(&mut self, groups: &[u8], data: &mut Vec<u8>) -> Result<(), NotBase64> {
        if groups.is_empty() {
            return Ok(());
        }
        if self.ended {
            return Err(NotBase64);
        }
        self.ended = groups.ends_with(b"=");
        STANDARD.decode_append(groups, data)?;
        Ok(())
    }

    /// Checks that the text ends with a complete group.
    pub(super) fn finish(&self) -> Result<(), NotBase64> {
        if self.letters == 0 {
            Ok(())
        } else {
            Err(NotBase64)
        }
    }
}
