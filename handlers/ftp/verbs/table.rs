//! The rows of the table.

use super::Argument::{Optional, Refused, Required};
use super::Feature::{Digests, Facts, Lines, WithTls};
use super::{Argument, Entry, Verb, entry};

const NONE: (Argument, &str) = (Refused, "");
const PATH: (Argument, &str) = (Required, "PATH");
const ANY_PATH: (Argument, &str) = (Optional, "[PATH]");
const RANGE: (Argument, &str) = (Required, "PATH [START [END]]");

/// Every verb, in the order of its name.
pub const VERBS: &[Entry] = &[
    entry(Verb::Abor, "ABOR", NONE, "Abort the transfer."),
    entry(
        Verb::Acct,
        "ACCT",
        (Required, "TEXT"),
        "Accepted and ignored: users have no accounts to choose.",
    )
    .open(),
    entry(
        Verb::Allo,
        "ALLO",
        (Required, "BYTES [R BYTES]"),
        "Ask whether a file of this size can be stored.",
    ),
    entry(
        Verb::Appe,
        "APPE",
        PATH,
        "Append to a file, or go on with an upload that was cut.",
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
    entry(Verb::Cdup, "CDUP", NONE, "Change to the directory above.").needs("e"),
    entry(
        Verb::Cwd,
        "CWD",
        ANY_PATH,
        "Change the working directory; to the root without a path.",
    )
    .needs("e"),
    entry(Verb::Dele, "DELE", PATH, "Remove a file.").needs("d"),
    entry(
        Verb::Eprt,
        "EPRT",
        (Required, "|FAMILY|ADDRESS|PORT|"),
        "Have the server connect to this address for the next transfer.",
    )
    .waits()
    .feature(Lines(&["EPRT"])),
    entry(
        Verb::Epsv,
        "EPSV",
        (Optional, "[1|2|ALL]"),
        "Have the server listen for the next transfer.",
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
        "Compute the digest of a file, or of the range that starts at REST.",
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
        "Refused: this server has one host.",
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
    entry(Verb::Mdtm, "MDTM", PATH, "Show when a file was modified.")
        .needs("l")
        .feature(Lines(&["MDTM"])),
    entry(
        Verb::Mfmt,
        "MFMT",
        (Required, "TIME PATH"),
        "Set when a file was modified.",
    )
    .needs("T")
    .feature(Lines(&["MFMT"])),
    entry(Verb::Mkd, "MKD", PATH, "Make a directory.").needs("m"),
    entry(
        Verb::Mlsd,
        "MLSD",
        ANY_PATH,
        "List a directory for programs.",
    )
    .needs("l")
    .waits(),
    entry(
        Verb::Mlst,
        "MLST",
        ANY_PATH,
        "Describe a file or directory for programs.",
    )
    .needs("l")
    .feature(Facts),
    entry(
        Verb::Mode,
        "MODE",
        (Required, "S|Z"),
        "Set the mode of transfers: stream, or compressed.",
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
        "Log in with the name of USER.",
    )
    .open(),
    entry(
        Verb::Pasv,
        "PASV",
        NONE,
        "Have the server listen on an IPv4 address for the next transfer.",
    )
    .waits(),
    entry(
        Verb::Pbsz,
        "PBSZ",
        (Required, "0"),
        "Set the size of protection buffers, which TLS does not have.",
    )
    .open()
    .waits()
    .feature(WithTls(&["PBSZ"])),
    entry(
        Verb::Port,
        "PORT",
        (Required, "H1,H2,H3,H4,P1,P2"),
        "Have the server connect to this IPv4 address for the next transfer.",
    )
    .waits(),
    entry(
        Verb::Prot,
        "PROT",
        (Required, "C|P"),
        "Set the protection of data connections: clear, or private.",
    )
    .open()
    .waits()
    .feature(WithTls(&["PROT"])),
    entry(Verb::Pwd, "PWD", NONE, "Show the working directory."),
    entry(
        Verb::Quit,
        "QUIT",
        NONE,
        "Close the connection, after the transfer if one runs.",
    )
    .open(),
    entry(Verb::Rein, "REIN", NONE, "Log out, and begin again.").open(),
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
    entry(Verb::Rnfr, "RNFR", PATH, "Name what is to be renamed.").needs("f"),
    entry(Verb::Rnto, "RNTO", PATH, "Rename it to this.").needs("f"),
    entry(
        Verb::Site,
        "SITE",
        (Required, "COMMAND"),
        "Run a command of this server: CHMOD, HELP, QUOTA.",
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
        "Show how many bytes the user may store, and has stored.",
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
        "Set the structure of files: file.",
    )
    .waits(),
    entry(Verb::Syst, "SYST", NONE, "Show the type of the system.").open(),
    entry(
        Verb::Type,
        "TYPE",
        (Required, "A|I|L 8"),
        "Set the type of transfers: text, or binary.",
    )
    .waits(),
    entry(
        Verb::User,
        "USER",
        (Required, "NAME"),
        "Name the user who logs in.",
    )
    .open(),
    entry(Verb::Cdup, "XCUP", NONE, "The same as CDUP.").needs("e"),
    entry(Verb::Cwd, "XCWD", ANY_PATH, "The same as CWD.").needs("e"),
    entry(Verb::Xmd5, "XMD5", RANGE, "Compute the MD5 of a file.")
        .needs("r")
        .waits()
        .feature(Lines(&["XMD5"])),
    entry(Verb::Mkd, "XMKD", PATH, "The same as MKD.").needs("m"),
    entry(Verb::Pwd, "XPWD", NONE, "The same as PWD."),
    entry(Verb::Rmd, "XRMD", PATH, "The same as RMD.").needs("d"),
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
