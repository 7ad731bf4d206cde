//! The entries of the table of verbs.

use super::Argument::{Optional, Refused, Required};
use super::Feature::{Digests, Facts, Lines, WithTls};
use super::{Argument, Entry, Verb, entry};

const NONE: (Argument, &str) = (Refused, "");
const PATH: (Argument, &str) = (Required, "PATH");
const ANY_PATH: (Argument, &str) = (Optional, "[PATH]");
const RANGE: (Argument, &str) = (Required, "PATH [START [END]]");

/// All verbs, sorted by name.
pub const VERBS: &[Entry] = &[
    entry(Verb::Abor, "ABOR", NONE, "Abort the transfer."),
    entry(
        Verb::Acct,
        "ACCT",
        (Required, "TEXT"),
        "Accepted and ignored: the user name alone selects the account.",
    )
    .open(),
    entry(
        Verb::Allo,
        "ALLO",
        (Required, "BYTES [R BYTES]"),
        "Check whether a file of this size can be stored.",
    ),
    entry(
        Verb::Appe,
        "APPE",
        PATH,
        "Append to a file, or resume an interrupted upload.",
    )
    .needs("a")
    .waits(),
    entry(
        Verb::Auth,
        "AUTH",
        (Required, "TLS"),
        "Start TLS on the control connection.",
    )
    .open()
    .waits()
    .feature(WithTls(&["AUTH TLS", "AUTH SSL"])),
    entry(
        Verb::Ccc,
        "CCC",
        NONE,
        "Refused: the control connection stays encrypted.",
    )
    .open()
    .waits(),
    entry(Verb::Cdup, "CDUP", NONE, "Change to the parent directory.").needs("e"),
    entry(
        Verb::Cwd,
        "CWD",
        ANY_PATH,
        "Change the working directory; without a path, to the root.",
    )
    .needs("e"),
    entry(Verb::Dele, "DELE", PATH, "Remove a file.").needs("d"),
    entry(
        Verb::Eprt,
        "EPRT",
        (Required, "|FAMILY|ADDRESS|PORT|"),
        "Make the server connect to this address for the next transfer.",
    )
    .waits()
    .feature(Lines(&["EPRT"])),
    entry(
        Verb::Epsv,
        "EPSV",
        (Optional, "[1|2|ALL]"),
        "Open a port for the data connection of the next transfer.",
    )
    .waits()
    .feature(Lines(&["EPSV"])),
    entry(
        Verb::Feat,
        "FEAT",
        NONE,
        "List the features beyond RFC 959.",
    )
    .open(),
    entry(
        Verb::Hash,
        "HASH",
        PATH,
        "Compute the digest of a file, from the offset that REST has set.",
    )
    .needs("r")
    .waits()
    .feature(Digests),
    entry(
        Verb::Help,
        "HELP",
        (Optional, "[VERB]"),
        "List the verbs, or describe one.",
    )
    .open(),
    entry(
        Verb::Host,
        "HOST",
        (Required, "NAME"),
        "Refused: this server has no virtual hosts.",
    )
    .open(),
    entry(
        Verb::Lang,
        "LANG",
        (Optional, "[LANGUAGE]"),
        "Refused: replies are in English.",
    )
    .open(),
    entry(
        Verb::List,
        "LIST",
        ANY_PATH,
        "List a directory as `ls -l` does.",
    )
    .needs("l")
    .waits(),
    entry(
        Verb::Mdtm,
        "MDTM",
        PATH,
        "Show the modification time of a file.",
    )
    .needs("l")
    .feature(Lines(&["MDTM"])),
    entry(
        Verb::Mfmt,
        "MFMT",
        (Required, "TIME PATH"),
        "Set the modification time of a file.",
    )
    .needs("T")
    .feature(Lines(&["MFMT"])),
    entry(Verb::Mkd, "MKD", PATH, "Make a directory.").needs("m"),
    entry(
        Verb::Mlsd,
        "MLSD",
        ANY_PATH,
        "List a directory in a format for programs.",
    )
    .needs("l")
    .waits(),
    entry(
        Verb::Mlst,
        "MLST",
        ANY_PATH,
        "Show the facts of a file or directory in a format for programs.",
    )
    .needs("l")
    .feature(Facts),
    entry(
        Verb::Mode,
        "MODE",
        (Required, "S|Z"),
        "Set the transfer mode: S (stream) or Z (compressed).",
    )
    .waits()
    .feature(Lines(&["MODE Z"])),
    entry(
        Verb::Nlst,
        "NLST",
        ANY_PATH,
        "List the names in a directory.",
    )
    .needs("l")
    .waits(),
    entry(Verb::Noop, "NOOP", (Refused, ""), "Do nothing.").open(),
    entry(
        Verb::Opts,
        "OPTS",
        (Required, "UTF8 ON|MLST FACTS|HASH DIGEST"),
        "Set an option of a verb.",
    )
    .open(),
    entry(
        Verb::Pass,
        "PASS",
        (Optional, "[PASSWORD]"),
        "Send the password, and log in as the user that USER named.",
    )
    .open(),
    entry(
        Verb::Pasv,
        "PASV",
        NONE,
        "Open an IPv4 port for the data connection of the next transfer.",
    )
    .waits(),
    entry(
        Verb::Pbsz,
        "PBSZ",
        (Required, "0"),
        "Set the protection buffer size, which TLS does not use.",
    )
    .open()
    .waits()
    .feature(WithTls(&["PBSZ"])),
    entry(
        Verb::Port,
        "PORT",
        (Required, "H1,H2,H3,H4,P1,P2"),
        "Make the server connect to this IPv4 address for the next transfer.",
    )
    .waits(),
    entry(
        Verb::Prot,
        "PROT",
        (Required, "C|P"),
        "Set the protection of data connections: C (clear) or P (private, by TLS).",
    )
    .open()
    .waits()
    .feature(WithTls(&["PROT"])),
    entry(Verb::Pwd, "PWD", NONE, "Show the working directory."),
    entry(
        Verb::Quit,
        "QUIT",
        NONE,
        "Close the connection, after the current transfer.",
    )
    .open(),
    entry(
        Verb::Rein,
        "REIN",
        NONE,
        "Log out, and reset the transfer parameters.",
    )
    .open(),
    entry(
        Verb::Rest,
        "REST",
        (Required, "OFFSET"),
        "Start the next transfer at this offset.",
    )
    .waits()
    .feature(Lines(&["REST STREAM"])),
    entry(Verb::Retr, "RETR", PATH, "Send a file.")
        .needs("r")
        .waits(),
    entry(Verb::Rmd, "RMD", PATH, "Remove an empty directory.").needs("d"),
    entry(
        Verb::Rnfr,
        "RNFR",
        PATH,
        "Select the file or directory to rename.",
    )
    .needs("f"),
    entry(
        Verb::Rnto,
        "RNTO",
        PATH,
        "Rename the selected file or directory to this path.",
    )
    .needs("f"),
    entry(
        Verb::Site,
        "SITE",
        (Required, "COMMAND"),
        "Run a command of this server: CHMOD, HELP or QUOTA.",
    )
    .open(),
    entry(
        Verb::SiteChmod,
        "SITE CHMOD",
        (Required, "MODE PATH"),
        "Set the permissions of a file.",
    )
    .needs("M"),
    entry(
        Verb::SiteHelp,
        "SITE HELP",
        (Optional, "[COMMAND]"),
        "List the commands of SITE, or describe one.",
    )
    .open(),
    entry(
        Verb::SiteQuota,
        "SITE QUOTA",
        NONE,
        "Show how many bytes the user has stored, and the quota.",
    ),
    entry(
        Verb::Size,
        "SIZE",
        PATH,
        "Show the size of a file in bytes.",
    )
    .needs("l")
    .feature(Lines(&["SIZE", "TVFS", "UTF8"])),
    entry(
        Verb::Stat,
        "STAT",
        ANY_PATH,
        "Show the state of the session and of the transfer, or list a directory.",
    )
    .open()
    .needs("l"),
    entry(Verb::Stor, "STOR", PATH, "Store a file.")
        .needs("w")
        .waits(),
    entry(
        Verb::Stou,
        "STOU",
        (Optional, "[PREFIX]"),
        "Store a file under a new name.",
    )
    .needs("w")
    .waits(),
    entry(
        Verb::Stru,
        "STRU",
        (Required, "F"),
        "Set the file structure, of which only F (file) is supported.",
    )
    .waits(),
    entry(Verb::Syst, "SYST", NONE, "Show the type of the system.").open(),
    entry(
        Verb::Type,
        "TYPE",
        (Required, "A|I|L 8"),
        "Set the transfer type: A (text), or I or L 8 (binary).",
    )
    .waits(),
    entry(
        Verb::User,
        "USER",
        (Required, "NAME"),
        "Send the user name for the login.",
    )
    .open(),
    entry(Verb::Cdup, "XCUP", NONE, "Old name of CDUP.").needs("e"),
    entry(Verb::Cwd, "XCWD", ANY_PATH, "Old name of CWD.").needs("e"),
    entry(Verb::Xmd5, "XMD5", RANGE, "Compute the MD5 of a file.")
        .needs("r")
        .waits()
        .feature(Lines(&["XMD5"])),
    entry(Verb::Mkd, "XMKD", PATH, "Old name of MKD.").needs("m"),
    entry(Verb::Pwd, "XPWD", NONE, "Old name of PWD."),
    entry(Verb::Rmd, "XRMD", PATH, "Old name of RMD.").needs("d"),
    entry(Verb::Xsha1, "XSHA1", RANGE, "Compute the SHA-1 of a file.")
        .needs("r")
        .waits()
        .feature(Lines(&["XSHA1"])),
    entry(
        Verb::Xsha256,
        "XSHA256",
        RANGE,
        "Compute the SHA-256 of a file.",
    )
    .needs("r")
    .waits()
    .feature(Lines(&["XSHA256"])),
];
