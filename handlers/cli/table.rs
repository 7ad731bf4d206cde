//! Tables on standard output.

/// Rows below their headings, in columns as wide as their widest cell.
pub(super) fn table<const N: usize>(headings: [&str; N], rows: &[[String; N]]) -> String {
    let rows: Vec<[&str; N]> = std::iter::once(headings)
        .chain(rows.iter().map(|row| row.each_ref().map(String::as_str)))
        .collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let line = |row: &[&str; N]| {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
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
            table(["A", "B"], &rows),
            "A     B\nä     long cell\nlong  x\n"
        );
        assert_eq!(table(["A", "B"], &[]), "A  B\n");
    }
}
