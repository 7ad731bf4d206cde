//! Formats tables for standard output.

/// Formats rows below their headings. Each column is as wide as its widest cell, and a row has one
/// cell per heading. Control characters are escaped: otherwise the path of a folder could begin a
/// line that looks like another row.
pub(super) fn table(headings: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let headings_row = headings.iter().map(|heading| (*heading).to_owned());
    let rows = rows
        .iter()
        .map(|row| row.as_ref().iter().map(|cell| printable(cell)).collect());
    let rows: Vec<Vec<String>> = std::iter::once(headings_row.collect())
        .chain(rows)
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Escapes control characters in the text.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_control() {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_cannot_forge_a_row_or_control_a_terminal() {
        let rows = [[
            "/a=/x\nroot  lrwd".to_owned(),
            "\u{1b}[2J\u{9b}é\\".to_owned(),
        ]];
        let shown = table(&["A", "B"], &rows);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(
            shown.contains("/a=/x\\nroot  lrwd  \\u{1b}[2J\\u{9b}é\\"),
            "{shown}"
        );
        assert_eq!(shown.chars().filter(|c| c.is_control()).count(), 2);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [
            ["ä".to_owned(), "long cell".to_owned()],
            ["long".to_owned(), "x".to_owned()],
        ];
        assert_eq!(
            table(&["A", "B"], &rows),
            "A     B\nä     long cell\nlong  x\n"
        );
        let rows: [[String; 2]; 0] = [];
        assert_eq!(table(&["A", "B"], &rows), "A  B\n");
    }
}
