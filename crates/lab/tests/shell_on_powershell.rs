//! The Management Shells of a lab on a real PowerShell (`dialect: {powerShell: engine}`), asked by the operator's client: they answer
//! what the usual back end answers.
//!
//! Without an engine these tests say that they are not run; with `PCF_ENGINES_REQUIRED=1` they fail.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use lab::scenario::{Dialect, PowerShell, Scenario};
use lab::serve::Lab;
use lab::world::journal::Outcome;
use psrp::client::{
    Client, Endpoint, Error, Found, JobIds, JobState, Output, PoolOptions, attach, is_there, start,
};
use psrp::clixml::Value;
use psrp::message::{Command, PipelineState};
use uuid::Uuid;

const LIMIT: Duration = Duration::from_secs(30);

fn there_is_an_engine() -> bool {
    let found = psrp::engine::for_tests(Path::new("")).expect("an engine is required").is_some();
    if found {
        psrp::engine::driven("shell_on_powershell", 1).unwrap();
    }
    found
}

struct Bench {
    lab: Lab,
    directory: tempfile::TempDir,
}

impl Bench {
    async fn new(power_shell: PowerShell, scenario: Scenario) -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let scenario = Scenario { dialect: Dialect { power_shell, ..Dialect::default() }, ..scenario };
        let lab = Lab::start(scenario, directory.path()).await.unwrap();
        Bench { lab, directory }
    }

    /// The Management Shell of a data centre.
    fn endpoint(&self, n: usize) -> Endpoint {
        self.lab.management_shell(&self.lab.scenario().data_centers[n].name).unwrap()
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
    let connection = |host: &str| {
        command("Test-NetConnection", &[("ComputerName", text(host)), ("Port", Value::I32(1433))])
    };
    let set_state = |identity: Value, state: &str| {
        let p = [("Identity", identity), ("PoolState", text(state)), ("Confirm", off())];
        command("Set-CsPersistentChatState", &p)
    };
    let set_active = |servers: &[&str]| {
        let p = [("Identity", identity()), ("ActiveServers", replace(servers)), ("Confirm", off())];
        command("Set-CsPersistentChatActiveServer", &p)
    };
    let service_is = |cmdlet: &str, name: &str| {
        let p = [("ComputerName", text("sea-cs-1.litwareinc.com")), ("Name", text(name)), ("Confirm", off())];
        command(cmdlet, &p)
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
        service_is("Stop-CsWindowsService", "RTCCHAT"),
        command("Get-CsWindowsService", &[("ComputerName", text("sea-cs-1.litwareinc.com"))]),
        service_is("Stop-CsWindowsService", "SPOOLER"),
        service_is("Start-CsWindowsService", "RTCCHAT"),
        test("sea-sql-1.litwareinc.com"),
        test("nowhere.litwareinc.com"),
        connection("sea-sql-1.litwareinc.com"),
        connection("nowhere.litwareinc.com"),
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
            .map(|(name, v)| format!("{name}={:?}", v.as_list().iter().map(Value::shown).collect::<Vec<_>>()))
            .collect();
        members.sort();
        said.push(format!("{kind}: {}", members.join(", ")));
    }
    for e in &out.errors {
        let kind = e.exceptions.first().and_then(|x| x.type_names.first()).cloned().unwrap_or_default();
        said.push(format!("error {}: {} ({kind})", e.id, e.message));
    }
    // A report is called by an id of its own.
    let called = |w: &str| w.split_once(r"\Temp\").map_or(w.to_string(), |(before, _)| before.to_string());
    said.extend(out.warnings.iter().map(|w| format!("warning {}", called(w))));
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_refused_by_the_engine_or_by_the_lab_with_the_same_words_for_it() {
    if !there_is_an_engine() {
        return;
    }
    let bench = Bench::new(PowerShell::Engine, Scenario::default()).await;
    let client = bench.client(0).await;
    let refused = async |c: &Command| {
        let out = client.invoke(c, LIMIT).await.unwrap();
        assert_eq!((out.state, out.objects.len()), (PipelineState::Failed, 0), "{c:?}: {out:?}");
        out.errors.last().unwrap().clone()
    };
    // By the engine: a command that the session configuration does not show, a parameter and a value that the cmdlet does not have,
    // and a question that nobody could answer.
    let before = bench.lab.journal().len();
    assert_eq!(refused(&command("Get-Process", &[])).await.id, "CommandNotFoundException");
    let wrong = command("Get-CsService", &[("Nonsense", Value::Bool(true))]);
    assert_eq!(refused(&wrong).await.id, "NamedParameterNotFound,Get-CsService");
    let state = |more: &[(&str, Value)]| {
        let p = [("Identity", Value::text("service:chat.litwareinc.com"))];
        command("Set-CsPersistentChatState", &[&p[..], more].concat())
    };
    let wrong = state(&[("PoolState", Value::text("Sideways")), ("Confirm", Value::Bool(false))]);
    let e = refused(&wrong).await;
    assert_eq!(e.id, "ParameterArgumentTransformationError,Set-CsPersistentChatState");
    let e = refused(&state(&[("PoolState", Value::text("Normal"))])).await;
    assert!(e.message.contains("does not support user interaction"), "{e:?}");
    let asked = bench.lab.journal().len();
    assert_eq!(asked, before, "the lab was asked");
    // By the lab: a real SqlException is thrown where Microsoft's cmdlet would throw one.
    bench.lab.world().now().chat.master_host = None;
    let e = refused(&command("Get-CsService", &[("PersistentChatServer", Value::Bool(true))])).await;
    assert_eq!(e.id, "SqlConnectionError,Get-CsService");
    let kinds: Vec<&str> = e.exceptions[0].type_names.iter().map(String::as_str).collect();
    assert_eq!(kinds[..2], ["System.Data.SqlClient.SqlException", "System.Data.Common.DbException"], "{e:?}");
    assert_eq!(e.message, "Cannot connect to the Central Management store.");
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cmdlet_that_is_stopped_is_aborted_and_two_run_at_once() {
    if !there_is_an_engine() {
        return;
    }
    let bench = Bench::new(PowerShell::Engine, Scenario { mirror_ms: 60_000, ..Scenario::default() }).await;
    let client = bench.client(1).await;
    client.invoke(&command("Get-CsPersistentChatState", &[]), LIMIT).await.unwrap();
    // While one takes long, another one answers.
    let began = Instant::now();
    let install = install();
    let (stopped, state) = tokio::join!(client.invoke(&install, Duration::from_secs(6)), async {
        bench.until("the installation", |b| b.outcome("Install-CsMirrorDatabase").is_some()).await;
        client.invoke(&command("Get-CsPersistentChatState", &[]), LIMIT).await
    });
    assert_eq!(state.unwrap().objects.len(), 1);
    assert!(matches!(stopped, Err(Error::Lost(_))), "{stopped:?}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    let aborted = |b: &Bench| b.outcome("Install-CsMirrorDatabase") == Some(Outcome::Aborted);
    bench.until("the abortion", aborted).await;
    // The same shell goes on.
    let out = client.invoke(&command("Get-CsPersistentChatState", &[]), LIMIT).await.unwrap();
    assert_eq!(out.state, PipelineState::Completed);
    client.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_job_lives_on_without_its_client_and_is_read_when_it_has_ended() {
    if !there_is_an_engine() {
        return;
    }
    let bench = Bench::new(PowerShell::Engine, Scenario { mirror_ms: 1500, ..Scenario::default() }).await;
    let ids = JobIds { shell: Uuid::new_v4(), command: Uuid::new_v4() };
    let endpoint = bench.endpoint(1);
    let first = start(&endpoint, &install(), &ids, Duration::from_secs(600)).await.unwrap();
    assert_eq!(first.state(Duration::ZERO).await.unwrap(), JobState::Running);
    // As long as somebody attends it, nobody else does.
    assert!(matches!(attach(&endpoint, &ids).await.unwrap(), Found::Elsewhere));
    bench.until("the cmdlet", |b| b.outcome("Install-CsMirrorDatabase").is_some()).await;
    first.leave().await;
    let Found::Attended(second) = attach(&endpoint, &ids).await.unwrap() else { panic!("it is there") };
    let out = match second.state(LIMIT).await.unwrap() {
        JobState::Finished(out) => out,
        other @ (JobState::Running | JobState::Ended | JobState::Gone) => panic!("{other:?}"),
    };
    // Chat does not live there: the lab refuses it, and says why.
    assert_eq!(out.state, PipelineState::Completed);
    assert_eq!(out.errors[0].id, "InstallMirrorFailed,Install-CsMirrorDatabase");
    assert!(matches!(bench.outcome("Install-CsMirrorDatabase"), Some(Outcome::Failed(_))));
    // Its shell is deleted with its end.
    let deadline = Instant::now() + LIMIT;
    while is_there(&endpoint, &ids).await.unwrap() {
        assert!(Instant::now() < deadline, "its shell is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until_no_engine_of(&bench).await;
}

/// Processes whose arguments name a directory: the engines of a lab, and nobody else.
fn engines_of(directory: &Path) -> Vec<String> {
    let directory = format!("{}/management-shell", directory.display());
    let entries = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let process = |e: std::fs::DirEntry| {
        let name = e.file_name().into_string().ok().filter(|n| n.bytes().all(|b| b.is_ascii_digit()))?;
        let arguments = std::fs::read(e.path().join("cmdline")).ok()?;
        String::from_utf8_lossy(&arguments).contains(&directory).then_some(name)
    };
    entries.filter_map(process).collect()
}

async fn until_no_engine_of(bench: &Bench) {
    bench.until("the end of the engines", |b| engines_of(b.directory.path()).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engines_of_a_lost_data_centre_are_gone_and_so_are_all_when_the_lab_is() {
    if !there_is_an_engine() {
        return;
    }
    let mut bench =
        Bench::new(PowerShell::Engine, Scenario { mirror_ms: 60_000, ..Scenario::default() }).await;
    let ids = JobIds { shell: Uuid::new_v4(), command: Uuid::new_v4() };
    let lost = bench.endpoint(1);
    let job = start(&lost, &install(), &ids, Duration::from_secs(600)).await.unwrap();
    bench.until("the installation", |b| b.outcome("Install-CsMirrorDatabase").is_some()).await;
    let client = bench.client(0).await;
    let state = command("Get-CsPersistentChatState", &[]);
    client.invoke(&state, LIMIT).await.unwrap();
    assert_eq!(engines_of(bench.directory.path()).len(), 2);
    bench.lab.lose("seattle").await.unwrap();
    bench.until("the end of one engine", |b| engines_of(b.directory.path()).len() == 1).await;
    assert_eq!(bench.outcome("Install-CsMirrorDatabase"), Some(Outcome::Aborted));
    bench.lab.restore("seattle").await.unwrap();
    assert!(!is_there(&lost, &ids).await.unwrap());
    drop(job);
    // A client whose engine is gone asks for another.
    client.invoke(&state, LIMIT).await.unwrap();
    bench.lab.lose("atlanta").await.unwrap();
    bench.lab.restore("atlanta").await.unwrap();
    let out = client.invoke(&command("Get-CsPersistentChatState", &[]), LIMIT).await;
    assert_eq!(out.unwrap().objects.len(), 1);
    let Bench { lab, directory } = bench;
    drop((client, lab));
    let deadline = Instant::now() + LIMIT;
    while !engines_of(directory.path()).is_empty() {
        assert!(Instant::now() < deadline, "an engine has outlived its lab");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `pcf-lab serve` of a scenario with engines.
fn serve(directory: &Path) -> std::process::Command {
    let scenario = directory.join("scenario.yaml");
    std::fs::write(&scenario, "dialect: {powerShell: engine}\nmirrorMs: 60000\n").unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_pcf-lab"));
    command.arg("serve").arg("--dir").arg(directory).arg("--scenario").arg(scenario);
    command
}

#[test]
fn without_an_engine_such_a_lab_does_not_start_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let output =
        serve(directory.path()).env_remove("PCF_ENGINES_RUN").env("PATH", "/nonexistent").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(
        said.trim(),
        "pcf-lab: the scenario has its Management Shells on engines: no PowerShell engine (PCF_ENGINES_RUN is not set, and there is no \
         pwsh on the PATH)"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lab_that_is_killed_leaves_no_engine_behind() {
    if !there_is_an_engine() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut lab = serve(directory.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + LIMIT;
    let description = loop {
        match std::fs::read(directory.path().join("lab.json")) {
            Ok(text) => break serde_json::from_slice::<serde_json::Value>(&text).unwrap(),
            Err(e) => assert!(Instant::now() < deadline, "{e}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let url = description["dataCenters"]["seattle"]["managementShell"]["url"].as_str().unwrap();
    let port = url.trim_start_matches("https://127.0.0.1:").trim_end_matches("/wsman").parse().unwrap();
    let ca = std::fs::read(directory.path().join("ca.crt")).unwrap();
    let endpoint = lab::remoting::endpoint(ca, "sea-fe-1.litwareinc.com", port);
    // In the middle of a cmdlet.
    let ids = JobIds { shell: Uuid::new_v4(), command: Uuid::new_v4() };
    let _job = start(&endpoint, &install(), &ids, Duration::from_secs(600)).await.unwrap();
    assert_eq!(engines_of(directory.path()).len(), 1);
    lab.kill().unwrap();
    lab.wait().unwrap();
    while !engines_of(directory.path()).is_empty() {
        assert!(Instant::now() < deadline, "an engine has outlived its lab");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
