//! Services of one server: names, limits, deadlines and statistics of their own.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use socketserver::{
    Builder, Error, Limits, Listen, ManualClock, Refusal, RunningListener, Service,
    ThreadPerRequest, ThreadingMixIn, Timeout, Timeouts,
};

use crate::subjects::{Obedient, Recorder, all_models, concurrent_models, obedient};
use crate::support::{Client, PATIENCE, Running, alone, descriptors, eventually};

fn listen(server: &Running, service: &Service) -> RunningListener {
    let options = Listen::new().service(service);
    let handle = &server.handle;
    handle
        .listen("127.0.0.1:0", options, |_: &_| Obedient)
        .unwrap()
}

#[test]
fn the_connections_of_a_service_are_listed_by_its_name_and_counted_apart() {
    for settings in concurrent_models() {
        let server = obedient(settings.name("main"));
        let data = Service::new("data");
        let listeners = [listen(&server, &data), listen(&server, &data)];
        let mut clients = Vec::from(listeners.each_ref().map(|listener| {
            let mut client = Client::connect(listener.server_address());
            client.say(b"hello\n").hear(b"hello\n");
            client
        }));
        clients.push(server.connect());
        clients[2].say(b"hello\n").hear(b"hello\n");
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        server.handle.adopt_for(&data, theirs, Obedient).unwrap();
        ours.write_all(b"hello\n").unwrap();
        ours.read_exact(&mut [0; 6]).unwrap();
        eventually("all are parked", || server.stats().active == 0);

        let mut names: Vec<String> = Vec::new();
        for listed in server.handle.connections() {
            names.push(listed.service.as_deref().unwrap().to_owned());
        }
        names.sort();
        assert_eq!(names, ["data", "data", "data", "main"]);
        let (own, all) = (data.stats(), server.stats());
        assert_eq!((own.accepted, own.open, own.parked), (3, 3, 3));
        assert_eq!((own.handled, own.failed), (3, 0));
        assert_eq!((all.accepted, all.open, all.handled), (4, 4, 4));

        clients[0].say(b"fail\n").hear_end();
        clients[1].say(b"panic\n").hear_end();
        drop((clients, ours));
        eventually("all have gone", || server.stats().open == 0);
        let own = data.stats();
        assert_eq!((own.open, own.failed, own.panics), (0, 1, 1));
        assert_eq!(own.running.count(), own.handled);
    }
}

#[test]
fn a_service_has_limits_of_its_own_within_those_of_the_server() {
    for settings in concurrent_models() {
        let hooks = Recorder::default();
        let server = obedient(settings.max_connections(3).hooks(hooks.clone()));
        let data = Service::new("data").limits(Limits::default().max_connections(2));
        let listener = listen(&server, &data);
        let address = listener.server_address();
        let mut clients = [Client::connect(address), Client::connect(address)];
        for client in &mut clients {
            client.say(b"hello\n").hear(b"hello\n");
        }
        let mut refused = Client::connect(address);
        assert_eq!(refused.hear_end(), b"go away\n");
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let adopted = server.handle.adopt_for(&data, theirs, Obedient);
        let too_many = Err(Refusal::MaxConnections);
        let refusal = |result: Result<(), Error>| match result {
            Err(Error::Refused(why)) => Err(why),
            Err(error) => panic!("{error}"),
            Ok(()) => Ok(()),
        };
        assert_eq!(refusal(adopted), too_many);
        assert_eq!(data.stats().refused(Refusal::MaxConnections), 1);
        assert_eq!(data.stats().open, 2);

        // The server has room for one more of another service.
        let mut other = server.connect();
        other.say(b"hello\n").hear(b"hello\n");
        let (_ours, theirs) = UnixStream::pair().unwrap();
        assert_eq!(refusal(server.handle.adopt(theirs, Obedient)), too_many);
        assert_eq!(hooks.refusals(), [Refusal::MaxConnections]);
        drop(clients);
        eventually("there is room again", || data.stats().open == 0);
        Client::connect(address).say(b"hello\n").hear(b"hello\n");
    }
}

#[test]
fn a_service_counts_its_clients_addresses_by_itself() {
    for settings in concurrent_models() {
        let server = obedient(settings.max_per_address(Some(3)));
        let one = Limits::default().max_per_address(Some(1));
        let strict = Service::new("strict").limits(one);
        let usual = Service::new("usual");
        let (strict, usual) = (listen(&server, &strict), listen(&server, &usual));
        let connect = |listener: &RunningListener| {
            let mut client = Client::connect(listener.server_address());
            client.say(b"hello\n").hear(b"hello\n");
            client
        };
        let _first = connect(&strict);
        let mut second = Client::connect(strict.server_address());
        assert_eq!(second.hear_end(), b"");
        // Without limits of its own it shares those of the server.
        let _others = [connect(&usual), connect(&usual)];
        let mut last = server.connect();
        last.say(b"hello\n").hear(b"hello\n");
        let mut refused = Client::connect(usual.server_address());
        assert_eq!(refused.hear_end(), b"");
    }
}

#[test]
fn a_service_has_deadlines_of_its_own() {
    for settings in all_models() {
        let time = ManualClock::new();
        let hooks = Recorder::default();
        let settings = settings.clock(time.clock()).hooks(hooks.clone());
        let server = obedient(settings.idle_timeout(None));
        let minute = Some(Duration::from_secs(60));
        let data = Service::new("data").timeouts(Timeouts::default().idle(minute));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        server.handle.adopt_for(&data, theirs, Obedient).unwrap();
        ours.write_all(b"hello\n").unwrap();
        ours.read_exact(&mut [0; 6]).unwrap();
        eventually("it is parked", || data.stats().parked == 1);
        assert_eq!(data.stats().timeouts_total(), 0);
        // The concurrency models that sleep look at the system's clock.
        if server.stats().threads == 0 {
            continue;
        }
        time.advance(Duration::from_secs(60));
        assert_eq!(ours.read(&mut [0; 6]).unwrap(), 0);
        eventually("it is counted", || {
            data.stats().timeouts(Timeout::Idle) == 1
        });
        assert_eq!(hooks.expiries(), [Timeout::Idle]);
    }
    for settings in all_models() {
        let server = obedient(settings.idle_timeout(None));
        let short = Some(Duration::from_millis(20));
        let data = Service::new("data").timeouts(Timeouts::default().idle(short));
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(PATIENCE)).unwrap();
        server.handle.adopt_for(&data, theirs, Obedient).unwrap();
        assert_eq!(ours.read(&mut [0; 6]).unwrap(), 0);
        eventually("it is counted", || {
            data.stats().timeouts(Timeout::Idle) == 1
        });
    }
}

#[test]
fn a_connection_of_the_program_that_belongs_to_a_service_needs_no_further_descriptors() {
    alone(|| {
        let server = obedient(Builder::new().process(ThreadPerRequest::new()));
        let data = Service::new("data");
        let adopt = || {
            let (mut ours, theirs) = UnixStream::pair().unwrap();
            ours.set_read_timeout(Some(PATIENCE)).unwrap();
            server.handle.adopt_for(&data, theirs, Obedient).unwrap();
            ours.write_all(b"hello\n").unwrap();
            ours.read_exact(&mut [0; 6]).unwrap();
            ours
        };
        let first = adopt();
        let before = descriptors();
        let others: Vec<UnixStream> = (0..10).map(|_| adopt()).collect();
        eventually("all wait", || data.stats().parked == 11);
        assert_eq!(descriptors(), before + 2 * others.len());
        drop(first);
    });
}

#[test]
fn servers_on_one_pool_have_limits_deadlines_and_statistics_of_their_own() {
    let pool = ThreadingMixIn::new();
    let settings = |name: &str| Builder::new().process(pool.clone()).name(name);
    let short = Some(Duration::from_millis(20));
    let small = obedient(settings("small").max_connections(1));
    let hasty = obedient(settings("hasty").idle_timeout(short));
    let mut first = small.connect();
    first.say(b"hello\n").hear(b"hello\n");
    assert_eq!(small.connect().hear_end(), b"");
    assert_eq!(hasty.connect().hear_end(), b"");
    first.say(b"still here\n").hear(b"still here\n");
    let listed = small.handle.connections();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].service.as_deref(), Some("small"));
    let (small, hasty) = (small.stats(), hasty.stats());
    assert_eq!((small.refused_total(), small.timeouts_total()), (1, 0));
    assert_eq!((hasty.refused_total(), hasty.timeouts_total()), (0, 1));
    assert_eq!((small.handled, hasty.handled), (2, 0));
}
