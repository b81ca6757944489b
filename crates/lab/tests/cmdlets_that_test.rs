//! `Test-NetConnection` and `Test-CsDatabase`, as their documentation shows them: an object in any case, and warnings where nothing is
//! to be had.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use lab::chat::cmdlets::{self, Finished};
use lab::scenario::Scenario;
use lab::world::World;
use lab::world::files::MemoryFiles;
use psrp::clixml::Value;
use psrp::message::{Command, PipelineState};

const SQL: &str = "atl-sql-1.litwareinc.com";
const SHELL: &str = "sea-fe-1.litwareinc.com";

fn world() -> World {
    let start = "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap();
    let mut w = World::new(Scenario::default(), Box::<MemoryFiles>::default(), start).unwrap();
    w.advance(start);
    w
}

/// What a cmdlet gives, and the milliseconds that it took.
fn run(w: &mut World, name: &str, parameters: &[(&str, Value)]) -> (Finished, i64) {
    let parameters = parameters.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
    let id = cmdlets::start(w, SHELL, "somebody", &Command { name: name.into(), parameters });
    let mut took = 0;
    loop {
        if let Some(finished) = cmdlets::poll(w, id) {
            return (finished, took);
        }
        took += 10;
        w.advance(w.now + SignedDuration::from_millis(10));
    }
}

fn connection(w: &mut World) -> (Finished, i64) {
    run(w, "Test-NetConnection", &[("ComputerName", Value::text(SQL)), ("Port", Value::I32(1433))])
}

fn database(w: &mut World) -> (Finished, i64) {
    let parameters = [
        ("DatabaseType", Value::text("PersistentChat")),
        ("SqlServerFqdn", Value::text(SQL)),
        ("SqlInstanceName", Value::text("CHAT")),
    ];
    run(w, "Test-CsDatabase", &parameters)
}

/// A Boolean property of the one object.
fn flag(f: &Finished, name: &str) -> Option<bool> {
    let [one] = f.objects.as_slice() else { panic!("{f:?}") };
    assert_eq!((f.errors.len(), f.state), (0, PipelineState::Completed), "{f:?}");
    one.get(name).and_then(Value::as_bool)
}

#[test]
fn both_answer_by_an_object_whatever_they_find() {
    let mut w = world();
    let ((tcp, quick), (test, _)) = (connection(&mut w), database(&mut w));
    assert_eq!((flag(&tcp, "TcpTestSucceeded"), flag(&test, "Succeed")), (Some(true), Some(true)));
    assert_eq!((tcp.warnings.len(), test.warnings.len()), (0, 0));

    // A port that accepts and says nothing.
    w.sql.get_mut(SQL).unwrap().silent = true;
    let ((tcp, _), (test, slow)) = (connection(&mut w), database(&mut w));
    assert_eq!((flag(&tcp, "TcpTestSucceeded"), flag(&test, "Succeed")), (Some(true), Some(false)));
    assert_eq!((tcp.warnings.len(), test.warnings.len()), (0, 2));
    assert!(slow > quick);

    w.lose("atlanta").unwrap();
    let ((tcp, slow), (test, _)) = (connection(&mut w), database(&mut w));
    assert_eq!((flag(&tcp, "TcpTestSucceeded"), flag(&test, "Succeed")), (Some(false), Some(false)));
    assert_eq!(flag(&tcp, "NameResolutionSucceeded"), Some(true));
    assert_eq!((tcp.warnings.len(), test.warnings.len()), (2, 2));
    assert!(slow > quick);

    w.chat.unresolved.push(SQL.into());
    let (tcp, _) = connection(&mut w);
    assert_eq!(flag(&tcp, "TcpTestSucceeded"), Some(false));
    assert_eq!(flag(&tcp, "NameResolutionSucceeded"), Some(false));
    assert_eq!(tcp.objects[0].get("RemoteAddress"), Some(&Value::Null));
}

#[test]
fn a_command_that_is_hidden_is_not_found() {
    let mut w = world();
    w.chat.hidden.push("Test-NetConnection".into());
    let (f, _) = connection(&mut w);
    let [e] = f.errors.as_slice() else { panic!("{f:?}") };
    assert_eq!((e.id.as_str(), e.category.number), ("CommandNotFoundException", Some(13)));
    assert_eq!(e.category.target_name.as_deref(), Some("Test-NetConnection"));
    assert!(f.objects.is_empty() && f.state == PipelineState::Failed);
}

#[test]
fn a_mirror_that_is_not_built_is_told_by_warnings_alone_and_a_list_is_emptied_by_null_alone() {
    let mut w = world();
    w.chat.mirror_warns = 1;
    let install = [
        ("DatabaseType", Value::text("PersistentChat")),
        ("SqlServerFqdn", Value::text(SQL)),
        ("FileShare", Value::text(r"\\atl-fs-1\mirror")),
        ("Confirm", Value::Bool(false)),
    ];
    let (f, _) = run(&mut w, "Install-CsMirrorDatabase", &install);
    assert_eq!((f.errors.len(), f.warnings.len(), f.state), (0, 2, PipelineState::Completed));

    let before = w.chat.master.active.clone();
    let set = |w: &mut World, servers: Value| {
        let identity = Value::text("PersistentChatServer:chat.litwareinc.com");
        let parameters =
            [("Identity", identity), ("ActiveServers", servers), ("Confirm", Value::Bool(false))];
        run(w, "Set-CsPersistentChatActiveServer", &parameters);
        w.chat.master.active.clone()
    };
    let nothing = Value::Dict(vec![(Value::text("Replace"), Value::List(vec![]))]);
    assert_eq!(set(&mut w, nothing), before);
    assert_eq!(set(&mut w, Value::Null), Vec::<String>::new());
}
