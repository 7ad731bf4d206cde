//! Properties of the parser that hold for every form, however the input is split. For tests and
//! fuzzing.

use memchr::memmem;

use super::parameters::Parameters;
use super::parser::{FormError, FormEvent, Parser};
use super::{is_boundary, place_of};
use crate::common::store::Name;

/// The complete files of a form with their names and contents. `end` is whether the form is
/// complete, or the error after these files.
pub(super) struct ParsedForm {
    pub(super) files: Vec<(String, Vec<u8>)>,
    pub(super) end: Result<bool, FormError>,
}

/// Parses a form that arrives in pieces of `step` bytes.
pub(super) fn take(boundary: &[u8], form: &[u8], step: usize) -> ParsedForm {
    let (mut parser, mut files, mut file) = (Parser::new(boundary), Vec::new(), None);
    let (mut taken, mut come) = (0, 0);
    let end = loop {
        match parser.next(&form[taken..come]) {
            Ok(FormEvent::Partial) if come == form.len() => break Ok(parser.is_done()),
            Ok(FormEvent::Partial) => come = (come + step).min(form.len()),
            Ok(FormEvent::Framing(count)) => taken += count,
            Ok(FormEvent::Head(count, part)) => {
                file = part
                    .filename
                    .filter(|name| !name.is_empty())
                    .map(|name| (name, Vec::new()));
                taken += count;
            }
            Ok(FormEvent::Data(count)) => {
                if let Some((_, content)) = &mut file {
                    content.extend_from_slice(&form[taken..taken + count]);
                }
                taken += count;
            }
            Ok(FormEvent::End(count)) => {
                files.extend(file.take());
                taken += count;
            }
            Err(error) => break Err(error),
        }
    };
    ParsedForm { files, end }
}

/// Panics if `data` breaks a property that holds for all input. `data` is a boundary, a line end
/// and a form.
#[doc(hidden)]
pub fn check(data: &[u8]) {
    let Some(end) = memchr::memchr(b'\n', data) else {
        return;
    };
    let (boundary, form) = (&data[..end], &data[end + 1..]);
    if let Some(parameters) = Parameters::parse(boundary) {
        assert!(!parameters.essence.contains(&b';'));
    }
    if !is_boundary(boundary) {
        return;
    }
    let whole = take(boundary, form, form.len().max(1));
    for step in [1, 2, 7, 64] {
        let cut = take(boundary, form, step);
        assert!(
            cut.files == whole.files && cut.end == whole.end,
            "otherwise in pieces of {step} bytes"
        );
    }
    let delimiter = [b"\r\n--", boundary, b"\r\n"].concat();
    for (filename, content) in whole.files {
        assert!(memmem::find(&content, &delimiter).is_none());
        if let Some(name) = place_of(&filename)
            .ok()
            .and_then(|place| Name::path(place).ok())
        {
            assert!(
                name.text()
                    .split('/')
                    .all(|component| !matches!(component, "" | "." | ".."))
            );
        }
    }
}
