//! `Accept` (RFC 9110 §12.5.1).

use super::head::Head;

/// Whether `Accept` names this media type explicitly. Ranges such as `*/*` do not count, because
/// every client sends them. A media type with the weight 0 does not count either.
pub fn names(head: &Head<'_>, media_type: &[u8]) -> bool {
    head.values("accept")
        .flat_map(|value| value.split(|&byte| byte == b','))
        .any(|range| {
            let mut parts = range.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
            let named = parts
                .next()
                .is_some_and(|name| name.eq_ignore_ascii_case(media_type));
            let is_zero = |part: &[u8]| {
                let weight = part
                    .strip_prefix(b"q=")
                    .or_else(|| part.strip_prefix(b"Q="));
                weight.is_some_and(|weight| weight.iter().all(|byte| matches!(byte, b'0' | b'.')))
            };
            named && !parts.any(is_zero)
        })
}
