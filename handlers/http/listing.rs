//! The page that lists a directory.

use std::fmt::Write;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, UNIX_EPOCH};

use cap_std::fs::Dir;

use super::target;

struct Item {
    name: Vec<u8>,
    is_dir: bool,
    length: u64,
    modified: Duration,
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
table{border-collapse:collapse;width:100%}th{text-align:left}td,th{padding:.2rem .6rem;border-bottom:1px solid #8884}\
td+td,th+th{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}td:first-child{word-break:break-all}";

/// A page with the directory's visible entries: folders first, then files, by name. `path` is the decoded path from the root.
pub(crate) fn page(dir: &Dir, path: &[u8]) -> io::Result<String> {
    let items = read(dir)?;
    let title = format!("/{}{}", escape(path), if path.is_empty() { "" } else { "/" });
    let mut html = String::with_capacity(1024 + items.len() * 160);
    // Writing to a String can't fail.
    let _ = write!(
        html,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<title>Index of {title}</title>\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<style>{STYLE}</style>\n</head>\n<body>\n\
         <h1>Index of {title}</h1>\n<table>\n<thead><tr><th>Name</th><th>Size</th><th>Modified (UTC)</th></tr></thead>\n<tbody>\n"
    );
    if !path.is_empty() {
        html.push_str("<tr><td><a href=\"../\">../</a></td><td></td><td></td></tr>\n");
    }
    for item in &items {
        let slash = if item.is_dir { "/" } else { "" };
        // `./` keeps a name such as `javascript:x` from being read as a scheme.
        let _ = writeln!(
            html,
            "<tr><td><a href=\"./{}{slash}\">{}{slash}</a></td><td>{}</td><td>{}</td></tr>",
            target::encode_path(&item.name),
            escape(&item.name),
            if item.is_dir { String::new() } else { item.length.to_string() },
            date(item.modified),
        );
    }
    html.push_str("</tbody>\n</table>\n</body>\n</html>\n");
    Ok(html)
}

fn read(dir: &Dir) -> io::Result<Vec<Item>> {
    let mut items = Vec::new();
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name().as_bytes().to_vec();
        if name.starts_with(b".") || !target::is_reachable(&name) {
            continue;
        }
        // Through a symlink, as a click would go; one that leads out or nowhere isn't shown.
        let Ok(metadata) = dir.metadata(entry.file_name()) else { continue };
        let modified = metadata.modified().ok().and_then(|time| time.into_std().duration_since(UNIX_EPOCH).ok());
        if metadata.is_dir() || metadata.is_file() {
            let modified = modified.unwrap_or_default();
            items.push(Item { name, is_dir: metadata.is_dir(), length: metadata.len(), modified });
        }
    }
    items.sort_by(|a, b| b.is_dir.cmp(&a.is_dir).then_with(|| a.name.cmp(&b.name)));
    Ok(items)
}

/// `2023-04-19 17:04`, from what httpdate knows of calendars: `Wed, 19 Apr 2023 17:04:30 GMT`.
fn date(since_epoch: Duration) -> String {
    /// The last second of the year 9999, past which httpdate panics.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let text = httpdate::fmt_http_date(UNIX_EPOCH + since_epoch.min(LAST));
    let month = MONTHS.find(&text[8..11]).map_or(0, |at| at / 3 + 1);
    format!("{}-{month:02}-{} {}", &text[12..16], &text[5..7], &text[17..22])
}

/// Text for HTML; bytes that are no UTF-8 show as replacement characters.
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
            control if control.is_control() => safe.push('\u{FFFD}'),
            other => safe.push(other),
        }
    }
    safe
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
    fn dates_are_short() {
        assert_eq!(date(Duration::from_secs(1_681_923_870)), "2023-04-19 17:04");
        assert_eq!(date(Duration::from_secs(1 << 40)), "9999-12-31 23:59");
    }
}
