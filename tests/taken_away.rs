//! The whole program on a real API server, stopped, cut off and starved at every point where it hurts. Success is read from the
//! lab: from what its servers hold and from its journal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use common::{Plane, Process, Proxy, Scene, quick, signal};
use lab::control_plane::Options;
use lab::scenario::Scenario;
use lab::serve::held_file::HeldFile;
use lab::serve::{Lab, demo};
use lab::world::breakpoints::{Arrival, Moment};
use lab::world::journal::{Effect, Entry, Outcome};
use persistent_chat_failover::domain::step::StepId;
use tokio::sync::OnceCell;

/// One line of the matrix. It is written when it is dropped: as passed, or as failed if its test is panicking.
struct Row {
    what: &'static str,
    how_often: String,
    began: Instant,
}

impl Row {
    fn begin(what: &'static str) -> Row {
        Row { what, how_often: String::new(), began: Instant::now() }
    }

    /// Says where it was killed or cut off, and how often.
    fn passed(mut self, how_often: impl Into<String>) {
        self.how_often = how_often.into();
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| tell_row("what was done", "result", "took", "where, and how often"));
        let result = if std::thread::panicking() { "FAILED" } else { "went on" };
        tell_row(self.what, result, &format!("{:.1} s", self.began.elapsed().as_secs_f64()), &self.how_often);
    }
}

/// Writes one line of the matrix: past the capture of the test harness, and into the file that `make test` prints at its end.
fn tell_row(what: &str, result: &str, took: &str, how_often: &str) {
    let line = format!("| {what:76} | {result:7} | {took:>7} | {how_often:65} |\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("PCF_CRASH_MATRIX") {
        let mut f = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        f.write_all(line.as_bytes()).unwrap();
    }
}

/// Polls until something holds.
async fn until(scene: &Scene, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "{what}: did not come. Written so far: {:#?}\nThe operator's log ends with\n{}",
            scene.writes(),
            log_tail(scene)
        );
        tokio::time::sleep(Duration::from_millis(15)).await;
    }
}

fn log_tail(scene: &Scene) -> String {
    let text = std::fs::read_to_string(scene.log()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// A world in which a process is soon at work again after it was killed.
fn world() -> Scenario {
    // A copy must be longer than a pipe holds, or it cannot be held in its middle.
    Scenario { backup_bytes: 150_000, ..quick() }
}

const SOON: [(&str, &str); 2] = [("PCF_PRIMARY_SILENCE", "300ms"), ("PCF_POLL", "200ms")];

/// The log backups of a lab, oldest first. Their names hold the time: their numbers are the same in every lab.
fn backups(lab: &Lab) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(lab.backup_share())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn is_copied(lab: &Lab, name: &str) -> bool {
    lab.copy_folder().join(name).is_file()
}

/// What an effect is called in every run: without the times that are in names, and a write of the record by what it says.
fn label(
    files: &[String],
    name: &str,
    target: Option<&str>,
    parameters: &BTreeMap<String, String>,
) -> String {
    let target = target.unwrap_or_default();
    if target == "persistent_chat_failover" && name != "CREATE TABLE" {
        let document: serde_json::Value = serde_json::from_str(&parameters["@p5"]).unwrap();
        if !document["ended"].is_null() {
            // Whatever else it holds differs from run to run.
            return "record: over".into();
        }
        let mut says = vec![];
        // Each step's first effect has a record of its own before it.
        let begun =
            |step: &&StepId| document["steps"][step.as_str()]["attempts"].as_i64().is_some_and(|n| n > 0);
        if let Some(step) = StepId::ALL.iter().rfind(begun) {
            says.push(step.as_str());
        }
        if !document["savedLogShipping"].is_null() {
            says.push("log shipping saved");
        }
        if !document["recovery"].is_null() {
            says.push("recovery intended");
        }
        // How the mirror's cmdlet ended is told to one process only: after a kill, the next one finds it gone.
        let job = document["mirrorJobs"].as_array().unwrap().last();
        if let Some(job) = job.filter(|_| !says.contains(&StepId::ActiveServersSet.as_str())) {
            says.push(match job["ended"]["errors"].as_array() {
                None => "mirror intended",
                Some(errors) if errors.is_empty() => "mirror ended",
                Some(_) => "mirror never begun",
            });
        }
        return format!("record: {}", says.join(", "));
    }
    match files.iter().position(|f| target.ends_with(f.as_str())) {
        Some(n) => format!("{name} log backup {}", n + 1),
        None => format!("{name} {target}"),
    }
}

fn label_of(files: &[String], a: &Arrival) -> String {
    label(files, &a.name, a.target.as_deref(), &a.parameters)
}

/// What the operator did that changes something.
fn effects(lab: &Lab) -> Vec<Entry> {
    let others = ["SQLAgent", "someone"];
    let world = lab.world().now();
    let all = world.journal.entries().iter();
    all.filter(|e| e.effect == Effect::Write && !others.contains(&e.client.as_str())).cloned().collect()
}

/// What must have happened once, however often a process was killed; beyond what [`demo::check`] says.
fn assert_nothing_happened_twice(lab: &Lab) {
    let wrong = demo::check(lab);
    assert!(wrong.is_empty(), "the lab disagrees: {wrong:?}");
    let files = backups(lab);
    let mut done: BTreeMap<String, u32> = BTreeMap::new();
    for e in effects(lab).iter().filter(|e| e.outcome == Outcome::Ok) {
        *done.entry(label(&files, &e.name, e.target.as_deref(), &e.parameters)).or_default() += 1;
    }
    let once: Vec<_> = done
        .iter()
        .filter(|(what, _)| {
            ["RESTORE", "EXEC sp_delete", "Install-CsMirrorDatabase", "CREATE TABLE"]
                .iter()
                .any(|verb| what.starts_with(verb))
        })
        .collect();
    assert_eq!(once.len(), 8, "{once:?}");
    assert!(once.iter().all(|(_, n)| **n == 1), "{once:?}");
    // Whatever became of it: it was started once.
    assert_eq!(lab.journal().iter().filter(|e| e.name == "Install-CsMirrorDatabase").count(), 1);
}

/// Every effect of a failover that nothing disturbs, counted from the journal of such a run, and the copies of files.
async fn clean_run() -> &'static BTreeSet<String> {
    static CLEAN: OnceCell<BTreeSet<String>> = OnceCell::const_new();
    CLEAN
        .get_or_init(|| async {
            let row = Row::begin("nothing: the effects are counted");
            let mut scene = Scene::set("matrix_clean_run", world()).await;
            scene.env = SOON.to_vec();
            scene.begin().await;
            let files = backups(&scene.lab);
            let copied_before: Vec<bool> = files.iter().map(|f| is_copied(&scene.lab, f)).collect();
            scene.lose().await;
            scene.patch(r#"{"activeDataCenter":"seattle"}"#);
            until_failed_over(&scene).await;
            let mut found = Vec::new();
            until(&scene, "the end in the record", || {
                found = effects(&scene.lab)
                    .iter()
                    .map(|e| label(&files, &e.name, e.target.as_deref(), &e.parameters))
                    .collect();
                found.last().is_some_and(|e| e.ends_with("over"))
            })
            .await;
            assert!(effects(&scene.lab).iter().all(|e| e.outcome == Outcome::Ok));
            for (n, before) in copied_before.iter().enumerate().filter(|(_, before)| !**before) {
                assert!(!before && is_copied(&scene.lab, &files[n]));
                found.push(format!("copy of log backup {}", n + 1));
            }
            let all: BTreeSet<String> = found.iter().cloned().collect();
            assert_eq!(all.len(), found.len(), "two effects have the same name: {found:#?}");
            assert_nothing_happened_twice(&scene.lab);
            row.passed(format!("{} effects, {} of them writes of the record", all.len(), records(&all)));
            all
        })
        .await
}

fn records(all: &BTreeSet<String>) -> usize {
    all.iter().filter(|e| e.starts_with("record")).count()
}

/// A process is killed at each effect in turn, each time a new one goes on.
async fn killed_at_every_effect(test: &str, what: &'static str, moments: &'static [Moment]) {
    let before = moments.contains(&Moment::Before);
    let row = Row::begin(what);
    let (clean, mut scene) = tokio::join!(clean_run(), ready_on(&Plane::Shared, test, world()));
    let mut wanted = clean.clone();
    if moments.contains(&Moment::Started) {
        // The detached cmdlet: its answer is lost when it has begun, and once more when it has ended.
        let mirror = wanted.iter().find(|e| e.starts_with("Install-CsMirrorDatabase")).unwrap();
        wanted.insert(format!("{mirror} (started)"));
    }
    let files = backups(&scene.lab);
    let reached: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let (choose, names, known) = (reached.clone(), files.clone(), wanted.clone());
    scene.lab.break_at(Some(Box::new(move |moment, arrival| {
        let mut name = label_of(&names, arrival);
        if moment == Moment::Started {
            name.push_str(" (started)");
        }
        moments.contains(&moment) && known.contains(&name) && choose.lock().unwrap().insert(name)
    })));
    let to_copy: Vec<(String, String)> = (1..)
        .zip(&files)
        .filter(|(_, f)| !is_copied(&scene.lab, f))
        .map(|(n, f)| (format!("copy of log backup {n}"), f.clone()))
        .collect();
    let mut held_copies: BTreeMap<&str, HeldFile> = BTreeMap::new();
    if before {
        for (name, f) in &to_copy {
            let partial = scene.lab.copy_folder().join(format!("{f}.pcf-partial"));
            held_copies.insert(name, HeldFile::at(&partial).unwrap());
        }
    }
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_secs(240);
    loop {
        let copies: Vec<&str> = to_copy
            .iter()
            .filter(|(name, f)| match held_copies.get_mut(name.as_str()) {
                Some(held) => held.is_begun().unwrap(),
                None => !before && is_copied(&scene.lab, f) && !reached.lock().unwrap().contains(name),
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !copies.is_empty() || !scene.lab.held().is_empty() {
            scene.kill_operator();
            kills += 1;
            for name in copies {
                reached.lock().unwrap().insert(name.into());
                if let Some(held) = held_copies.remove(name) {
                    held.leave().unwrap();
                }
            }
            // Its sessions die, and with them what was not carried out yet.
            until(&scene, "the end of what the dead process had sent", || scene.lab.held().is_empty()).await;
            scene.start_operator();
        }
        if *reached.lock().unwrap() == wanted && demo::check(&scene.lab).is_empty() {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "not reached: {:#?}\nwritten: {:#?}\nthe log ends with\n{}",
            wanted.difference(&reached.lock().unwrap()).collect::<Vec<_>>(),
            scene.writes(),
            log_tail(&scene)
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed(format!("{} of {} points, {kills} kills", reached.lock().unwrap().len(), wanted.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_before_and_after_every_effect_and_every_write_of_the_record() {
    // Side by side: each waits for most of a minute until a request that is on its way counts as lost.
    tokio::join!(
        killed_at_every_effect(
            "matrix_killed_before",
            "kill -9 before each effect and each write of the record",
            &[Moment::Before],
        ),
        killed_at_every_effect(
            "matrix_killed_after",
            "kill -9 after each, its answer not yet sent",
            &[Moment::Started, Moment::After],
        )
    );
}

/// A scene that is Ready, on a control plane that may be the test's own.
async fn ready_on(plane: &Plane, test: &str, scenario: Scenario) -> Scene {
    let mut scene = Scene::set_on(plane.clone(), test, scenario).await;
    scene.env = SOON.to_vec();
    scene.begin().await;
    scene
}

/// Holds the first of each of these that arrives.
fn hold_first(scene: &Scene, names: &'static [&'static str]) {
    let mut met = BTreeSet::new();
    scene.lab.break_at(Some(Box::new(move |moment, a| {
        moment == Moment::Before && names.contains(&a.name.as_str()) && met.insert(a.name.clone())
    })));
}

async fn until_held(scene: &Scene, name: &str) {
    until(scene, name, || scene.lab.held().iter().any(|(_, a)| a.name == name)).await;
}

/// Waits until the failover is complete: by the lab, then by the status.
async fn until_failed_over(scene: &Scene) {
    until_failed_over_in_the_lab(scene).await;
    scene.wait_until_failed_over().await;
}

/// Waits until the lab says that the failover is complete, without a look at the API server.
async fn until_failed_over_in_the_lab(scene: &Scene) {
    until(scene, "the failover", || demo::check(&scene.lab).is_empty()).await;
}

fn runs(lab: &Lab, name: &str) -> bool {
    // The journal is long, and this is asked often: it is looked at where it is.
    lab.world().now().journal.entries().iter().any(|e| e.name == name && e.outcome == Outcome::Running)
}

fn log_says(scene: &Scene, text: &str) -> bool {
    std::fs::read_to_string(scene.log()).unwrap_or_default().contains(text)
}

const SEATTLE: &str = r#"{"activeDataCenter":"seattle"}"#;

async fn the_request_of_a_dead_process_is_carried_out_late() {
    let row = Row::begin("kill -9 before Install-CsMirrorDatabase, carried out when the next one looks");
    let mut scene = ready_on(&Plane::Shared, "matrix_late_request", world()).await;
    scene.lab.world().now().breakpoints.outlive_clients(true);
    hold_first(&scene, &["Install-CsMirrorDatabase"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "Install-CsMirrorDatabase").await;
    scene.kill_operator();
    scene.start_operator();
    scene.wait_for_text("MirrorEstablished", "False", "WaitingForCmdlet", "may still be on its way").await;
    scene.lab.release();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed("killed once; the next one waited, and attached to it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b1_the_api_server_dies_in_a_transition() {
    let plane = Plane::own(Options::default());
    killed_and_restarted(&plane).await;
    gone_for_the_whole_transition(&plane).await;
    hangs_for_the_whole_transition(&plane).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b3_the_api_server_dies_before_a_stop_and_before_a_change() {
    let plane = Plane::own(Options::default());
    a_stop_without_an_api_server(&plane).await;
    the_watch_is_too_old(&plane).await;
}

async fn killed_and_restarted(plane: &Plane) {
    let row = Row::begin("API server killed and restarted in the middle, again and again");
    let mut scene = ready_on(plane, "matrix_api_server_killed", world()).await;
    const AT: [&str; 6] = [
        "CREATE TABLE",
        "EXEC sp_update_job",
        "EXEC sp_delete_log_shipping_secondary_database",
        "RESTORE LOG",
        "RESTORE DATABASE WITH RECOVERY",
        "Set-CsPersistentChatState",
    ];
    hold_first(&scene, &AT);
    scene.lose().await;
    scene.patch(SEATTLE);
    for pair in AT.chunks(2) {
        until_held(&scene, pair[0]).await;
        plane.kill_api_server().unwrap();
        scene.lab.release();
        until_held(&scene, pair[1]).await;
        plane.start_api_server().unwrap();
        scene.lab.release();
    }
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed("before the record, before log shipping goes, before the recovery");
}

async fn gone_for_the_whole_transition(plane: &Plane) {
    let row = Row::begin("API server gone for the whole transition");
    let mut scene = ready_on(plane, "matrix_api_server_gone", world()).await;
    hold_first(&scene, &["CREATE TABLE"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "CREATE TABLE").await;
    plane.kill_api_server().unwrap();
    assert_eq!(scene.writes(), Vec::<String>::new());
    scene.lab.release();
    until_failed_over_in_the_lab(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    assert!(plane.kubectl(&["get", "--raw", "/readyz"], None).is_err());
    let log = std::fs::read_to_string(scene.log()).unwrap();
    assert_eq!(log.matches("the Secrets that were read last are used").count(), 1, "{log}");
    assert!(!log.contains(lab::sql::SQL_PASSWORD) && !log.contains(lab::chat::SHELL_PASSWORD));
    plane.start_api_server().unwrap();
    until_failed_over(&scene).await;
    row.passed("killed before the first effect, back after the last");
}

async fn hangs_for_the_whole_transition(plane: &Plane) {
    let row = Row::begin("API server hangs (SIGSTOP) for the whole transition");
    let mut scene = ready_on(plane, "matrix_api_server_hangs", world()).await;
    hold_first(&scene, &["CREATE TABLE"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "CREATE TABLE").await;
    signal(plane.api_server_pid().unwrap(), "STOP");
    let began = Instant::now();
    scene.lab.release();
    until_failed_over_in_the_lab(&scene).await;
    let took = began.elapsed();
    assert_nothing_happened_twice(&scene.lab);
    signal(plane.api_server_pid().unwrap(), "CONT");
    until_failed_over(&scene).await;
    row.passed(format!("from the first effect to the last, {:.1} s", took.as_secs_f64()));
}

async fn a_stop_without_an_api_server(plane: &Plane) {
    let row = Row::begin("SIGTERM while the API server is dead");
    let mut scene = ready_on(plane, "matrix_stop_without_api_server", world()).await;
    plane.kill_api_server().unwrap();
    // Something that the status has to tell.
    scene.lose().await;
    until(&scene, "a write of the status that fails", || log_says(&scene, "cannot write the status")).await;
    scene.operator.as_ref().unwrap().signal("TERM");
    let took = until_ended(&mut scene).await;
    plane.start_api_server().unwrap();
    scene.start_operator();
    scene.patch(SEATTLE);
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed(format!("ended {:.1} s after the signal", took.as_secs_f64()));
}

/// Waits until the operator has ended by itself, as it should; gives how long that took.
async fn until_ended(scene: &mut Scene) -> Duration {
    let asked = Instant::now();
    loop {
        if let Some(status) = scene.operator.as_mut().unwrap().ended() {
            assert!(status.success(), "{status}");
            return asked.elapsed();
        }
        assert!(asked.elapsed() < Duration::from_secs(15), "it does not end:\n{}", log_tail(scene));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Lets the operator reach the API server through a proxy only.
async fn behind_a_proxy(scene: &mut Scene) -> Proxy {
    let proxy = Proxy::to(scene.plane.port()).await;
    let text = std::fs::read_to_string(&scene.kubeconfig).unwrap();
    let straight = format!("https://127.0.0.1:{}", scene.plane.port());
    assert!(text.contains(&straight));
    scene.kubeconfig = scene.directory.path().join("proxied.kubeconfig");
    std::fs::write(&scene.kubeconfig, text.replace(&straight, &format!("https://127.0.0.1:{}", proxy.port)))
        .unwrap();
    proxy
}

async fn the_watch_is_too_old(plane: &Plane) {
    let row = Row::begin("watch cut, etcd compacted, API server restarted: 410 Gone");
    let mut scene = Scene::set_on(plane.clone(), "matrix_watch_too_old", world()).await;
    let proxy = behind_a_proxy(&mut scene).await;
    scene.env = SOON.to_vec();
    // What the watch is told is not worth a line in the log otherwise.
    scene.env.push(("RUST_LOG", "info,kube=debug,persistent_chat_failover=debug"));
    scene.begin().await;
    proxy.cut();
    scene.lose().await;
    scene.patch(SEATTLE);
    for n in 0..3 {
        scene.kubectl(&["create", "configmap", &format!("other-{n}")], None);
    }
    plane.compact().unwrap();
    plane.kill_api_server().unwrap();
    plane.start_api_server().unwrap();
    assert!(!log_says(&scene, "too old resource version"));
    assert_eq!(scene.writes(), Vec::<String>::new());
    proxy.mend();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    assert!(log_says(&scene, "too old resource version"), "{}", log_tail(&scene));
    row.passed("cut before the spec was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn b2_etcd_is_out_of_space() {
    let row = Row::begin("etcd out of space");
    let plane = Plane::own(Options { quota: Some(24 * 1024 * 1024) });
    let mut scene = ready_on(&plane, "matrix_out_of_space", world()).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "RESTORE LOG").await;
    let fill = "x".repeat(900 * 1024);
    let mut written = 0;
    let refused = loop {
        let map = serde_json::json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": format!("fill-{written}"), "namespace": scene.namespace}, "data": {"fill": fill}});
        match plane.kubectl(&["create", "-f", "-"], Some(&map.to_string())) {
            Ok(_) => written += 1,
            Err(e) => break e.stderr,
        }
        assert!(written < 60, "etcd takes everything");
    };
    assert!(refused.contains("database space exceeded"), "{refused}");
    scene.lab.release();
    until_failed_over_in_the_lab(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    assert!(log_says(&scene, "database space exceeded"));
    assert_ne!(scene.object()["status"]["activeDataCenter"], "seattle");
    // What an administrator does: delete, compact, defragment, disarm.
    scene.kubectl(&["delete", "configmap", "--all"], None);
    plane.compact().unwrap();
    plane.etcd("/v3/maintenance/defragment", &serde_json::json!({})).unwrap();
    let alarms = plane.etcd("/v3/maintenance/alarm", &serde_json::json!({"action": "GET"})).unwrap();
    for alarm in alarms["alarms"].as_array().unwrap() {
        let disarm = serde_json::json!({"action": "DEACTIVATE", "memberID": alarm["memberID"], "alarm": alarm["alarm"]});
        plane.etcd("/v3/maintenance/alarm", &disarm).unwrap();
    }
    until_failed_over(&scene).await;
    row.passed("full before the first RESTORE LOG, mended after the last effect");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c1_cut_off_from_the_api_server_and_from_its_own_request() {
    tokio::join!(
        the_watch_is_cut(),
        the_rights_are_revoked_for_a_while(),
        the_request_of_a_dead_process_is_carried_out_late()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn c2_killed_stopped_and_told_to_stop_in_the_middle() {
    tokio::join!(
        one_of_two_operators_is_killed_during_recovery(),
        a_stop_lets_a_restore_end_and_a_deadline_does_not(),
        a_stopped_holder_of_the_lock_goes_on(),
        a_stopped_holder_of_the_lock_is_killed()
    );
}

async fn the_watch_is_cut() {
    let row = Row::begin("watch cut while the spec is changed");
    let mut scene = Scene::set("matrix_watch_cut", world()).await;
    let proxy = behind_a_proxy(&mut scene).await;
    scene.env = SOON.to_vec();
    scene.begin().await;
    proxy.cut();
    scene.lose().await;
    scene.patch(SEATTLE);
    until(&scene, "attempts to connect", || proxy.turned_away() >= 3).await;
    assert_eq!(scene.writes(), Vec::<String>::new(), "it cannot know of the change");
    proxy.mend();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed(format!("turned away {} times", proxy.turned_away()));
}

async fn the_rights_are_revoked_for_a_while() {
    let row = Row::begin("RoleBinding deleted in the middle, created again");
    let mut scene = ready_on(&Plane::Shared, "matrix_rights_revoked", world()).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "RESTORE LOG").await;
    let binding = scene.kubectl(&["get", "rolebinding/pcf-operator", "-o", "json"], None);
    scene.kubectl(&["delete", "rolebinding/pcf-operator"], None);
    scene.lab.release();
    until(&scene, "a refusal", || log_says(&scene, "is forbidden")).await;
    let mut binding: serde_json::Value = serde_json::from_str(&binding).unwrap();
    binding["metadata"] = serde_json::json!({"name": "pcf-operator"});
    scene.apply(&binding.to_string());
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed("gone before the first RESTORE LOG, back after a refusal");
}

async fn one_of_two_operators_is_killed_during_recovery() {
    let row = Row::begin("two operators, the one at work killed while the database recovers");
    let scenario = Scenario { recovery_ms: 1500, ..world() };
    let mut scene = ready_on(&Plane::Shared, "matrix_two_operators", scenario).await;
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    scene.patch(SEATTLE);
    until_held(&scene, "RESTORE LOG").await;
    // The first one has the lock: this one can only wait.
    let second = scene.another_operator(&scene.directory.path().join("second.log"));
    scene.lab.release();
    until(&scene, "the recovery", || runs(&scene.lab, "RESTORE DATABASE WITH RECOVERY")).await;
    scene.kill_operator();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    drop(second);
    row.passed("killed once, the other one finished");
}

async fn a_stop_lets_a_restore_end_and_a_deadline_does_not() {
    let row = Row::begin("SIGTERM during a long RESTORE; then SIGKILL before its end");
    let mut scene = ready_on(&Plane::Shared, "matrix_stop_in_restore", world()).await;
    scene.lab.fault("restore-ms", &["6000".into()]).unwrap();
    scene.lose().await;
    scene.patch(SEATTLE);
    until(&scene, "a RESTORE", || runs(&scene.lab, "RESTORE LOG")).await;
    scene.operator.as_ref().unwrap().signal("TERM");
    until(&scene, "its word that it stops", || log_says(&scene, "stopping: no new effect begins")).await;
    tokio::time::sleep(Duration::from_secs(1)).await; // the kubelet's deadline
    assert!(scene.operator.as_mut().unwrap().ended().is_none(), "it does not wait for the RESTORE");
    assert!(runs(&scene.lab, "RESTORE LOG"));
    scene.kill_operator();
    until(&scene, "the end of its session", || !runs(&scene.lab, "RESTORE LOG")).await;
    scene.lab.fault("restore-ms", &["2500".into()]).unwrap();

    // The next one goes on, and is given the time it needs.
    let begun = effects(&scene.lab).len();
    scene.start_operator();
    until(&scene, "a RESTORE of the next one", || runs(&scene.lab, "RESTORE LOG")).await;
    scene.operator.as_ref().unwrap().signal("TERM");
    until_ended(&mut scene).await;
    let done = effects(&scene.lab).split_off(begun);
    assert_eq!(done.len(), 1, "nothing but the RESTORE that ran: {done:#?}");
    assert_eq!(done[0].outcome, Outcome::Ok);
    scene.lab.fault("restore-ms", &["300".into()]).unwrap();
    scene.start_operator();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed("killed once in its RESTORE, ended by itself once after it");
}

async fn a_stopped_holder_of_the_lock_goes_on() {
    let row = Row::begin("holder of the lock stopped (SIGSTOP) in the apply step, then continued");
    let (scene, second) = stopped_in_the_apply_step("matrix_holder_stopped").await;
    scene.operator.as_ref().unwrap().signal("CONT");
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    drop(second);
    row.passed("stopped once; the other one reported LockHeld and did nothing");
}

async fn a_stopped_holder_of_the_lock_is_killed() {
    let row = Row::begin("holder of the lock stopped (SIGSTOP) in the apply step, then killed");
    let (mut scene, second) = stopped_in_the_apply_step("matrix_holder_killed").await;
    scene.kill_operator();
    until_failed_over(&scene).await;
    assert_nothing_happened_twice(&scene.lab);
    drop(second);
    row.passed("stopped once, killed once; the other one finished");
}

/// The operator at work is stopped while a log backup is applied; another one has found the lock held and done nothing.
async fn stopped_in_the_apply_step(test: &str) -> (Scene, Process) {
    let mut scene = ready_on(&Plane::Shared, test, world()).await;
    scene.lose().await;
    scene.patch(SEATTLE);
    until(&scene, "a RESTORE", || runs(&scene.lab, "RESTORE LOG")).await;
    scene.operator.as_ref().unwrap().signal("STOP");
    let second = scene.another_operator(&scene.directory.path().join("second.log"));
    // What was sent before the stop goes on at the server; nothing more may begin.
    until(&scene, "the end of what ran", || !runs(&scene.lab, "RESTORE LOG")).await;
    let written = scene.writes();
    let message = scene.wait_for_text("Ready", "False", "LockHeld", "Another process holds the lock").await;
    assert!(message.contains("pcf:chat.litwareinc.com") && message.contains("persistent-chat-failover on "));
    assert_eq!(scene.writes(), written);
    (scene, second)
}
