//! Draws dots as text: a Braille character contains two columns and four rows of dots.

use std::fmt;

/// Bits of a Braille character, by the row and the column of the dot.
const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];

/// A dot: its column from the left and its row from the top.
pub(super) type Dot = (usize, usize);

/// Rows of characters. The bits of a character are its dots.
pub(super) struct Dots(Vec<Vec<u8>>);

impl Dots {
    /// Creates a drawing with this many columns and rows of dots.
    pub(super) fn new(columns: usize, rows: usize) -> Dots {
        Dots(vec![vec![0; columns.div_ceil(2)]; rows.div_ceil(4)])
    }

    /// Sets a dot. A dot outside of the drawing is ignored.
    pub(super) fn set(&mut self, (column, row): Dot) {
        let text = self.0.get_mut(row / 4);
        if let Some(cell) = text.and_then(|cells| cells.get_mut(column / 2)) {
            *cell |= BITS[row % 4][column % 2];
        }
    }

    /// Sets the dots of a straight line, both ends included.
    pub(super) fn line(&mut self, from: Dot, to: Dot) {
        let steps = from.0.abs_diff(to.0).max(from.1.abs_diff(to.1)).max(1);
        let between = |from: usize, to: usize, step| (from * (steps - step) + to * step) / steps;
        for step in 0..=steps {
            self.set((between(from.0, to.0, step), between(from.1, to.1, step)));
        }
    }
}

impl fmt::Display for Dots {
    /// Writes the rows with line ends between them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, cells) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            for cell in cells {
                // U+2800 to U+28FF are the Braille patterns in the order of their bits.
                let character = char::from_u32(0x2800 + u32::from(*cell));
                write!(f, "{}", character.unwrap_or(' '))?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dot_has_its_place_in_a_character() {
        for (dot, text) in [
            ((0, 0), "⠁⠀\n⠀⠀"),
            ((1, 0), "⠈⠀\n⠀⠀"),
            ((0, 3), "⡀⠀\n⠀⠀"),
            ((3, 3), "⠀⢀\n⠀⠀"),
            ((2, 5), "⠀⠀\n⠀⠂"),
            ((4, 0), "⠀⠀\n⠀⠀"),
            ((0, 8), "⠀⠀\n⠀⠀"),
        ] {
            let mut dots = Dots::new(4, 8);
            dots.set(dot);
            assert_eq!(dots.to_string(), text, "{dot:?}");
        }
    }

    #[test]
    fn a_line_has_no_gap_and_both_its_ends() {
        for (from, to, text) in [
            ((0, 0), (3, 3), "⠑⢄"),
            ((3, 0), (3, 3), "⠀⢸"),
            ((0, 2), (3, 2), "⠤⠤"),
            ((1, 1), (1, 1), "⠐⠀"),
        ] {
            let mut dots = Dots::new(4, 4);
            dots.line(from, to);
            assert_eq!(dots.to_string(), text);
            let mut back = Dots::new(4, 4);
            back.line(to, from);
            assert_eq!(back.to_string(), text);
        }
    }
}
