//! Tables on standard output.

/// Rows below their headings, in columns as wide as their widest cell. A row has a cell for each
/// heading.
pub(super) fn table(headings: &[&str], rows: &[impl AsRef<[String]>]) -> String {
    let rows = rows
        .iter()
        .map(|row| row.as_ref().iter().map(String::as_str));
    let rows: Vec<Vec<&str>> = std::iter::once(headings.to_vec())
        .chain(rows.map(Iterator::collect))
        .collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..headings.len()).map(width).collect();
    let line = |row: &Vec<&str>| {
        let cells = row.iter().zip(&widths);
        let cells: Vec<String> = cells
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        format!("{}\n", cells.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

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
