//! Decimal numbers in columns of a listing.

/// Maximum number of digits of a `u64`.
const MAX_DIGITS: usize = 20;

/// Appends a number that is aligned to the right in a column of `width` bytes. The bytes before the
/// number are `fill`. A number that is longer than `width` makes its column wider.
pub fn push_right(number: u64, width: usize, fill: u8, to: &mut Vec<u8>) {
    let mut buffer = [fill; MAX_DIGITS];
    let begin = write_digits(number, &mut buffer).min(MAX_DIGITS.saturating_sub(width));
    to.extend_from_slice(&buffer[begin..]);
}

/// Appends a number that is aligned to the left in a column of `width` bytes. The bytes after the
/// number are spaces. A number that is longer than `width` makes its column wider.
pub fn push_left(number: u64, width: usize, to: &mut Vec<u8>) {
    let mut buffer = [b' '; MAX_DIGITS];
    let begin = write_digits(number, &mut buffer);
    to.extend_from_slice(&buffer[begin..]);
    to.resize(to.len() + width.saturating_sub(MAX_DIGITS - begin), b' ');
}

/// Writes the digits at the end of a buffer. Returns the index of the first one.
fn write_digits(mut number: u64, buffer: &mut [u8; MAX_DIGITS]) -> usize {
    let mut begin = MAX_DIGITS;
    for digit in buffer.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        begin -= 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    begin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_padded_as_by_format() {
        for number in [0, 7, 10, 99, 12_345_678, u64::MAX] {
            for width in [0, 1, 2, 8, 20] {
                let mut text = Vec::new();
                push_right(number, width, b' ', &mut text);
                push_left(number, width, &mut text);
                push_right(number, width, b'0', &mut text);
                let expected = format!("{number:>width$}{number:<width$}{number:0>width$}");
                assert_eq!(String::from_utf8(text).unwrap(), expected);
            }
        }
    }
}
