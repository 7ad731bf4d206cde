use std::net::SocketAddr;

use super::*;
use crate::accounts::testing::{TestFile, add};
use crate::accounts::{NewUser, Prefix, Rights, hash_password};

const SECOND: Duration = Duration::from_secs(1);

fn client(address: &str) -> ClientAddress {
    address.parse::<SocketAddr>().unwrap().into()
}

struct Fixture {
    file: TestFile,
    accounts: Accounts,
    start: Instant,
}

impl Fixture {
    fn new(name: &str) -> Fixture {
        let (file, store) = TestFile::new(name);
        add(&store, "ada", "pa:ss@wörd", "lr");
        let accounts = Accounts::open(&file.path(), Cost::CHEAP).unwrap();
        Fixture {
            file,
            accounts,
            start: Instant::now(),
        }
    }

    /// Returns `+` for granted, `-` for denied or `!` for busy, with the delay of this verdict.
    fn ask(&self, name: &str, password: &str, address: &str, at: Duration) -> (char, Duration) {
        match self
            .accounts
            .verify(name, password, &client(address), self.start + at)
            .unwrap()
        {
            Verdict::Granted(account) => {
                assert_eq!(account.name, name);
                ('+', Duration::ZERO)
            }
            Verdict::Denied(delay) => ('-', delay),
            Verdict::Busy(again) => ('!', again),
        }
    }
}

const HOME: &str = "192.0.2.1:1";
const ZERO: Duration = Duration::ZERO;

#[test]
fn only_the_right_password_of_a_known_user_is_granted() {
    let fixture = Fixture::new("grant");
    add(fixture.accounts.store(), ANONYMOUS, "", "r");
    for (at, (name, password, verdict)) in [
        ("ada", "pa:ss@wörd", '+'),
        ("ada", "pa:ss@wörd ", '-'),
        ("ada", "", '-'),
        ("Ada", "pa:ss@wörd", '-'),
        ("bob", "pa:ss@wörd", '-'),
        ("", "", '-'),
        (ANONYMOUS, "", '-'),
        (ANONYMOUS, "me@example", '-'),
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("192.0.2.{at}:1");
        assert_eq!(
            fixture.ask(name, password, &address, ZERO).0,
            verdict,
            "{name} {password}"
        );
    }
    assert_eq!(
        fixture.accounts.counts(),
        Counts {
            granted: 1,
            remembered: 0,
            denied: 7,
            busy: 0
        }
    );
    assert_eq!(
        fixture.accounts.anonymous().unwrap().unwrap().rights(b"x"),
        "r".parse().unwrap()
    );
}

#[test]
fn a_password_is_remembered_for_minutes_from_any_address() {
    let fixture = Fixture::new("remember");
    let remembered = |at, address| {
        let before = fixture.accounts.counts().remembered;
        assert_eq!(fixture.ask("ada", "pa:ss@wörd", address, at).0, '+');
        fixture.accounts.counts().remembered > before
    };
    assert!(!remembered(ZERO, HOME));
    assert!(remembered(SECOND, HOME));
    assert!(remembered(299 * SECOND, "[2001:db8::1]:1"));
    assert!(!remembered(300 * SECOND, HOME));
    assert!(remembered(599 * SECOND, HOME));
}

#[test]
fn a_changed_account_counts_at_once_whoever_changes_it() {
    let fixture = Fixture::new("change");
    let elsewhere = Store::open(&fixture.file.path()).unwrap();
    assert_eq!(fixture.ask("ada", "pa:ss@wörd", HOME, ZERO).0, '+');
    elsewhere
        .change_rights("ada", &"/".parse().unwrap(), |_| "w".parse().unwrap())
        .unwrap();
    match fixture
        .accounts
        .verify("ada", "pa:ss@wörd", &client(HOME), fixture.start)
        .unwrap()
    {
        Verdict::Granted(account) => assert_eq!(account.rights(b"x").to_string(), "w"),
        other => panic!("{other:?}"),
    }
    elsewhere
        .set_hash("ada", &hash_password("new", Cost::CHEAP).unwrap())
        .unwrap();
    assert_eq!(fixture.ask("ada", "pa:ss@wörd", HOME, ZERO).0, '-');
    assert_eq!(fixture.ask("ada", "new", HOME, ZERO).0, '+');
    elsewhere.remove_user("ada").unwrap();
    assert_eq!(fixture.ask("ada", "new", HOME, ZERO).0, '-');
}

#[test]
fn an_address_that_fails_is_slowed_and_not_listened_to_meanwhile() {
    let fixture = Fixture::new("address");
    // The names and ports differ each time, because only the address counts.
    let fail = |number: u64, at| {
        fixture.ask(
            &format!("user{number}"),
            "x",
            &format!("192.0.2.1:{}", number + 1),
            at,
        )
    };
    (0..5).for_each(|number| assert_eq!(fail(number, ZERO), ('-', ZERO)));
    assert_eq!(fail(5, ZERO), ('-', SECOND / 4));
    assert_eq!(
        fixture.ask("ada", "pa:ss@wörd", HOME, ZERO),
        ('!', SECOND / 4)
    );
    assert_eq!(fixture.ask("ada", "pa:ss@wörd", "192.0.2.2:1", ZERO).0, '+');
    assert_eq!(
        fixture.ask("ada", "pa:ss@wörd", HOME, ZERO).0,
        '+',
        "who is remembered is not held up"
    );
    assert_eq!(fail(6, SECOND / 4), ('-', SECOND / 2));
    assert_eq!(fail(7, SECOND), ('-', SECOND));
    assert_eq!(fail(8, 2 * SECOND), ('-', 2 * SECOND));
    assert_eq!(fail(9, 4 * SECOND), ('-', 2 * SECOND));
    assert_eq!(
        fail(10, 66 * SECOND),
        ('-', ZERO),
        "after a minute all is forgotten"
    );
    assert_eq!(fixture.accounts.counts().busy, 1);
}

#[test]
fn a_name_that_many_addresses_guess_at_is_slowed_but_open_to_its_owner() {
    let fixture = Fixture::new("name");
    for (name, number) in [("ada", 0), ("bob", 100)] {
        let delays: Vec<_> = (0..8)
            .map(|at| {
                fixture
                    .ask(name, "x", &format!("192.0.2.{}:1", number + at), ZERO)
                    .1
            })
            .collect();
        assert_eq!(delays[..5], [ZERO; 5]);
        assert_eq!(
            delays[5..],
            [SECOND / 4, SECOND / 2, SECOND],
            "{name}, known or not"
        );
    }
    assert_eq!(
        fixture.ask("ada", "pa:ss@wörd", "198.51.100.1:1", ZERO).0,
        '+'
    );
}

#[test]
fn an_ipv6_network_counts_as_one_address() {
    let fixture = Fixture::new("ipv6");
    (0..5).for_each(|host| {
        _ = fixture.ask(
            &host.to_string(),
            "x",
            &format!("[2001:db8::{host}:1]:1"),
            ZERO,
        )
    });
    assert_eq!(
        fixture.ask("5", "x", "[2001:db8::9]:1", ZERO),
        ('-', SECOND / 4)
    );
    assert_eq!(
        fixture.ask("6", "x", "[2001:db8:0:1::9]:1", ZERO),
        ('-', ZERO)
    );
}

/// The CPU time of this thread, which does not depend on the load of the machine.
fn cpu_time() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

#[test]
fn an_unknown_user_costs_as_much_as_a_known_one() {
    let (file, store) = TestFile::new("time");
    let cost = Cost {
        memory: 4096,
        passes: 2,
    };
    let hash = Some(hash_password("x", cost).unwrap());
    let user = NewUser {
        name: "ada",
        hash,
        home: Prefix::root(),
        quota: None,
        rights: Rights::ALL,
    };
    store.add_user(&user).unwrap();
    let accounts = Accounts::open(&file.path(), cost).unwrap();
    let mut fastest = [Duration::MAX; 2];
    for round in 0..10u32 {
        for (name, fastest) in ["ada", "bob"].iter().zip(&mut fastest) {
            let begun = cpu_time();
            let now = Instant::now() + round * (100 * SECOND);
            let verdict = accounts.verify(name, "wrong", &client(HOME), now).unwrap();
            assert!(matches!(verdict, Verdict::Denied(_)));
            *fastest = (cpu_time() - begun).min(*fastest);
        }
    }
    let [known, unknown] = fastest;
    assert!(
        unknown * 2 > known && known * 2 > unknown,
        "known {known:?}, unknown {unknown:?}"
    );
}
