//! The order of a listing.

use std::cmp::Ordering;

use socketserver_http::protocol::query::Query;

/// The column that a listing is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum SortKey {
    #[default]
    Name,
    Size,
    Date,
}

/// The requested order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Order {
    pub(crate) key: SortKey,
    pub(crate) descending: bool,
}

impl SortKey {
    pub(crate) const ALL: [SortKey; 3] = [SortKey::Name, SortKey::Size, SortKey::Date];

    /// The name in the query.
    pub(crate) fn name(self) -> &'static str {
        match self {
            SortKey::Name => "name",
            SortKey::Size => "size",
            SortKey::Date => "date",
        }
    }
}

impl Order {
    /// Parses `sort=name|size|date&order=asc|desc`. Defaults to ascending names. Unknown values
    /// count as the default.
    pub(crate) fn of(query: Query<'_>) -> Order {
        let sort = query.get("sort").unwrap_or_default();
        Order {
            key: SortKey::ALL
                .into_iter()
                .find(|key| key.name() == sort)
                .unwrap_or_default(),
            descending: query.get("order").is_some_and(|order| order == "desc"),
        }
    }

    /// The order that the link in a column's head selects: the opposite order if the listing is
    /// already sorted by this column, and otherwise the column's usual order.
    pub(crate) fn next(self, key: SortKey) -> Order {
        let descending = if self.key == key {
            !self.descending
        } else {
            key != SortKey::Name
        };
        Order { key, descending }
    }

    /// The direction in the query.
    pub(crate) fn direction(self) -> &'static str {
        if self.descending { "desc" } else { "asc" }
    }

    /// Reverses an ascending order if this order is descending.
    pub(crate) fn apply(self, ascending: Ordering) -> Ordering {
        if self.descending {
            ascending.reverse()
        } else {
            ascending
        }
    }
}

/// Compares names in natural order: numbers by their values, and ASCII letters without regard to
/// case. Names that are equal by these rules are compared by their bytes, so that two different
/// names are never equal.
pub(crate) fn natural(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (a, b);
    while let (Some(&x), Some(&y)) = (left.first(), right.first()) {
        let order = if x.is_ascii_digit() && y.is_ascii_digit() {
            let (x, y) = (take_number(&mut left), take_number(&mut right));
            x.len().cmp(&y.len()).then_with(|| x.cmp(y))
        } else {
            (left, right) = (&left[1..], &right[1..]);
            x.to_ascii_lowercase().cmp(&y.to_ascii_lowercase())
        };
        if order.is_ne() {
            return order;
        }
    }
    left.len().cmp(&right.len()).then_with(|| a.cmp(b))
}

/// Removes the digits at the beginning of `text`, and returns them without leading zeros.
fn take_number<'a>(text: &mut &'a [u8]) -> &'a [u8] {
    let end = text
        .iter()
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    *text = rest;
    &digits[digits.iter().take_while(|&&digit| digit == b'0').count()..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_names_count_by_value_and_case_comes_last() {
        let ascending: &[&[u8]] = &[
            b"",
            b"0",
            b"01",
            b"1",
            b"2",
            b"10",
            b"99999999999999999999999",
            b"100000000000000000000000",
            b"a",
            b"A1b2",
            b"a1b10",
            b"a2",
            b"a10",
            b"a10.txt",
            b"B",
            b"b",
            b"img12.png",
            b"img100.png",
            b"\xc3\xa9",
            b"\xff",
        ];
        for (i, a) in ascending.iter().enumerate() {
            for (j, b) in ascending.iter().enumerate() {
                assert_eq!(
                    natural(a, b),
                    i.cmp(&j),
                    "{} {}",
                    a.escape_ascii(),
                    b.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn an_order_that_is_none_is_that_of_the_names() {
        for (query, key, descending) in [
            ("", SortKey::Name, false),
            ("sort=size", SortKey::Size, false),
            ("sort=date&order=desc", SortKey::Date, true),
            ("order=desc", SortKey::Name, true),
            ("sort=color&order=up", SortKey::Name, false),
        ] {
            assert_eq!(
                Order::of(Query(query.as_bytes())),
                Order { key, descending },
                "{query}"
            );
        }
    }

    #[test]
    fn a_column_s_head_turns_its_own_order_and_begins_with_what_is_wanted_first() {
        let by_size = Order {
            key: SortKey::Size,
            descending: true,
        };
        assert_eq!(
            by_size.next(SortKey::Size),
            Order {
                key: SortKey::Size,
                descending: false
            }
        );
        assert_eq!(
            by_size.next(SortKey::Name),
            Order {
                key: SortKey::Name,
                descending: false
            }
        );
        assert_eq!(
            by_size.next(SortKey::Date),
            Order {
                key: SortKey::Date,
                descending: true
            }
        );
    }
}
