//! Pages that people read: HTML, its escapes, and Markdown shown as a page.

pub(crate) mod document;
pub(crate) mod markdown;
pub(crate) mod markup;
pub(crate) mod rendered;
pub(crate) mod upload_area;
