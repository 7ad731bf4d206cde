//! Escapes text, so that it can't be interpreted as markup.

/// Escapes text for HTML, between tags or in a quoted attribute. Invalid UTF-8 and control
/// characters become U+FFFD.
pub(crate) fn escape(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(visible(other)),
        }
    }
    safe
}

/// Replaces the control characters in a text for a terminal, which would interpret them.
pub(crate) fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(visible)
        .collect()
}

fn visible(character: char) -> char {
    if character.is_control() {
        '\u{FFFD}'
    } else {
        character
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_become_markup() {
        assert_eq!(
            escape(b"<img src=x onerror='alert(1)'>&\""),
            "&lt;img src=x onerror=&#39;alert(1)&#39;&gt;&amp;&quot;"
        );
        assert_eq!(escape(b"a\nb\xff"), "a\u{FFFD}b\u{FFFD}");
    }

    #[test]
    fn names_can_not_command_a_terminal() {
        assert_eq!(
            plain("a\u{1b}[2Jb\u{9b}c\r".as_bytes()),
            "a\u{FFFD}[2Jb\u{FFFD}c\u{FFFD}"
        );
    }
}
