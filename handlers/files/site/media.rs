//! The media type of a file, determined by its name.

use std::borrow::Cow;
use std::path::Path;

/// The value of `Content-Type` for a file of this name: the type of its extension, with
/// `; charset=utf-8` if it is text. Defaults to `application/octet-stream`.
pub fn content_type(name: &Path) -> Cow<'static, str> {
    let Some(essence) = mime_guess::from_path(name).first_raw() else {
        return Cow::Borrowed("application/octet-stream");
    };
    match essence {
        // The types of common files are listed here to avoid an allocation.
        "text/html" => Cow::Borrowed("text/html; charset=utf-8"),
        "text/css" => Cow::Borrowed("text/css; charset=utf-8"),
        "text/javascript" => Cow::Borrowed("text/javascript; charset=utf-8"),
        "text/plain" => Cow::Borrowed("text/plain; charset=utf-8"),
        "application/json" => Cow::Borrowed("application/json; charset=utf-8"),
        "image/svg+xml" => Cow::Borrowed("image/svg+xml; charset=utf-8"),
        _ if is_text(essence) => Cow::Owned(format!("{essence}; charset=utf-8")),
        _ => Cow::Borrowed(essence),
    }
}

/// Whether files of this type are text. Structured suffixes such as `+json` count too (RFC 6839).
fn is_text(essence: &str) -> bool {
    essence.starts_with("text/")
        || ["/javascript", "/json", "+json", "/xml", "+xml"]
            .iter()
            .any(|suffix| essence.ends_with(suffix))
}

/// Whether compression makes files of this type much smaller. `content_type` is a result of
/// [`content_type`].
pub fn is_compressible(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or(content_type);
    is_text(essence) || matches!(essence, "application/wasm" | "font/otf" | "font/ttf")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn text_has_a_charset() {
        for (name, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b/INDEX.HTM", "text/html; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("app.js", "text/javascript; charset=utf-8"),
            ("app.mjs", "application/javascript; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("data.geojson", "application/geo+json; charset=utf-8"),
            ("feed.xml", "text/xml; charset=utf-8"),
            ("feed.atom", "application/atom+xml; charset=utf-8"),
            ("picture.svg", "image/svg+xml; charset=utf-8"),
            ("page.xhtml", "application/xhtml+xml; charset=utf-8"),
            (
                "app.webmanifest",
                "application/manifest+json; charset=utf-8",
            ),
            ("app.appcache", "text/cache-manifest; charset=utf-8"),
            ("notes.txt", "text/plain; charset=utf-8"),
            ("notes.md", "text/markdown; charset=utf-8"),
            ("table.csv", "text/csv; charset=utf-8"),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn bytes_have_no_charset() {
        for (name, expected) in [
            ("picture.png", "image/png"),
            ("picture.webp", "image/webp"),
            ("font.woff2", "font/woff2"),
            ("module.wasm", "application/wasm"),
            ("book.pdf", "application/pdf"),
            ("film.mp4", "video/mp4"),
            ("archive.tar.gz", "application/gzip"),
            ("archive.zip", "application/zip"),
            ("message.wbxml", "application/vnd.wap.wbxml"),
            (
                "sheet.xlsx",
                "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
            ),
        ] {
            assert_eq!(content_type(Path::new(name)), expected, "{name}");
        }
    }

    #[test]
    fn text_is_worth_a_content_coding_and_pictures_are_not() {
        for (name, expected) in [
            ("a.html", true),
            ("a.svg", true),
            ("a.json", true),
            ("a.wasm", true),
            ("a.ttf", true),
            ("a.png", false),
            ("a.woff2", false),
            ("a.zip", false),
            ("a", false),
        ] {
            assert_eq!(
                is_compressible(&content_type(Path::new(name))),
                expected,
                "{name}"
            );
        }
    }

    #[test]
    fn an_unknown_name_is_a_stream_of_octets() {
        for name in [
            &b"README"[..],
            b"",
            b".html",
            b"a.",
            b"a.\xff",
            b"a.unheard-of",
        ] {
            let name = Path::new(OsStr::from_bytes(name));
            assert_eq!(content_type(name), "application/octet-stream", "{name:?}");
        }
    }
}
