//! The Management Shells of a lab on a real PowerShell (`dialect: {powerShell: engine}`), asked by the operator's client: they answer
//! what the usual back end answers.
//!
//! Without an engine these tests say that they are not run; with `PCF_ENGINES_REQUIRED=1` they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use lab::chat::{SHELL_PASSWORD, SHELL_USER};
use lab::scenario::{Dialect, PowerShell, Scenario};
use lab::serve::Lab;
use lab::world::journal::Outcome;
use psrp::client::{
    Authentication, Client, Endpoint, Error, JobIds, JobState, Output, Password, PoolOptions, look, start,
};
use psrp::clixml::Value;
use psrp::message::{Command, PipelineState};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

fn there_is_an_engine() -> bool {
    psrp::engine::for_tests(Path::new("/nonexistent")).unwrap_or_else(|e| panic!("{e}")).is_some()
}

struct Bench {
    lab: Lab,
    _directory: tempfile::TempDir,
}

impl Bench {
    async fn new(power_shell: PowerShell, scenario: Scenario) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let scenario = Scenario { dialect: Dialect { power_shell }, ..scenario };
        let lab = Lab::start(scenario, directory.path()).await.unwrap();
        Bench { lab, _directory: directory }
    }

    /// The Management Shell of a data centre.
    fn endpoint(&self, n: usize) -> Endpoint {
        let host = self.lab.scenario().data_centers[n].management_shell.clone();
        let env = self.lab.operator_env();
        let prefix = format!("{host}:5986=127.0.0.1:");
        let port = env["PCF_CONNECT_TO"].split(',').find_map(|p| p.strip_prefix(&prefix)).unwrap();
        let ca = self._directory.path().join("ca.crt");
        Endpoint {
            host,
            port: 5986,
            path: "/wsman".into(),
            connect_to: Some(("127.0.0.1".into(), port.parse().unwrap())),
            tls: true,
            ca_pem: Some(std::fs::read(ca).unwrap()),
            configuration_name: "PersistentChat.Failover".into(),
            authentication: Authentication::Basic,
            user: SHELL_USER.into(),
            password: Password(SHELL_PASSWORD.into()),
            connect_timeout: Duration::from_secs(8),
            operation_timeout: Duration::from_secs(5),
        }
    }

    async fn client(&self, n: usize) -> Client {
        Client::connect_with(&self.endpoint(n), PoolOptions::default()).await.unwrap()
    }

    /// How the newest run of a cmdlet ended.
    fn outcome(&self, name: &str) -> Option<Outcome> {
        let world = self.lab.world().now();
        world.journal.entries().iter().rev().find(|e| e.name == name).map(|e| e.outcome.clone())
    }

    async fn until(&self, what: &str, holds: impl Fn(&Bench) -> bool) {
        let deadline = Instant::now() + LIMIT;
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what} did not come");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn command(name: &str, parameters: &[(&str, Value)]) -> Command {
    let parameters = parameters.iter().map(|(n, v)| ((*n).to_string(), v.clone())).collect();
    Command { name: name.into(), parameters }
}

fn replace(servers: &[&str]) -> Value {
    let list = Value::List(servers.iter().map(|s| Value::text(*s)).collect());
    Value::Dict(vec![(Value::text("Replace"), list)])
}

fn install() -> Command {
    command(
        "Install-CsMirrorDatabase",
        &[
            ("DatabaseType", Value::text("PersistentChat")),
            ("SqlServerFqdn", Value::text("sea-sql-1.litwareinc.com")),
            ("SqlInstanceName", Value::text("CHAT")),
            ("FileShare", Value::text(r"\\seattle\mirror")),
            ("DropExistingDatabasesOnMirror", Value::Bool(true)),
            ("Confirm", Value::Bool(false)),
        ],
    )
}

/// Each cmdlet of the operator's, in each form, and what is refused.
fn every_command() -> Vec<Command> {
    let on = || Value::Bool(true);
    let off = || Value::Bool(false);
    let text = |t: &str| Value::text(t);
    let identity = || text("PersistentChatServer:chat.litwareinc.com");
    let test = |host: &str| {
        let p = [("DatabaseType", text("PersistentChat")), ("SqlServerFqdn", text(host))];
        command("Test-CsDatabase", &[&p[..], &[("SqlInstanceName", text("CHAT"))]].concat())
    };
    let set_state = |identity: Value, state: &str| {
        let p = [("Identity", identity), ("PoolState", text(state)), ("Confirm", off())];
        command("Set-CsPersistentChatState", &p)
    };
    let set_active = |servers: &[&str]| {
        let p = [("Identity", identity()), ("ActiveServers", replace(servers)), ("Confirm", off())];
        command("Set-CsPersistentChatActiveServer", &p)
    };
    let service = || command("Get-CsService", &[("PersistentChatServer", on())]);
    let state = || command("Get-CsPersistentChatState", &[]);
    let store = command("Get-CsManagementStoreReplicationStatus", &[("CentralManagementStoreStatus", on())]);
    vec![
        state(),
        command("Get-CsPersistentChatState", &[("LocalStore", on())]),
        service(),
        store,
        command("Get-CsManagementStoreReplicationStatus", &[]),
        command("Get-CsWindowsService", &[("ComputerName", text("sea-cs-1.litwareinc.com"))]),
        command("Get-CsWindowsService", &[("ComputerName", text("nowhere.litwareinc.com"))]),
        test("sea-sql-1.litwareinc.com"),
        test("nowhere.litwareinc.com"),
        set_state(identity(), "FailedOver"),
        set_state(text("PersistentChatServer:other.litwareinc.com"), "FailedOver"),
        state(),
        set_active(&["sea-cs-1.litwareinc.com", "sea-cs-2.litwareinc.com"]),
        set_active(&["foreign.litwareinc.com"]),
        service(),
        set_active(&["sea-cs-1.litwareinc.com"]),
        service(),
        install(),
    ]
}

/// What an answer says, as texts that can be compared. What tells the time is left out.
fn said(out: &Output) -> Vec<String> {
    let mut said = vec![format!("{:?}", out.state)];
    for object in &out.objects {
        let Value::Object(o) = object else { panic!("{object:?}") };
        let kind = o.type_names.first().unwrap().trim_start_matches("Deserialized.");
        let mut members: Vec<String> = o
            .adapted
            .iter()
            .chain(&o.extended)
            .filter(|(name, _)| !name.starts_with("Last"))
            .map(|(name, v)| {
                format!("{name}={:?}", v.as_list().iter().map(Value::shown).collect::<Vec<_>>())
            })
            .collect();
        members.sort();
        said.push(format!("{kind}: {}", members.join(", ")));
    }
    for e in &out.errors {
        let kind = e.exceptions.first().and_then(|x| x.type_names.first()).cloned().unwrap_or_default();
        said.push(format!("error {}: {} ({kind})", e.id, e.message));
    }
    said.extend(out.warnings.iter().map(|w| format!("warning {w}")));
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cmdlet_answers_what_the_usual_back_end_answers() {
    if !there_is_an_engine() {
        return;
    }
    let usual = Bench::new(PowerShell::Simulated, Scenario::default()).await;
    let engine = Bench::new(PowerShell::Engine, Scenario::default()).await;
    let (one, other) = (usual.client(1).await, engine.client(1).await);
    for c in every_command() {
        let expected = said(&one.invoke(&c, LIMIT).await.unwrap());
        let answer = other.invoke(&c, LIMIT).await.unwrap();
        assert_eq!(said(&answer), expected, "{c:?}");
        // A cmdlet that takes longer says how it stands.
        assert_eq!(answer.progress.is_some(), c.name == "Install-CsMirrorDatabase", "{c:?}");
    }
    other.close().await.unwrap();
}
