//! `doctor`: examines a configuration from the view of the clients of a server.

use clap::Subcommand;

use super::honoured::{self, Profile};
use super::options::Serve;
use super::{print, run};
use crate::ftp::Ftp;
use crate::ftp::doctor::{Finding, Level, Machine, Plan, examine};
use crate::service::{Context, Failure, Service, Unsupported};

const AFTER_HELP: &str = "Takes the options of `serve ftp`; give the same to both. The exit code \
    is 1 if clients will have problems. The error then names the options that solve them.";

/// Width of the output in columns.
const WIDTH: usize = 80;

/// The servers that can be examined.
#[derive(Debug, Subcommand)]
pub(super) enum Doctor {
    /// Examine the addresses, ports and certificate of an FTP server with these options
    #[command(after_help = AFTER_HELP)]
    Ftp(Box<Serve<Ftp>>),
}

/// Adds the service's own defaults to the help.
pub(super) fn with_defaults(doctor: clap::Command) -> clap::Command {
    Profile::of::<Ftp>().apply(doctor)
}

impl Doctor {
    /// Returns the options that the service cannot honour.
    pub(super) fn unsupported(&self) -> Vec<Unsupported> {
        let Doctor::Ftp(arguments) = self;
        honoured::unsupported(arguments)
    }

    /// Prints the findings, and returns the exit code.
    ///
    /// # Errors
    /// Code 1 with the options that solve the problems; code 2 for options that `serve` refuses.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let Doctor::Ftp(arguments) = self;
        let Serve { service, server } = *arguments;
        run::address_filter(&server)?;
        let addresses = run::addresses(&server, &service);
        let tls = run::tls::<Ftp>(&server, &addresses)?;
        let opening_tls = tls.clone().filter(|_| !service.starts_tls());
        // The client of the self-test is not a proxy.
        let builder = run::builder::<Ftp>(&server, opening_tls)?.proxy_protocol(None);
        service.check_before_start(&Context {
            certificate: tls.clone(),
            addresses: addresses.clone(),
            forks: server.forks(),
            is_sequential: server.is_sequential(),
            ..Context::default()
        })?;
        let plan = Plan {
            addresses,
            allow: server.allow,
            has_proxy: !server.proxy_protocol.is_empty(),
            max_connections: server.max_connections,
            tls,
            certificate: server.tls_cert,
            builder,
        };
        report(&examine(&service, plan, &Machine::this()))
    }
}

/// Prints a line for each finding, and the options that solve it below.
fn report(findings: &[Finding]) -> Result<u8, Failure> {
    let lines: Vec<String> = findings.iter().flat_map(lines).collect();
    print(format!("{}\n", lines.join("\n")).as_bytes())?;
    let is_problem = |finding: &&Finding| finding.level == Level::Problem;
    let problems: Vec<&Finding> = findings.iter().filter(is_problem).collect();
    if problems.is_empty() {
        return Ok(0);
    }
    let mut fixes: Vec<&str> = Vec::new();
    for fix in problems.iter().filter_map(|finding| finding.fix.as_deref()) {
        if !fixes.contains(&fix) {
            fixes.push(fix);
        }
    }
    let plural = if problems.len() == 1 { "" } else { "s" };
    let mut message = format!("{} problem{plural} for clients of ftp", problems.len());
    if !fixes.is_empty() {
        message += &format!("; use {}", fixes.join(" "));
    }
    Err(Failure::run(message))
}

const LEVEL_WIDTH: usize = 7;
const SUBJECT_WIDTH: usize = 13;

fn lines(finding: &Finding) -> Vec<String> {
    let level = match finding.level {
        Level::Good => "ok",
        Level::Note => "note",
        Level::Problem => "problem",
    };
    let text_width = WIDTH - LEVEL_WIDTH - SUBJECT_WIDTH - 4;
    let mut texts = wrapped(&finding.text, text_width);
    if let Some(fix) = &finding.fix {
        texts.extend(wrapped(&format!("use {fix}"), text_width));
    }
    let heads = std::iter::once((level, finding.subject)).chain(std::iter::repeat(("", "")));
    texts
        .iter()
        .zip(heads)
        .map(|(text, (level, subject))| {
            format!("{level:LEVEL_WIDTH$}  {subject:SUBJECT_WIDTH$}  {text}")
        })
        .collect()
}

/// Wraps a text in lines of at most `width` columns. A longer word gets its own line.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.is_empty() => line.push_str(word),
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(level: Level, fix: Option<&str>) -> Finding {
        Finding {
            level,
            subject: "passive ports",
            text: "word ".repeat(30),
            fix: fix.map(str::to_owned),
        }
    }

    #[test]
    fn a_finding_fits_a_terminal() {
        let lines = lines(&finding(
            Level::Problem,
            Some("--passive-ports 50000-50100"),
        ));
        assert!(
            lines[0].starts_with("problem  passive ports  word word"),
            "{lines:?}"
        );
        assert!(lines[1].starts_with(&" ".repeat(24)) && lines[1].contains("word"));
        assert!(lines.iter().all(|line| line.len() <= WIDTH), "{lines:?}");
        let fix = lines.last().unwrap();
        assert_eq!(fix.trim_start(), "use --passive-ports 50000-50100");
    }

    #[test]
    fn only_problems_are_failures() {
        let note = finding(Level::Note, Some("--bind :21"));
        let problem = finding(Level::Problem, Some("--passive-address HOST"));
        assert_eq!(report(&[finding(Level::Good, None), note.clone()]), Ok(0));
        let failure = report(&[note, problem.clone(), problem]).unwrap_err();
        assert_eq!(failure.code, 1);
        assert_eq!(
            failure.message,
            "2 problems for clients of ftp; use --passive-address HOST"
        );
    }
}
