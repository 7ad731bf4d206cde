//! Renders Markdown as a part of a page. The result is safe even if the author is not trusted.
//!
//! It contains only the HTML that the renderer writes for Markdown. Raw HTML is removed, and the
//! targets of links are checked.

use pulldown_cmark::{CowStr, Event, Options, Parser, Tag, TagEnd};

/// Maximum length of a source that is rendered: 1 MiB.
pub(crate) const MAX_LENGTH: u64 = 1 << 20;

/// Renders Markdown (CommonMark, with the tables, task lists, footnotes and strike-through of
/// GitHub). Tags of raw HTML are removed and their text is kept. Links may only lead to http,
/// https, mailto or the same site. An image from another site becomes a link, because loading it
/// would disclose the reader to that site.
pub(crate) fn render(source: &str) -> String {
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    let mut filter = Filter::default();
    for event in Parser::new_ext(source, options) {
        filter.take(event);
    }
    let mut html = String::with_capacity(source.len() * 3 / 2);
    pulldown_cmark::html::push_html(&mut html, filter.safe.into_iter());
    html
}

/// Keeps only the safe parts of the Markdown.
#[derive(Default)]
struct Filter<'a> {
    safe: Vec<Event<'a>>,
    /// The end tags of the open links and images. `None` for one that was left out.
    ends: Vec<Option<TagEnd>>,
    /// The HTML block that is being read.
    block: Option<String>,
}

impl<'a> Filter<'a> {
    fn take(&mut self, event: Event<'a>) {
        match event {
            Event::Start(Tag::HtmlBlock) => self.block = Some(String::new()),
            Event::Html(html) => self.block.get_or_insert_default().push_str(&html),
            Event::End(TagEnd::HtmlBlock) => {
                let text = self
                    .block
                    .take()
                    .map(|html| text_of(&html))
                    .unwrap_or_default();
                if !text.trim().is_empty() {
                    let paragraph = [
                        Event::Start(Tag::Paragraph),
                        Event::Text(text.into()),
                        Event::End(TagEnd::Paragraph),
                    ];
                    self.safe.extend(paragraph);
                }
            }
            Event::InlineHtml(_) => {}
            Event::Start(Tag::Link { dest_url, .. }) if !is_safe(&dest_url) => self.ends.push(None),
            Event::Start(Tag::Link { .. }) => self.start(event, TagEnd::Link),
            Event::Start(Tag::Image { ref dest_url, .. }) if is_local(dest_url) => {
                self.start(event, TagEnd::Image)
            }
            Event::Start(Tag::Image {
                dest_url,
                title,
                id,
                ..
            }) => self.remote_image(dest_url, title, id),
            Event::End(TagEnd::Link | TagEnd::Image) => {
                self.safe.extend(self.ends.pop().flatten().map(Event::End))
            }
            other => self.safe.push(other),
        }
    }

    fn start(&mut self, event: Event<'a>, end: TagEnd) {
        self.safe.push(event);
        self.ends.push(Some(end));
    }

    fn remote_image(&mut self, dest_url: CowStr<'a>, title: CowStr<'a>, id: CowStr<'a>) {
        // A link within a link is left out. Everything within an image is its alternative text.
        if !is_safe(&dest_url) || self.ends.iter().any(Option::is_some) {
            return self.ends.push(None);
        }
        let link_type = pulldown_cmark::LinkType::Inline;
        self.start(
            Event::Start(Tag::Link {
                link_type,
                dest_url,
                title,
                id,
            }),
            TagEnd::Link,
        );
        self.safe.push(Event::Text("Picture: ".into()));
    }
}

/// Whether a link may have this target: an http, https or mailto URL, or a relative URL.
fn is_safe(url: &str) -> bool {
    match scheme(url) {
        Some(scheme) => ["http", "https", "mailto"]
            .iter()
            .any(|safe| scheme.eq_ignore_ascii_case(safe)),
        None => true,
    }
}

/// Whether a URL is on the same site. Browsers treat `\` like `/`.
fn is_local(url: &str) -> bool {
    scheme(url).is_none()
        && !url.trim_start_matches(|c: char| c <= ' ').starts_with("//")
        && !url.contains('\\')
}

/// The text before the first colon, if the colon is before the path. This is more than the scheme
/// of RFC 3986 §3.1, because browsers ignore some characters in a scheme.
fn scheme(url: &str) -> Option<&str> {
    let at = url.find([':', '/', '?', '#'])?;
    url[at..].starts_with(':').then(|| &url[..at])
}

/// The text of raw HTML without tags. The result is escaped later, so it is safe even if a tag is
/// not recognised.
fn text_of(html: &str) -> String {
    let start = html
        .trim_start()
        .get(..7)
        .unwrap_or_default()
        .to_ascii_lowercase();
    if start.starts_with("<script") || start.starts_with("<style") {
        return String::new();
    }
    let mut text = String::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        text.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if rest.starts_with("<!--") { "-->" } else { ">" };
        rest = rest.find(end).map_or("", |at| &rest[at + end.len()..]);
    }
    text + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_html() {
        for (source, html) in [
            ("# A *b*", "<h1>A <em>b</em></h1>\n"),
            ("[a](b.md)", "<p><a href=\"b.md\">a</a></p>\n"),
            (
                "<https://a.b>",
                "<p><a href=\"https://a.b\">https://a.b</a></p>\n",
            ),
            ("<a@b.c>", "<p><a href=\"mailto:a@b.c\">a@b.c</a></p>\n"),
            ("![a](b.png)", "<p><img src=\"b.png\" alt=\"a\" /></p>\n"),
            (
                "[![a](b.png)](c)",
                "<p><a href=\"c\"><img src=\"b.png\" alt=\"a\" /></a></p>\n",
            ),
            ("---\ntitle: a\n---\nb", "<p>b</p>\n"),
            ("~~a~~", "<p><del>a</del></p>\n"),
        ] {
            assert_eq!(render(source), html, "{source}");
        }
        assert!(render("|a|\n|-|\n|b|\n").starts_with("<table>"));
    }

    #[test]
    fn raw_html_leaves_only_its_text() {
        for (source, html) in [
            ("a <b onclick=x>c</b>", "<p>a c</p>\n"),
            (
                "<p align=\"center\">\n<b>a</b> &amp; <img src=x onerror=alert(1)>\n</p>",
                "<p>\na &amp;amp; \n</p>\n",
            ),
            ("<script>alert(1)</script>", ""),
            ("<style>body{}</style>", ""),
            ("<!-- a > b -->", ""),
            ("<div\nonclick=\"alert(1)\"", ""),
            (
                "<<script>alert(1)//<</script>",
                "<p>&lt;alert(1)//&lt;</p>\n",
            ),
        ] {
            let rendered = render(source);
            assert_eq!(rendered.replace("\n\n", "\n"), html, "{source}");
        }
    }

    #[test]
    fn no_link_and_no_picture_runs_a_script() {
        for url in [
            "javascript:alert(1)",
            "JaVaScRiPt:alert(1)",
            "&#106;avascript:alert(1)",
            "javascript&colon;alert(1)",
            "&#1;javascript:alert(1)",
            "java&Tab;script:alert(1)",
            "java&NewLine;script:alert(1)",
            "<javascript:alert(1)>",
            "vbscript:a",
            "data:text/html,<script>alert(1)</script>",
            "file:///etc/passwd",
            "view-source:javascript:a",
            "\\javascript:alert(1)",
        ] {
            for source in [
                format!("[a]({url})"),
                format!("![a]({url})"),
                format!("[a][1]\n\n[1]: {url}\n"),
            ] {
                let html = render(&source);
                assert!(
                    !html.contains("href") && !html.contains("src="),
                    "{source}: {html}"
                );
            }
        }
        assert!(!render("<javascript:alert(1)>").contains("href"));
        for source in [
            "[a](b\"onclick=\"x)",
            "![\"onerror=\"x](b)",
            "[a](b 'c\"onclick=\"x')",
            "```\"><script>\n```",
        ] {
            let html = render(source);
            let quoted = html
                .split('"')
                .skip(1)
                .step_by(2)
                .all(|value| !value.contains(['<', '>']));
            assert!(
                quoted
                    && !html.contains("<script")
                    && !html.contains("\"onclick")
                    && !html.contains("\"onerror"),
                "{html}"
            );
        }
    }

    #[test]
    fn a_picture_from_elsewhere_is_a_link() {
        for (source, html) in [
            (
                "![a](https://x/y.png)",
                "<p><a href=\"https://x/y.png\">Picture: a</a></p>\n",
            ),
            (
                "![](//x/y.png)",
                "<p><a href=\"//x/y.png\">Picture: </a></p>\n",
            ),
            ("[![a](https://x/y.png)](z)", "<p><a href=\"z\">a</a></p>\n"),
            (
                "![a](/\\x/y.png)",
                "<p><a href=\"/%5Cx/y.png\">Picture: a</a></p>\n",
            ),
        ] {
            assert_eq!(render(source), html, "{source}");
        }
    }
}
