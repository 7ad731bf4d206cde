//! `socketserver users list`

use serde_json::{Map, Value, json};

use crate::accounts::Account;
use crate::cli::table::table;
use crate::service::Failure;

/// Prints the users as a table, or as JSON.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print(accounts: &[Account], json: bool) -> Result<u8, Failure> {
    if json {
        let users: Vec<Value> = accounts.iter().map(as_json).collect();
        return crate::cli::print(format!("{}\n", Value::from(users)).as_bytes());
    }
    let (headings, rows) = as_table(accounts);
    crate::cli::print(table(&headings, &rows).as_bytes())
}

/// Returns the headings and the rows. A column that few users need is shown only if a user has a
/// value for it.
fn as_table(accounts: &[Account]) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let always = ["NAME", "RIGHTS", "HOME", "USED", "QUOTA"].len();
    let headings = [
        "NAME", "RIGHTS", "HOME", "USED", "QUOTA", "RATE", "SESSIONS", "MOUNTS",
    ];
    let rows: Vec<_> = accounts.iter().map(as_row).collect();
    let is_shown = |column: &usize| {
        *column < always || rows.iter().any(|row: &[String; 8]| row[*column] != NONE)
    };
    let columns: Vec<usize> = (0..headings.len()).filter(is_shown).collect();
    let shown = |row: &[String; 8]| columns.iter().map(|column| row[*column].clone()).collect();
    (
        columns.iter().map(|column| headings[*column]).collect(),
        rows.iter().map(shown).collect(),
    )
}

/// The text of a cell without a value.
const NONE: &str = "-";

fn as_row(account: &Account) -> [String; 8] {
    let rights: Vec<String> = account
        .rules
        .iter()
        .map(|(prefix, rights)| format!("{rights}:{prefix}"))
        .collect();
    let mounts: Vec<String> = account
        .mounts
        .iter()
        .map(|mount| format!("{}={}", mount.at, mount.folder.display()))
        .collect();
    let number =
        |value: Option<u64>| value.map_or_else(|| NONE.to_owned(), |value| value.to_string());
    [
        account.name.clone(),
        rights.join(" "),
        account.home.to_string(),
        account.used.to_string(),
        number(account.quota),
        number(account.rate_limit),
        number(account.max_sessions.map(u64::from)),
        if mounts.is_empty() {
            NONE.to_owned()
        } else {
            mounts.join(" ")
        },
    ]
}

fn as_json(account: &Account) -> Value {
    let rights: Map<String, Value> = account
        .rules
        .iter()
        .map(|(prefix, rights)| (prefix.to_string(), rights.to_string().into()))
        .collect();
    let mounts: Map<String, Value> = account
        .mounts
        .iter()
        .map(|mount| (mount.at.to_string(), mount.folder.to_string_lossy().into()))
        .collect();
    json!({
        "name": account.name, "password": account.has_password(), "home": account.home.as_str(),
        "quota": account.quota, "used": account.used, "rights": rights,
        "rate_limit": account.rate_limit, "max_sessions": account.max_sessions,
        "mounts": mounts,
    })
}
