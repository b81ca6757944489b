//! Chat servers that are taken off the list of active servers go on for a while; those whose service is stopped do not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use lab::chat::cmdlets::{self, Finished};
use lab::chat::{self, ChatServer};
use lab::scenario::{Scenario, Store};
use lab::world::World;
use lab::world::files::MemoryFiles;
use psrp::clixml::Value;
use psrp::message::{Command, PipelineState};

const SQL: &str = "atl-sql-1.litwareinc.com";
const SHELL: &str = "atl-fe-1.litwareinc.com";
const HOST: &str = "atl-cs-1.litwareinc.com";
const OTHER: &str = "atl-cs-2.litwareinc.com";
const STOP: &str = "Stop-CsWindowsService";
const START: &str = "Start-CsWindowsService";

struct Bench {
    w: World,
}

impl Bench {
    fn new(drain_ms: u64) -> Bench {
        let scenario = Scenario { drain_ms, ..Scenario::default() };
        let start = "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap();
        let mut w = World::new(scenario, Box::<MemoryFiles>::default(), start).unwrap();
        w.advance(start);
        Bench { w }
    }

    fn wait(&mut self, milliseconds: i64) {
        for _ in 0..milliseconds / 10 {
            let later = self.w.now + SignedDuration::from_millis(10);
            self.w.advance(later);
        }
    }

    /// Nobody is active any more, and every replica knows.
    fn empty_the_list(&mut self) {
        chat::set_active_by_hand(&mut self.w, &[]).unwrap();
        self.wait(i64::try_from(self.w.scenario.replication_ms).unwrap());
    }

    fn server(&self, host: &str) -> &ChatServer {
        &self.w.chat.servers[host]
    }

    fn connected(&self, host: &str) -> bool {
        let session = self.server(host).session.as_ref();
        session.is_some_and(|(sql, id)| lab::sql::session_alive(&self.w, sql, *id))
    }

    fn log_end(&self) -> i128 {
        self.w.sql[SQL].databases["mgc"].log_end
    }

    fn begin(&mut self, name: &str, parameters: &[(&str, Value)]) -> u64 {
        let parameters = parameters.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
        cmdlets::start(&mut self.w, SHELL, "somebody", &Command { name: name.into(), parameters })
    }

    fn run(&mut self, name: &str, parameters: &[(&str, Value)]) -> Finished {
        let id = self.begin(name, parameters);
        self.wait(100);
        cmdlets::poll(&self.w, id).unwrap()
    }

    /// Runs a cmdlet for a service of a host.
    fn service(&mut self, cmdlet: &str, host: &str, name: &str) -> Finished {
        let no = Value::Bool(false);
        self.run(cmdlet, &[("ComputerName", Value::text(host)), ("Name", Value::text(name)), ("Confirm", no)])
    }

    fn status(&mut self, host: &str) -> String {
        let shown = self.run("Get-CsWindowsService", &[("ComputerName", Value::text(host))]);
        shown.objects[0].get("Status").unwrap().shown()
    }
}

fn is_good(f: &Finished) -> bool {
    f.state == PipelineState::Completed && f.errors.is_empty() && f.warnings.is_empty()
}

#[test]
fn a_server_that_is_taken_off_the_list_goes_on_for_a_while() {
    let mut b = Bench::new(3_000);
    assert!(b.connected(HOST) && b.connected(OTHER));
    b.empty_the_list();
    b.wait(1_000);
    let before = b.log_end();
    b.wait(1_500);
    assert!(b.connected(HOST) && b.log_end() > before);
    b.wait(700);
    assert!(!b.connected(HOST) && !b.connected(OTHER));
    let after = b.log_end();
    b.wait(3_000);
    assert_eq!(b.log_end(), after);
    // Nobody who was not connected comes, and who is on the list again stays.
    let mut b = Bench::new(3_000);
    b.empty_the_list();
    b.wait(1_000);
    chat::set_active_by_hand(&mut b.w, &[HOST.to_string()]).unwrap();
    b.wait(10_000);
    assert!(b.connected(HOST) && !b.connected(OTHER) && b.server(HOST).leaves.is_none());
}

#[test]
fn for_ever_is_for_ever_and_nothing_is_at_once() {
    let mut b = Bench::new(u64::MAX);
    b.empty_the_list();
    b.wait(20_000);
    assert!(b.connected(HOST));
    let mut b = Bench::new(0);
    b.empty_the_list();
    assert!(!b.connected(HOST));
}

#[test]
fn what_a_server_goes_on_with_is_lost_at_once_with_its_database_its_host_or_the_state() {
    let changes: [fn(&mut World); 5] = [
        |w| chat::set_state_by_hand(w, Store::Backup),
        |w| w.lose("atlanta").unwrap(),
        |w| w.sql.get_mut(SQL).unwrap().down = true,
        |w| w.sql.get_mut(SQL).unwrap().databases.get_mut("mgc").unwrap().state = 1,
        |w| {
            let id = w.chat.servers[HOST].session.as_ref().unwrap().1;
            lab::sql::logout(w, SQL, id);
        },
    ];
    for change in changes {
        let mut b = Bench::new(u64::MAX);
        b.empty_the_list();
        b.wait(100);
        assert!(b.connected(HOST));
        change(&mut b.w);
        b.wait(510);
        assert!(!b.connected(HOST) && b.server(HOST).session.is_none() && b.server(HOST).leaves.is_none());
    }
}

#[test]
fn a_service_that_is_stopped_is_gone_until_it_is_started() {
    let mut b = Bench::new(u64::MAX);
    assert!(is_good(&b.service(STOP, HOST, "rtcchat")));
    assert!(!b.connected(HOST) && b.connected(OTHER));
    assert_eq!((b.status(HOST), b.status(OTHER)), ("Stopped".to_string(), "Running".to_string()));
    let shown = &chat::state(&b.w)["servers"];
    assert_eq!((&shown[HOST]["stopped"], &shown[OTHER]["stopped"]), (&true.into(), &false.into()));
    b.wait(5_000);
    assert!(!b.connected(HOST));
    assert!(is_good(&b.service(START, HOST, "RTCCHAT")));
    assert!(b.connected(HOST));
    assert_eq!(b.status(HOST), "Running");
    // Without a name it is for all of them; one that has left the list has nothing to go on with.
    b.empty_the_list();
    let all = [("ComputerName", Value::text(HOST)), ("Confirm", Value::Bool(false))];
    assert!(b.connected(HOST) && is_good(&b.run(STOP, &all)) && !b.connected(HOST));
    assert!(is_good(&b.run(START, &all)) && !b.server(HOST).stopped && !b.connected(HOST));
}

#[test]
fn other_services_change_nothing_and_unknown_ones_are_errors() {
    let mut b = Bench::new(300);
    assert!(is_good(&b.service(STOP, HOST, "REPLICA")));
    assert!(b.connected(HOST));
    for (host, name) in [(HOST, "SPOOLER"), (SHELL, "RTCCHAT"), ("nowhere.litwareinc.com", "RTCCHAT")] {
        for cmdlet in [STOP, START] {
            let f = b.service(cmdlet, host, name);
            assert_eq!((f.errors.len(), f.state), (1, PipelineState::Completed), "{host} {name}");
            assert!(f.errors[0].id.ends_with(&format!(",{cmdlet}")), "{:?}", f.errors);
        }
    }
    // Nobody is there to be asked.
    let unasked = b.run(STOP, &[("ComputerName", Value::text(HOST)), ("Name", Value::text("RTCCHAT"))]);
    assert_eq!(unasked.state, PipelineState::Failed);
    let strange = b.run(STOP, &[("Nonsense", Value::Bool(true)), ("Confirm", Value::Bool(false))]);
    assert_eq!(strange.state, PipelineState::Failed);
    assert!(b.connected(HOST));
}

#[test]
fn a_service_that_does_not_stop_is_told_of_by_warnings_alone() {
    let mut b = Bench::new(300);
    chat::will_not_stop(&mut b.w, HOST, true).unwrap();
    let f = b.service(STOP, HOST, "RTCCHAT");
    assert_eq!((f.state, f.errors.len(), f.warnings.len()), (PipelineState::Completed, 0, 2));
    assert!(f.warnings[0].starts_with("Stop-CsWindowsService encountered errors."));
    assert!(b.connected(HOST));
    assert_eq!(b.status(HOST), "Running");
    chat::will_not_stop(&mut b.w, HOST, false).unwrap();
    assert!(is_good(&b.service(STOP, HOST, "RTCCHAT")) && !b.connected(HOST));
    assert!(chat::will_not_stop(&mut b.w, "nowhere", true).is_err());
}

#[test]
fn a_graceful_stop_waits_for_those_who_are_connected() {
    let mut b = Bench::new(2_000);
    let graceful = [
        ("ComputerName", Value::text(HOST)),
        ("Name", Value::text("RTCCHAT")),
        ("Graceful", Value::Bool(true)),
        ("Confirm", Value::Bool(false)),
    ];
    let id = b.begin(STOP, &graceful);
    b.wait(1_900);
    assert!(b.connected(HOST) && cmdlets::poll(&b.w, id).is_none());
    b.wait(200);
    assert!(!b.connected(HOST) && is_good(&cmdlets::poll(&b.w, id).unwrap()));
    // There is nobody to wait for any more.
    assert!(is_good(&b.run(STOP, &graceful)));
    let unsure = [&graceful[..], &[("NoWait", Value::Bool(true))]].concat();
    assert!(b.run(STOP, &unsure).errors[0].message.contains("simulator"));
}
