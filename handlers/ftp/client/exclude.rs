//! `--exclude`: patterns for the files and folders that a mirror neither transfers nor removes, on
//! both sides.

use std::str::FromStr;

/// One pattern.
#[derive(Clone, Debug)]
pub(super) struct Exclusion {
    pattern: Vec<u8>,
    /// Whether the pattern must match a path below the mirror's folder. Otherwise it must match a
    /// name at any depth.
    is_path: bool,
    /// Whether the pattern matches only folders.
    folders_only: bool,
}

impl FromStr for Exclusion {
    type Err = String;

    fn from_str(text: &str) -> Result<Exclusion, String> {
        let folders_only = text.ends_with('/');
        let pattern = text.trim_end_matches('/');
        let (pattern, is_anchored) = match pattern.strip_prefix('/') {
            Some(rest) => (rest, true),
            None => (pattern, false),
        };
        if pattern.is_empty() {
            return Err("the pattern is empty".to_owned());
        }
        fast_glob::validate(pattern)
            .map_err(|error| format!("invalid pattern `{text}`: {error}"))?;
        // `fast_glob` negates a pattern that begins with `!`, so the `!` is escaped.
        let escape = if pattern.starts_with('!') { "\\" } else { "" };
        Ok(Exclusion {
            pattern: format!("{escape}{pattern}").into_bytes(),
            is_path: is_anchored || pattern.contains('/'),
            folders_only,
        })
    }
}

impl Exclusion {
    fn matches(&self, path: &[u8], is_folder: bool) -> bool {
        if self.folders_only && !is_folder {
            return false;
        }
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
        fast_glob::glob_match(&self.pattern, if self.is_path { path } else { name })
    }
}

/// Whether a pattern matches a path below the mirror's folder.
pub(super) fn is_excluded(exclusions: &[Exclusion], path: &[u8], is_folder: bool) -> bool {
    exclusions
        .iter()
        .any(|exclusion| exclusion.matches(path, is_folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_paths_are_excluded() {
        for (pattern, path, is_folder, expected) in [
            ("*.tmp", "a.tmp", false, true),
            ("*.tmp", "a/b/c.tmp", false, true),
            ("*.tmp", "a.tmp/b", false, false),
            ("a/*", "a/b", false, true),
            ("a/*", "a/b/c", false, false),
            ("a/*", "x/a/b", false, false),
            ("**/b", "x/a/b", false, true),
            ("/b", "b", false, true),
            ("/b", "a/b", false, false),
            ("b/", "b", false, false),
            ("b/", "a/b", true, true),
            ("[ab]?", "ax", false, true),
            ("{a,b}", "b", false, true),
            ("\\*", "*", false, true),
            ("\\*", "a", false, false),
            (".*", ".hidden", false, true),
            ("!a", "!a", false, true),
            ("!a", "b", false, false),
            ("a/**", "a/b/c", false, true),
            ("a/**", "a", true, false),
            ("a/**/b", "a/b", false, true),
        ] {
            let exclusion: Exclusion = pattern.parse().unwrap();
            let matched = is_excluded(&[exclusion], path.as_bytes(), is_folder);
            assert_eq!(matched, expected, "{pattern} {path}");
        }
        for pattern in ["", "/", "[a", "{a", "a\\"] {
            assert!(pattern.parse::<Exclusion>().is_err(), "{pattern}");
        }
        assert!(!is_excluded(&[], b"a", false));
    }
}
