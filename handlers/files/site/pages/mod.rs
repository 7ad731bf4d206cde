//! HTML pages: their frame, escaping, Markdown as a page, and the upload area.

pub(crate) mod document;
pub(crate) mod markdown;
pub(crate) mod markup;
pub(crate) mod rendered;
pub(crate) mod upload_area;
