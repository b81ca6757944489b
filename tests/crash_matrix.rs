//! The whole program on a real API server, stopped, cut off and starved at every point where it hurts. Success is read from the
//! lab: from what its servers hold and from its journal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::{Scene, quick};
use lab::scenario::Scenario;
use lab::serve::held_file::HeldFile;
use lab::serve::{Lab, demo};
use lab::world::breakpoints::{Arrival, Moment};
use lab::world::journal::{Effect, Entry, Outcome};
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
        let result = if std::thread::panicking() { "FAILED" } else { "went on" };
        let seconds = self.began.elapsed().as_secs_f64();
        let line = format!("| {:72} | {result:7} | {seconds:5.1} s | {} |\n", self.what, self.how_often);
        // Past the capture of the test harness: whoever runs the tests sees the matrix.
        std::io::stdout().write_all(line.as_bytes()).unwrap();
        if let Some(path) = std::env::var_os("PCF_CRASH_MATRIX") {
            let mut f = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
            f.write_all(line.as_bytes()).unwrap();
        }
    }
}

/// Polls until something holds.
async fn until(scene: &Scene, what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(
            Instant::now() < deadline,
            "{what}: did not come. Written so far: {:#?}\nThe operator's log ends with\n{}",
            scene.writes(),
            log_tail(scene)
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
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
        if !document["savedLogShipping"].is_null() {
            says.push("log shipping saved");
        }
        if !document["recovery"].is_null() {
            says.push("recovery intended");
        }
        if let Some(job) = document["mirrorJobs"].as_array().unwrap().last() {
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
    lab.journal()
        .into_iter()
        .filter(|e| e.effect == Effect::Write && !others.contains(&e.client.as_str()))
        .collect()
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
            scene.wait_until_failed_over().await;
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
    let mut wanted = clean_run().await.clone();
    if moments.contains(&Moment::Started) {
        // The detached cmdlet: its answer is lost when it has begun, and once more when it has ended.
        let mirror = wanted.iter().find(|e| e.starts_with("Install-CsMirrorDatabase")).unwrap();
        wanted.insert(format!("{mirror} (started)"));
    }
    let row = Row::begin(what);
    let mut scene = Scene::set(test, world()).await;
    scene.env = SOON.to_vec();
    scene.begin().await;
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
    let deadline = Instant::now() + Duration::from_secs(140);
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
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    scene.wait_until_failed_over().await;
    assert_nothing_happened_twice(&scene.lab);
    row.passed(format!("{} of {} points, {kills} kills", reached.lock().unwrap().len(), wanted.len()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a1_killed_before_every_effect_and_every_write_of_the_record() {
    killed_at_every_effect(
        "matrix_killed_before",
        "kill -9 before each effect and each write of the record",
        &[Moment::Before],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a2_killed_after_every_effect_and_every_write_of_the_record() {
    killed_at_every_effect(
        "matrix_killed_after",
        "kill -9 after each, its answer not yet sent",
        &[Moment::Started, Moment::After],
    )
    .await;
}
