//! One test's world: a lab, a namespace on a control plane, operators, and what can be asked and awaited there.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lab::scenario::{DataCenter, Scenario};
use lab::serve::{Lab, demo};
use lab::sql::{SQL_PASSWORD, SQL_USER, login, logout};
use lab::tsql::Event;
use lab::tsql::batch::{self, Progress};
use lab::world::journal::{Effect, Outcome};
use serde_json::{Value, json};

use super::{Plane, Process, count, end_of, manifests};

/// A world that fails over quickly.
pub fn quick() -> Scenario {
    Scenario {
        backups: 8,
        copied: 5,
        restored: 4,
        backup_bytes: 50_000,
        restore_ms: 300,
        recovery_ms: 500,
        mirror_ms: 1500,
        replication_ms: 200,
        cmdlet_ms: 20,
        ..Scenario::default()
    }
}

/// The same, in which chat begins in the other data centre: as after a failover, and nothing of it is recorded.
pub fn quick_in_the_other() -> Scenario {
    let usual = quick();
    Scenario { active: usual.data_centers[1].name.clone(), ..usual }
}

/// The name of the resource of every scene.
pub const RESOURCE: &str = "litware";

/// A lab, a namespace, and an operator in it.
pub struct Scene {
    pub lab: Lab,
    pub namespace: String,
    pub directory: tempfile::TempDir,
    pub plane: Plane,
    /// The operator's kubeconfig: a test may put another server's address into it.
    pub kubeconfig: PathBuf,
    /// Environment variables of the operators to come.
    pub env: Vec<(&'static str, &'static str)>,
    /// The operator that is started.
    pub program: PathBuf,
    /// How long the lease of the operators to come stands; none: each of them works as if it had a cluster of its own, and nothing
    /// but the lock is between them.
    pub lease: Option<&'static str>,
    pub operator: Option<Process>,
}

impl Scene {
    /// Everything but the operator; the resource is not applied yet.
    pub async fn set(test: &str, scenario: Scenario) -> Scene {
        Scene::set_on(Plane::Shared, test, scenario).await
    }

    /// The same, on a control plane that may be the test's own.
    pub async fn set_on(plane: Plane, test: &str, scenario: Scenario) -> Scene {
        count(test);
        let namespace = test.replace('_', "-");
        demo::prepare_namespace(&plane, manifests(), &namespace).unwrap();
        let kubeconfig = plane.service_account_kubeconfig(&namespace, "pcf-operator").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let lab = Lab::start(scenario, directory.path()).await.unwrap();
        Scene {
            lab,
            namespace,
            directory,
            plane,
            kubeconfig,
            env: vec![],
            program: program(),
            lease: None,
            operator: None,
        }
    }

    /// The usual beginning: the resource is applied, the operator runs, the resource is Ready.
    pub async fn ready(test: &str, scenario: Scenario) -> Scene {
        let mut scene = Scene::set(test, scenario).await;
        scene.begin().await;
        scene
    }

    /// Applies the resource, starts the operator and waits until the resource is Ready.
    pub async fn begin(&mut self) {
        self.apply(&self.lab.resource(RESOURCE));
        self.start_operator();
        self.wait_for("Ready", "True", "Active").await;
    }

    /// A data centre of the scenario: 0 is the one that is active when the scene begins, 1 the other one.
    pub fn data_center(&self, n: usize) -> &DataCenter {
        &self.lab.scenario().data_centers[n]
    }

    pub fn apply(&self, text: &str) {
        self.kubectl(&["apply", "-f", "-"], Some(text));
    }

    pub fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(arguments);
        self.plane.kubectl(&all, stdin).unwrap_or_else(|e| panic!("{e}"))
    }

    pub fn patch(&self, spec: &str) {
        let patch = format!("{{\"spec\":{spec}}}");
        self.kubectl(&["patch", &format!("pcf/{RESOURCE}"), "--type", "merge", "-p", &patch], None);
    }

    /// Says yes to what was asked.
    pub fn agree(&self, asked: &Value) {
        let yes = json!({"transition": asked["transition"], "situation": asked["situation"], "by": "Ann"});
        self.patch(&json!({ "consent": yes }).to_string());
    }

    /// Says yes by the values that a message names.
    pub fn agree_as_told(&self, told: &str) {
        let value = |name: &str| {
            let (_, rest) = told.split_once(name).unwrap();
            rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect::<String>()
        };
        self.agree(&json!({"transition": value("transition: "), "situation": value("situation: ")}));
    }

    /// Nothing is done any more, and the status says so.
    pub async fn suspend(&self) {
        self.patch(r#"{"suspend":true}"#);
        // The status of its newest generation.
        self.wait_for("Ready", "True", "Active").await;
    }

    /// The wish that a data centre be the active one.
    pub fn want(&self, n: usize) {
        self.patch(&serde_json::json!({"activeDataCenter": self.data_center(n).name}).to_string());
    }

    pub fn log(&self) -> PathBuf {
        self.directory.path().join("operator.log")
    }

    pub fn log_says(&self, text: &str) -> bool {
        std::fs::read_to_string(self.log()).unwrap_or_default().contains(text)
    }

    pub fn log_tail(&self) -> String {
        end_of(&self.log())
    }

    /// Holds nothing more, and lets go on what is held.
    pub fn let_go(&self) {
        self.lab.break_at(None);
        self.lab.release();
    }

    /// Waits until the status says that a transition can only go on. The API server refuses by it.
    pub async fn until_no_return(&self) {
        let past = || self.object()["status"]["transition"]["pointOfNoReturn"] == true;
        self.until("the point of no return", past).await;
    }

    pub fn start_operator(&mut self) {
        self.operator = Some(self.another_operator(&self.log()));
    }

    /// One more operator, with a log of its own.
    pub fn another_operator(&self, log: &Path) -> Process {
        let election = [
            ("PCF_LEADER_ELECT", if self.lease.is_some() { "true" } else { "false" }),
            ("PCF_LEASE_DURATION", self.lease.unwrap_or("15s")),
        ];
        // Each bears a name of its own, which stays when it is started again: as a pod's does.
        let pod = format!("pcf-{}", log.file_stem().and_then(|stem| stem.to_str()).unwrap_or("operator"));
        let env = [&election[..], &[("POD_NAME", pod.as_str())], &self.env].concat();
        let (lab, namespace) = (&self.lab, &self.namespace);
        Process::of(
            demo::start_operator_with(lab, &self.kubeconfig, &self.program, namespace, log, &env).unwrap(),
        )
    }

    /// kill -9.
    pub fn kill_operator(&mut self) {
        self.operator = None;
    }

    /// Loses the first data centre and moves the Central Management store to the other one.
    pub async fn lose(&mut self) {
        self.lose_data_center(0).await;
    }

    /// The same of any of the two.
    pub async fn lose_data_center(&mut self, n: usize) {
        let (lost, left) = (self.data_center(n).name.clone(), self.data_center(1 - n).name.clone());
        self.lab.lose(&lost).await.unwrap();
        self.lab.fail_over_central_management(&left);
    }

    pub fn object(&self) -> Value {
        let of = format!("/apis/persistentchat.dev/v1alpha1/namespaces/{}", self.namespace);
        self.plane.read(&format!("{of}/persistentchatfailovers/{RESOURCE}"))
    }

    pub fn condition(&self, kind: &str) -> Option<Value> {
        let object = self.object();
        object["status"]["conditions"].as_array()?.iter().find(|c| c["type"] == kind).cloned()
    }

    /// Waits until a condition has a status and a reason; gives its message.
    pub async fn wait_for(&self, kind: &str, status: &str, reason: &str) -> String {
        self.wait_for_text(kind, status, reason, "").await
    }

    /// The same, for a message that holds a text.
    pub async fn wait_for_text(&self, kind: &str, status: &str, reason: &str, text: &str) -> String {
        let what = format!("{kind} did not become {status}/{reason} {text:?}");
        self.until_told(&what, Duration::from_secs(90), |_, conditions| {
            let found = conditions.iter().find(|c| c["type"] == kind)?;
            let message = found["message"].as_str().unwrap_or_default();
            (found["status"] == status && found["reason"] == reason && message.contains(text))
                .then(|| message.to_string())
        })
        .await
    }

    /// Polls the resource until something is found in it and in its conditions; only a status of its newest generation counts.
    async fn until_told<T>(
        &self,
        what: &str,
        limit: Duration,
        found: impl Fn(&Value, &[Value]) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + limit;
        loop {
            let object = self.object();
            let fresh = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            let conditions = object["status"]["conditions"].as_array().map_or(&[][..], Vec::as_slice);
            if let Some(found) = found(&object, conditions).filter(|_| fresh) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "{what}; the status is\n{}\nthe operator's log ends with\n{}",
                serde_json::to_string_pretty(&object["status"]).unwrap(),
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Polls until something holds.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(90);
        while !holds() {
            assert!(
                Instant::now() < deadline,
                "{what}: did not come. Written so far: {:#?}\nThe operator's log ends with\n{}",
                self.writes(),
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
    }

    /// Waits until a failover from the first data centre to the second one is complete: by the operator's word, and asserts
    /// that the lab agrees.
    pub async fn wait_until_failed_over(&self) {
        self.wait_until_ready_in(1).await;
        let mut wrong = not_live_in(&self.lab, 1);
        wrong.extend(not_once(&self.lab, 0, FAILOVER_ONCE));
        assert!(wrong.is_empty(), "the lab disagrees: {wrong:?}");
    }

    /// Waits until the operator says that a data centre is the active one and wanted.
    pub async fn wait_until_ready_in(&self, n: usize) {
        let name = self.data_center(n).name.as_str();
        self.until_told(&format!("not Ready in {name}"), Duration::from_secs(120), |object, conditions| {
            let ready = conditions.iter().any(|c| c["type"] == "Ready" && c["status"] == "True");
            let there = object["status"]["activeDataCenter"] == name;
            (ready && there && object["spec"]["activeDataCenter"] == name).then_some(())
        })
        .await;
    }

    /// The transitions that the history of the status tells of, the newest first: procedure, outcome, and the data centre that
    /// each was about.
    pub fn history(&self) -> Vec<(String, String, String)> {
        let history = self.object()["status"]["history"].take();
        let text = |h: &Value, key: &str| h[key].as_str().unwrap_or_default().to_string();
        let told = history.as_array().into_iter().flatten();
        told.map(|h| (text(h, "procedure"), text(h, "outcome"), text(h, "to"))).collect()
    }

    /// How many transitions of a procedure the history tells of with an outcome.
    pub fn times(&self, procedure: &str, outcome: &str) -> usize {
        self.history().iter().filter(|(p, o, _)| p == procedure && o == outcome).count()
    }

    /// The events that were told, each as its reason, its note and how often: the API's series keep the first one's note.
    pub fn events(&self) -> Vec<(String, String, u64)> {
        let text = self.kubectl(&["get", "events.events.k8s.io", "-o", "json"], None);
        let events: Value = serde_json::from_str(&text).unwrap();
        let text = |e: &Value, key: &str| e[key].as_str().unwrap_or_default().to_string();
        let told = events["items"].as_array().into_iter().flatten();
        told.map(|e| (text(e, "reason"), text(e, "note"), e["series"]["count"].as_u64().unwrap_or(1)))
            .collect()
    }

    /// The last failover, as the history of the status has it. What protects the other side follows by itself, and is the last
    /// transition then.
    pub fn last_failover(&self) -> Value {
        let history = self.object()["status"]["history"].take();
        let failover = history.as_array().into_iter().flatten().find(|h| h["procedure"] == "Failover");
        failover.unwrap_or_else(|| panic!("no failover in {history}")).clone()
    }

    /// Waits until nothing is at work: the transition has ended, and so has what follows it by itself.
    pub async fn wait_until_at_rest(&self) {
        self.until_told("not at rest", Duration::from_secs(90), |object, conditions| {
            let works = conditions.iter().any(|c| c["type"] == "Reconciling" && c["status"] == "True");
            let outcome = object["status"]["transition"]["outcome"].as_str();
            (!works && outcome != Some("Running")).then_some(())
        })
        .await;
    }

    /// Whether nothing is at work, by the status as it stands.
    pub fn is_at_rest(&self) -> bool {
        let status = self.object()["status"].take();
        let conditions = status["conditions"].as_array().map_or(&[][..], Vec::as_slice);
        let works = conditions.iter().any(|c| c["type"] == "Reconciling" && c["status"] == "True");
        !works && status["transition"]["outcome"] != "Running"
    }

    /// Takes away how log backups would reach a data centre's copy: then nothing follows a failover to the other one by itself.
    pub async fn leave_unprotected(&self, n: usize) {
        let mut centers = self.object()["spec"]["dataCenters"].take();
        centers[n].as_object_mut().unwrap().remove("logShipping");
        self.patch(&serde_json::json!({"dataCenters": centers}).to_string());
        self.wait_for("Ready", "True", "Active").await;
    }

    pub fn writes(&self) -> Vec<String> {
        demo::writes(&self.lab)
    }

    /// Looks for a while whether anything is written although nothing may be.
    pub async fn assert_nothing_moves(&self) {
        // Several passes of the loop, which looks every half second in a lab.
        let until = Instant::now() + Duration::from_secs(3);
        while Instant::now() < until {
            assert_eq!(self.writes(), Vec::<String>::new());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The operator that was built with the tests.
pub fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_pcf-operator"))
}

/// What somebody runs in a query window; how many rows he sees.
pub fn query(lab: &Lab, host: &str, text: &str) -> usize {
    let mut world = lab.world().now();
    let id = login(&mut world, host, SQL_USER, SQL_PASSWORD, "desk", "a query window").unwrap();
    batch::begin(&mut world, host, id, text, Vec::new()).unwrap();
    let mut out = Vec::new();
    assert_eq!(batch::step(&mut world, host, id, &mut out), Progress::Finished, "{text}");
    logout(&mut world, host, id);
    assert!(!out.iter().any(|e| matches!(e, Event::Error(_))), "{text}\n{out:?}");
    out.iter().map(|e| if let Event::Rows { rows, .. } = e { rows.len() } else { 0 }).sum()
}

/// A SQL Server of the lab, as its state has it.
pub fn server(lab: &Lab, host: &str) -> Value {
    lab.state()["sqlServers"][host].take()
}

/// The pool's active servers, by the lab.
pub fn active_servers(lab: &Lab) -> Vec<String> {
    let servers = lab.state()["chat"]["activeServers"].take();
    servers.as_array().into_iter().flatten().filter_map(|s| Some(s.as_str()?.to_string())).collect()
}

/// What the name of the tail of a log holds, and that of no other log backup.
pub const TAIL: &str = "_tail_";

/// Names of the log backups for the second data centre, oldest first.
pub fn backups(lab: &Lab) -> Vec<String> {
    backups_for(lab, 1)
}

/// Names of the log backups in the share for a data centre that jobs have taken, oldest first. They hold the time; their order is the
/// same in every lab.
pub fn backups_for(lab: &Lab, n: usize) -> Vec<String> {
    let files = std::fs::read_dir(&lab.backup_shares()[n]).unwrap();
    let names = files.map(|e| e.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> =
        names.filter(|name| name.ends_with(".trn") && !name.contains(TAIL)).collect();
    names.sort();
    names
}

/// Whether a statement or cmdlet is at work.
pub fn runs(lab: &Lab, name: &str) -> bool {
    // The journal is long, and this is asked often: it is looked at where it is.
    lab.world().now().journal.entries().iter().any(|e| e.name == name && e.outcome == Outcome::Running)
}

/// Whether the operator, or a job that it made, has begun a statement or cmdlet that changes something, by the journal from an entry on.
pub fn begun(lab: &Lab, since: usize, name: &str) -> bool {
    let world = lab.world().now();
    let mut entries = world.journal.entries().iter().skip(since);
    entries.any(|e| e.name == name && e.effect == Effect::Write && e.client != "SQLAgent")
}

/// What a failover carries out exactly once, however often a process was killed.
pub const FAILOVER_ONCE: &[&str] = &[
    "RESTORE DATABASE WITH RECOVERY",
    "EXEC sp_delete_log_shipping_secondary_database",
    "Install-CsMirrorDatabase",
];

/// Which of these was not carried out exactly once, by the lab's journal from an entry on.
pub fn not_once(lab: &Lab, since: usize, names: &[&str]) -> Vec<String> {
    let world = lab.world().now();
    let entries = world.journal.entries().get(since..).unwrap_or_default();
    let times = |name: &str| entries.iter().filter(|e| e.name == name && e.outcome == Outcome::Ok).count();
    names
        .iter()
        .map(|name| (name, times(name)))
        .filter(|(_, times)| *times != 1)
        .map(|(name, times)| format!("{name} was carried out {times} times"))
        .collect()
}

/// What is wrong with a world that should be live in a data centre. Read from the lab's servers, not from any status.
pub fn not_live_in(lab: &Lab, n: usize) -> Vec<String> {
    let (state, scenario) = (lab.state(), lab.scenario());
    let there = &scenario.data_centers[n];
    let chat = &state["chat"];
    let mut active: Vec<&str> =
        chat["activeServers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    active.sort_unstable();
    let database = |host: &String| {
        let all = state["sqlServers"][host]["databases"].as_array();
        all.into_iter().flatten().find(|d| d["name"] == scenario.database.as_str())
    };
    // Either partner of its mirror may be the principal.
    let live =
        [&there.sql_server, &there.mirror].into_iter().filter_map(database).find(|d| d["state"] == "ONLINE");
    let sessions = live.and_then(|d| d["sessions"].as_array()).map_or(0, Vec::len);
    let expected = [
        ("chat does not serve", chat["serving"] == true),
        (
            "the pool's state is not that of this store",
            chat["poolState"] == if n == 0 { "Normal" } else { "FailedOver" },
        ),
        ("the active servers are not those of this data centre", active == there.servers),
        ("the database is not ONLINE", live.is_some()),
        ("the mirror is not SYNCHRONIZED", live.is_some_and(|d| d["mirroring"]["state"] == "SYNCHRONIZED")),
        ("chat servers are not in the database", sessions > 0),
    ];
    expected
        .into_iter()
        .filter(|(_, holds)| !holds)
        .map(|(what, _)| format!("{}: {what}", there.name))
        .collect()
}
