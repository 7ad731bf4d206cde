//! Sets of bytes with a fast look-up, for checks of every byte of a head.

/// A set of bytes. A look-up costs one load, which is less than a search among the members.
pub(super) struct ByteSet([bool; 256]);

impl ByteSet {
    /// The set of the ASCII letters, the ASCII digits and `others`.
    pub(super) const fn alphanumeric_and(others: &[u8]) -> ByteSet {
        let mut members = [false; 256];
        let mut byte = 0;
        while byte < members.len() {
            members[byte] = (byte as u8).is_ascii_alphanumeric();
            byte += 1;
        }
        let mut index = 0;
        while index < others.len() {
            members[others[index] as usize] = true;
            index += 1;
        }
        ByteSet(members)
    }

    #[inline]
    pub(super) const fn contains(&self, byte: u8) -> bool {
        self.0[byte as usize]
    }
}
