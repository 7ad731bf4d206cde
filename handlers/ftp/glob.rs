//! Patterns for names of files, as in a shell: `*`, `?` and `[...]`.

/// Whether the argument of NLST or LIST is a pattern with `*`, `?` or `[`.
pub fn is_pattern(name: &[u8]) -> bool {
    name.iter().any(|byte| matches!(byte, b'*' | b'?' | b'['))
}

/// Whether a name matches a pattern. As in a shell, a name that begins with a dot matches only a
/// pattern that begins with a dot. The time is at most proportional to the product of both lengths.
pub fn is_match(pattern: &[u8], name: &[u8]) -> bool {
    if name.starts_with(b".") && !pattern.starts_with(b".") {
        return false;
    }
    let (mut at, mut from) = (0, 0);
    // For the last star: the index in the pattern after the star, and the index in the name after
    // the bytes that the star matches.
    let mut star: Option<(usize, usize)> = None;
    while from < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, from));
                at += 1;
                continue;
            }
            Some(_) => {
                if let Some(length) = match_one(&pattern[at..], name[from]) {
                    at += length;
                    from += 1;
                    continue;
                }
            }
            None => {}
        }
        let Some((behind, covered)) = star else {
            return false;
        };
        star = Some((behind, covered + 1));
        at = behind;
        from = covered + 1;
    }
    pattern[at.min(pattern.len())..]
        .iter()
        .all(|byte| *byte == b'*')
}

/// Returns the length of the first element of the pattern; `None` if this element does not match
/// the byte.
fn match_one(pattern: &[u8], byte: u8) -> Option<usize> {
    match pattern.first()? {
        b'?' => Some(1),
        b'[' => match set(pattern) {
            Some((length, members, is_negated)) => {
                (contains(members, byte) != is_negated).then_some(length)
            }
            // A bracket without a closing bracket matches only itself.
            None => (byte == b'[').then_some(1),
        },
        own => (*own == byte).then_some(1),
    }
}

/// Parses the set at the beginning of a pattern. Returns its length, its members, and whether it is
/// negated.
fn set(pattern: &[u8]) -> Option<(usize, &[u8], bool)> {
    let is_negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let start = 1 + usize::from(is_negated);
    // A closing bracket at the beginning is a member of the set.
    let end = pattern
        .iter()
        .skip(start + 1)
        .position(|byte| *byte == b']')?
        + start
        + 1;
    Some((end + 1, &pattern[start..end], is_negated))
}

fn contains(members: &[u8], byte: u8) -> bool {
    let mut rest = members;
    while let Some(first) = rest.first() {
        if let [low, b'-', high, after @ ..] = rest {
            if (*low..=*high).contains(&byte) {
                return true;
            }
            rest = after;
        } else if *first == byte {
            return true;
        } else {
            rest = &rest[1..];
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_a_shell() {
        for (pattern, name, expected) in [
            ("*", "abc", true),
            ("*", ".hidden", false),
            (".*", ".hidden", true),
            ("*.txt", "a.txt", true),
            ("*.txt", "a.txt.gz", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbY", false),
            ("?", "a", true),
            ("?", "ab", false),
            ("??", "a", false),
            ("[abc]", "b", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]", "b", false),
            ("[^a-c]", "d", true),
            ("[]]", "]", true),
            ("[", "[", true),
            ("[a", "[a", true),
            ("a[-]b", "a-b", true),
            ("", "", true),
            ("**", "", true),
            ("", "a", false),
        ] {
            assert_eq!(
                is_match(pattern.as_bytes(), name.as_bytes()),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn a_pattern_of_many_stars_ends_soon() {
        let pattern = b"a*".repeat(100);
        assert!(!is_match(&pattern, &b"a".repeat(99)));
        assert!(is_match(&pattern, &b"a".repeat(255)));
    }
}
