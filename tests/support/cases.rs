//! Cases of raw bytes in data files: `expected | why | bytes` on a line; empty lines and those with
//! `#` are passed over.

/// A line of a data file.
pub(crate) struct Case {
    pub(crate) line: usize,
    pub(crate) expected: &'static str,
    pub(crate) why: &'static str,
    pub(crate) bytes: Vec<u8>,
}

pub(crate) fn read(text: &'static str) -> Vec<Case> {
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| {
            let mut parts = line.splitn(3, " | ");
            let mut part = || {
                parts
                    .next()
                    .unwrap_or_else(|| panic!("line {}: {line}", number + 1))
            };
            let (expected, why) = (part(), part());
            Case {
                line: number + 1,
                expected,
                why,
                bytes: unescape(part()),
            }
        })
        .collect()
}

/// `\r \n \t \\ \xHH`, and `\*N{text}`: the text N times, with `%` the number of the turn.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend(&rest.as_bytes()[..at]);
        let (escape, behind) = rest[at + 1..].split_at(1);
        rest = behind;
        match escape {
            "r" => bytes.push(b'\r'),
            "n" => bytes.push(b'\n'),
            "t" => bytes.push(b'\t'),
            "\\" => bytes.push(b'\\'),
            "x" => {
                bytes.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            "*" => {
                let (count, behind) = rest.split_once('{').unwrap();
                let (inner, behind) = behind.split_once('}').unwrap();
                for turn in 0..count.parse::<usize>().unwrap() {
                    bytes.extend(unescape(&inner.replace('%', &turn.to_string())));
                }
                rest = behind;
            }
            other => panic!("unknown escape {other}"),
        }
    }
    bytes.extend(rest.as_bytes());
    bytes
}
