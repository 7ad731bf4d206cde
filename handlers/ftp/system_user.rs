//! Users and groups of the system, for `--user` and `--group`.

use std::fs;

use crate::service::{Failure, Identity};

/// Finds the numbers of a user and a group, each of which is given by name or number. Without a
/// group, uses the group of the user.
///
/// # Errors
/// Exit code 2 if the user or the group does not exist.
pub(super) fn identity(user: &str, group: Option<&str>) -> Result<Identity, Failure> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    find(user, group, &users, &groups).map_err(Failure::usage)
}

fn find(user: &str, group: Option<&str>, users: &str, groups: &str) -> Result<Identity, String> {
    let entry = fields(users, user);
    let number = |fields: &[&str], at: usize| fields.get(at)?.parse::<u32>().ok();
    let user_number = match &entry {
        Some(entry) => number(entry, 2),
        None => user.parse().ok(),
    };
    let user_number = user_number.ok_or_else(|| {
        format!("--user {user}: no such user in /etc/passwd: use a name or a number")
    })?;
    let group_number = match group {
        Some(group) => match fields(groups, group) {
            Some(entry) => number(&entry, 2),
            None => group.parse().ok(),
        }
        .ok_or_else(|| {
            format!("--group {group}: no such group in /etc/group: use a name or a number")
        })?,
        None => entry
            .and_then(|entry| number(&entry, 3))
            .ok_or_else(|| format!("--user {user}: the user has no group: add --group"))?,
    };
    Ok(Identity {
        user: user_number,
        group: group_number,
    })
}

/// The fields of the line that has `name` as its first field.
fn fields<'a>(file: &'a str, name: &str) -> Option<Vec<&'a str>> {
    let mut lines = file.lines().map(|line| line.split(':').collect::<Vec<_>>());
    lines.find(|fields| fields.first() == Some(&name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nftp:x:110:65534::/srv/ftp:/bin/false\n";
    const GROUPS: &str = "root:x:0:\nstaff:x:50:ada,bob\n";

    #[test]
    fn users_and_groups_have_names_or_numbers() {
        for (user, group, numbers) in [
            ("ftp", None, Some((110, 65534))),
            ("ftp", Some("staff"), Some((110, 50))),
            ("5", Some("6"), Some((5, 6))),
            ("5", None, None),
            ("nobody-here", None, None),
            ("ftp", Some("nothing"), None),
        ] {
            let found = find(user, group, USERS, GROUPS).ok();
            let found = found.map(|found| (found.user, found.group));
            assert_eq!(found, numbers, "{user} {group:?}");
        }
    }
}
