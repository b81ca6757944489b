//! What is shown after what was told; and what the port answers.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::instruments::{Instruments, Watched};
use super::metrics::Write;
use super::{probe, serve};
use crate::api::v1alpha1::{HistoryEntry, PersistentChatFailoverStatus, StepStatus, TransitionStatus};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::side::Side;
use crate::domain::site::Answer;
use crate::domain::step::StepId;
use crate::engine::plan::{Plan, Trouble};
use crate::engine::recording::Recording;
use crate::engine::report::Report;
use crate::engine::wishes::Lead;
use crate::status::conditions::{self, ConditionStatus, Conditions, FAILOVER_READY, READY};
use crate::status::status;

const ANSWERS: &str = include_str!("../../tests/recordings/decisions/the-primary-answers.json");
const DEAD: &str = include_str!("../../tests/recordings/decisions/the-primary-is-dead.json");

/// A pool as it was once seen, and a worker that looks at it.
struct Scene {
    all: Arc<Instruments>,
    recording: Recording,
    took: SignedDuration,
    trouble: BTreeMap<StepId, Trouble>,
}

impl Scene {
    fn of(recorded: &str) -> Scene {
        let recording = Recording::read(recorded).unwrap();
        let took = SignedDuration::from_millis(1500);
        Scene { all: Arc::default(), recording, took, trouble: BTreeMap::new() }
    }
    fn report<'a>(&'a self, plan: &'a Plan) -> Report<'a> {
        Report {
            goal: &self.recording.goal,
            heard: None,
            situation: &self.recording.situation,
            took: self.took,
            plan,
            restoring: None,
            acting: false,
            trouble: &self.trouble,
        }
    }
    /// Tells a look, with the status that follows from it.
    fn look(&self, w: &Watched, before: &PersistentChatFailoverStatus) -> PersistentChatFailoverStatus {
        let plan = self.recording.decide();
        let r = self.report(&plan);
        let after = status(&self.recording.pool, &r, before);
        w.told(&self.recording.pool, &r, before, &after);
        after
    }
    /// Tells a look that has changed one status into another.
    fn change(
        &self,
        w: &Watched,
        before: &PersistentChatFailoverStatus,
        after: &PersistentChatFailoverStatus,
    ) {
        let plan = self.recording.decide();
        w.told(&self.recording.pool, &self.report(&plan), before, after);
    }
    fn watch(&self) -> Watched {
        self.all.watch("chat", "litware")
    }
    /// The value of a series; labels as they stand in the text.
    fn value(&self, series: &str) -> Option<f64> {
        let text = self.all.text().unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix(series)?.strip_prefix(' '))?;
        Some(line.parse().unwrap())
    }
    /// The same of the resource.
    fn of_resource(&self, name: &str, more: &str) -> Option<f64> {
        let whose = r#"resource_namespace="chat",resource="litware""#;
        self.value(&format!("persistentchat_{name}{{{whose}{more}}}"))
    }
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes)
}

fn step(name: StepId, attempts: i32, ended: Option<i64>) -> StepStatus {
    StepStatus {
        name: name.as_str().into(),
        state: "Running".into(),
        message: String::new(),
        attempts,
        already_done: false,
        started: Some(conditions::time(at(10))),
        ended: ended.map(|m| conditions::time(at(m))),
        waited: BTreeMap::new(),
        progress: None,
    }
}

fn running(id: &str, steps: Vec<StepStatus>) -> PersistentChatFailoverStatus {
    let transition = TransitionStatus {
        id: id.into(),
        number: None,
        procedure: "Failover".into(),
        from: "atlanta".into(),
        to: "seattle".into(),
        started: conditions::time(at(10)),
        ended: None,
        outcome: "Running".into(),
        point_of_no_return: false,
        steps,
        consent_needed: None,
        loss: None,
        outage_seconds: None,
        lost_messages: vec![],
    };
    PersistentChatFailoverStatus { transition: Some(transition), ..PersistentChatFailoverStatus::default() }
}

fn over(s: &PersistentChatFailoverStatus, outcome: &str) -> PersistentChatFailoverStatus {
    let t = s.transition.as_ref().unwrap();
    let entry = HistoryEntry {
        id: t.id.clone(),
        number: t.number,
        procedure: t.procedure.clone(),
        from: t.from.clone(),
        to: t.to.clone(),
        outcome: outcome.into(),
        started: t.started.clone(),
        ended: conditions::time(at(90)),
        loss: None,
        outage_seconds: None,
        lost_messages: vec![],
    };
    PersistentChatFailoverStatus { transition: None, history: vec![entry], ..s.clone() }
}

#[test]
fn a_look_shows_where_chat_is_what_holds_and_what_would_be_lost() {
    let scene = Scene::of(ANSWERS);
    let w = scene.watch();
    assert_eq!(
        scene.of_resource("condition", r#",type="Ready",status="False""#),
        None,
        "nothing is said yet"
    );
    assert_eq!(scene.of_resource("transition_running", r#",procedure="Failover""#), None);
    let s = scene.look(&w, &PersistentChatFailoverStatus::default());
    assert_eq!(scene.of_resource("active_data_center", r#",data_center="atlanta""#), Some(1.0));
    assert_eq!(scene.of_resource("active_data_center", r#",data_center="seattle""#), Some(0.0));
    for (kind, is) in
        [("Ready", "False"), ("Stalled", "True"), ("Reconciling", "False"), ("BackedUp", "Unknown")]
    {
        for other in ["True", "False", "Unknown"] {
            let value = scene.of_resource("condition", &format!(r#",type="{kind}",status="{other}""#));
            assert_eq!(value, Some(f64::from(u8::from(other == is))), "{kind} {other}");
        }
    }
    let looked = scene.of_resource("last_look_timestamp_seconds", "").unwrap();
    assert!((looked - 1_795_598_795.242).abs() < 0.001, "{looked}");
    // Beside the copy stands one from 08:26:34, in the share one from 09:11:34; the active side answered at 09:26:35.
    let lag = scene.of_resource("backup_lag_seconds", "").unwrap();
    assert!((lag - 3601.230).abs() < 0.001, "{lag}");
    let loss = scene.of_resource("expected_loss_seconds", "").unwrap();
    assert!((loss - 901.230).abs() < 0.001, "{loss}");
    // What stands is counted once.
    let problem = r#",reason="SourceAlive",class="AskHuman""#;
    scene.look(&w, &s);
    assert_eq!(scene.of_resource("problems_total", problem), Some(1.0));
    assert_eq!(
        scene.of_resource("transition_running", r#",procedure="Failover""#),
        Some(0.0),
        "it only would"
    );
}

#[test]
fn a_copy_that_nobody_can_look_into_grows_old_and_a_dead_side_loses_no_more() {
    let mut scene = Scene::of(ANSWERS);
    let w = scene.watch();
    let s = scene.look(&w, &PersistentChatFailoverStatus::default());
    let lost = || Answer::Silent(Problem::retry(Reason::HostUnreachable, "gone", ""));
    let later = SignedDuration::from_mins(30);
    scene.recording.situation.at += later;
    scene.recording.situation.folders[Side::Backup] = None;
    scene.look(&w, &s);
    let lag = scene.of_resource("backup_lag_seconds", "").unwrap();
    assert!((lag - 3601.230 - later.as_secs_f64()).abs() < 0.001, "{lag}");
    let loss = scene.of_resource("expected_loss_seconds", "").unwrap();
    assert!((loss - 901.230 - later.as_secs_f64()).abs() < 0.001, "{loss}");
    scene.recording.situation.sites[Side::Primary].store.answer = lost();
    scene.recording.situation.sites[Side::Primary].mirror = None;
    scene.look(&w, &s);
    let loss = scene.of_resource("expected_loss_seconds", "").unwrap();
    assert!((loss - 901.230).abs() < 0.001, "what it wrote after it was heard last nobody knows: {loss}");
    // Nobody has ever heard it.
    let mut scene = Scene::of(DEAD);
    // It was recorded before the zone of a backup was read: only what was restored tells it.
    if let Answer::Speaks(i) = &mut scene.recording.situation.sites[Side::Backup].store.answer
        && let Reading::Known(rows) = &mut i.history
    {
        rows.iter_mut().for_each(|r| r.zone_minutes = Some(0));
    }
    let w = scene.watch();
    scene.look(&w, &PersistentChatFailoverStatus::default());
    assert!(scene.of_resource("backup_lag_seconds", "").is_some());
    assert_eq!(scene.of_resource("expected_loss_seconds", ""), None);
}

#[test]
fn what_steps_do_and_how_transitions_end_is_counted_once() {
    let mut scene = Scene::of(ANSWERS);
    let w = scene.watch();
    let (copied, applied) = (StepId::BackupsCopied, StepId::LogBackupsApplied);
    // Another process has made four attempts: they are its own.
    let nothing = PersistentChatFailoverStatus::default();
    let first = running("a", vec![step(copied, 4, None), step(applied, 0, None)]);
    scene.change(&w, &nothing, &first);
    let attempts = |scene: &Scene, step: StepId, outcome: &str| {
        let labels = format!(r#"step="{}",outcome="{outcome}""#, step.as_str());
        scene.value(&format!("persistentchat_step_attempts_total{{{labels}}}"))
    };
    assert_eq!(attempts(&scene, copied, "Answered"), Some(0.0));
    assert_eq!(scene.of_resource("transition_running", r#",procedure="Failover""#), Some(1.0));
    assert_eq!(scene.of_resource("transition_running", r#",procedure="Align""#), Some(0.0));
    assert_eq!(
        scene.of_resource("transition_started_timestamp_seconds", r#",procedure="Failover""#),
        Some(600.0)
    );

    let trouble = |reason| Trouble {
        problem: Problem::retry(reason, "what", "fix"),
        attempts: 1,
        next: Timestamp::UNIX_EPOCH,
    };
    scene.trouble.insert(applied, trouble(Reason::OutcomeUnknown));
    let second = running("a", vec![step(copied, 6, Some(25)), step(applied, 1, None)]);
    scene.change(&w, &first, &second);
    scene.trouble.insert(applied, trouble(Reason::EffectFailed));
    let third = running("a", vec![step(copied, 6, Some(25)), step(applied, 2, None)]);
    scene.change(&w, &second, &third);
    scene.change(&w, &third, &third);
    scene.trouble.clear();
    assert_eq!(attempts(&scene, copied, "Answered"), Some(2.0));
    assert_eq!(
        (attempts(&scene, applied, "Unknown"), attempts(&scene, applied, "Failed")),
        (Some(1.0), Some(1.0))
    );
    assert_eq!(scene.of_resource("problems_total", r#",reason="OutcomeUnknown",class="Retry""#), Some(1.0));
    assert_eq!(scene.value(r#"persistentchat_step_duration_seconds_sum{step="BackupsCopied"}"#), Some(900.0));
    assert_eq!(scene.value(r#"persistentchat_step_duration_seconds_count{step="BackupsCopied"}"#), Some(1.0));

    let ended = over(&third, "Completed");
    scene.change(&w, &third, &ended);
    scene.change(&w, &ended, &ended);
    let labels = |outcome: &str| format!(r#",procedure="Failover",outcome="{outcome}""#);
    assert_eq!(scene.of_resource("transitions_total", &labels("Completed")), Some(1.0));
    assert_eq!(
        scene.of_resource("transitions_total", &labels("Aborted")),
        Some(0.0),
        "there before the first"
    );
    assert_eq!(scene.of_resource("transition_started_timestamp_seconds", r#",procedure="Failover""#), None);
    let again = running("b", vec![]);
    scene.change(&w, &ended, &again);
    scene.change(&w, &again, &over(&again, "Aborted"));
    assert_eq!(scene.of_resource("transitions_total", &labels("Aborted")), Some(1.0));
    assert_eq!(scene.of_resource("transitions_total", &labels("Completed")), Some(1.0));
}

#[test]
fn what_the_next_look_may_read_is_not_told_as_lost() {
    let mut scene = Scene::of(ANSWERS);
    let loss = |scene: &Scene| scene.of_resource("expected_loss_seconds", "");
    let w = scene.watch();
    let s = scene.look(&w, &PersistentChatFailoverStatus::default());
    let before = loss(&scene).unwrap();
    let folders = scene.recording.situation.folders[Side::Backup].as_mut().unwrap();
    folders.headers.pop_last();
    folders.headers.pop_last();
    folders.unread = 2;
    scene.look(&w, &s);
    assert_eq!(loss(&scene), Some(before));
    scene.recording.situation.folders[Side::Backup].as_mut().unwrap().unread = 0;
    scene.look(&w, &s);
    assert!(loss(&scene).unwrap() > before, "they are not there any more");
}

#[test]
fn a_loss_does_not_grow_because_nobody_tells_the_zone_of_a_lost_server_any_more() {
    let mut scene = Scene::of(ANSWERS);
    let loss = |scene: &Scene| scene.of_resource("expected_loss_seconds", "").unwrap();
    if let Answer::Speaks(i) = &mut scene.recording.situation.sites[Side::Backup].store.answer
        && let Reading::Known(rows) = &mut i.history
    {
        rows.iter_mut().for_each(|r| r.zone_minutes = Some(0));
    }
    let w = scene.watch();
    let s = scene.look(&w, &PersistentChatFailoverStatus::default());
    let before = loss(&scene);
    let lost = || Answer::Silent(Problem::retry(Reason::HostUnreachable, "gone", ""));
    let site = &mut scene.recording.situation.sites[Side::Primary];
    (site.store.answer, site.mirror) = (lost(), None);
    scene.look(&w, &s);
    assert_eq!(loss(&scene), before);
    scene.recording.situation.folders[Side::Backup].as_mut().unwrap().headers.pop_last();
    scene.look(&w, &s);
    assert!(loss(&scene) > before, "its last log backup is gone with it");
}

#[test]
fn what_a_resource_has_shown_goes_with_its_worker_and_not_with_the_one_before_it() {
    let scene = Scene::of(ANSWERS);
    let old = scene.watch();
    let s = scene.look(&old, &PersistentChatFailoverStatus::default());
    let other = scene.all.watch("chat", "contoso");
    scene.look(&other, &s);
    let new = scene.watch();
    let ready = r#",type="Ready",status="False""#;
    assert_eq!(scene.of_resource("condition", ready), None, "the new one has shown nothing yet");
    scene.look(&old, &s);
    assert_eq!(scene.of_resource("condition", ready), None, "the old one is not heard any more");
    scene.look(&new, &s);
    drop(old);
    assert_eq!(scene.of_resource("condition", ready), Some(1.0));
    drop(new);
    assert!(!scene.all.text().unwrap().contains("litware"));
    assert!(scene.all.text().unwrap().contains("contoso"));
    // A worker that panics is gone like any other.
    let all = scene.all.clone();
    let panicked = std::thread::spawn(move || {
        let _other = other;
        let _w = all.watch("chat", "litware");
        panic!("a defect");
    });
    assert!(panicked.join().is_err());
    assert!(!scene.all.text().unwrap().contains("resource="));
}

#[test]
fn a_defect_of_ours_is_shown_as_the_status_says_it() {
    let scene = Scene::of(ANSWERS);
    let w = scene.watch();
    let mut s = scene.look(&w, &PersistentChatFailoverStatus::default());
    Conditions::of(&mut s, at(0)).stalled(Reason::InternalError, "a defect");
    Conditions::of(&mut s, at(0)).set(FAILOVER_READY, ConditionStatus::True, Reason::Completed, "");
    Conditions::of(&mut s, at(0)).set(READY, ConditionStatus::Unknown, Reason::InternalError, "");
    w.stopped(&s);
    for held in [
        r#",type="Stalled",status="True""#,
        r#",type="FailoverReady",status="True""#,
        r#",type="Ready",status="Unknown""#,
    ] {
        assert_eq!(scene.of_resource("condition", held), Some(1.0), "{held}");
    }
    assert_eq!(scene.of_resource("problems_total", r#",reason="InternalError",class="Retry""#), Some(1.0));
}

#[tokio::test]
async fn the_process_counts_and_times_what_it_does() {
    let scene = Scene::of(ANSWERS);
    assert_eq!(scene.value("persistentchat_leader"), None, "nobody has said");
    let leads = Arc::new(AtomicBool::new(false));
    let told = leads.clone();
    scene.all.led_by(Lead::new(move || told.load(Ordering::SeqCst)));
    assert_eq!(scene.value("persistentchat_leader"), Some(0.0));
    leads.store(true, Ordering::SeqCst);
    assert_eq!(scene.value("persistentchat_leader"), Some(1.0));
    let version = concat!(r#"persistentchat_build_info{version=""#, env!("CARGO_PKG_VERSION"), r#""}"#);
    assert_eq!(scene.value(version), Some(1.0));
    let failed = scene.all.reconcile(async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        Err::<(), ()>(())
    });
    assert_eq!(failed.await, Err(()));
    assert_eq!(scene.all.reconcile(async { Ok::<u8, ()>(1) }).await, Ok(1));
    assert_eq!(scene.value(r#"persistentchat_reconciles_total{outcome="Done"}"#), Some(1.0));
    assert_eq!(scene.value(r#"persistentchat_reconciles_total{outcome="Failed"}"#), Some(1.0));
    assert!((0.03..3.0).contains(&scene.value("persistentchat_reconcile_duration_seconds_sum").unwrap()));
    scene.all.wrote(Write::Failed);
    assert_eq!(scene.value(r#"persistentchat_status_writes_total{outcome="Failed"}"#), Some(1.0));
    assert_eq!(scene.value(r#"persistentchat_status_writes_total{outcome="Written"}"#), Some(0.0));
}

#[test]
fn a_look_is_timed_once_also_by_a_clock_that_jumps() {
    let mut scene = Scene::of(ANSWERS);
    let w = scene.watch();
    let count = "persistentchat_look_duration_seconds_count";
    let nothing = PersistentChatFailoverStatus::default();
    scene.look(&w, &nothing);
    scene.look(&w, &nothing);
    assert_eq!(scene.value(count), Some(1.0), "progress of what follows is no look");
    assert_eq!(scene.value("persistentchat_look_duration_seconds_sum"), Some(1.5));
    scene.recording.situation.at += SignedDuration::from_secs(10);
    scene.look(&w, &nothing);
    assert_eq!(scene.value(count), Some(2.0));
    scene.recording.situation.at -= SignedDuration::from_hours(1);
    scene.took = SignedDuration::from_secs(-3590);
    scene.look(&w, &nothing);
    assert_eq!(scene.value(count), Some(2.0), "the clock was set back in the middle of it");
}

/// Asks a port in its own words.
async fn ask(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_port_answers_for_metrics_and_health_and_for_nothing_else() {
    let all = Arc::new(Instruments::default());
    let listener = serve::listen("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(serve::serve(listener, all.clone()));
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let metrics = probe::get(&url("/metrics")).await.unwrap();
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    assert!(
        metrics.well && text.ends_with("# EOF\n") && text.contains("persistentchat_build_info{"),
        "{text}"
    );
    assert!(probe::get(&url("/healthz")).await.unwrap().well);
    let waits = probe::get(&url("/readyz?verbose")).await.unwrap();
    assert_eq!((waits.well, waits.status.as_str()), (false, "503 Service Unavailable"));
    assert_eq!(waits.body.as_ref(), b"the resources have not been listed yet\n");
    all.listed();
    assert!(probe::get(&url("/readyz")).await.unwrap().well);
    for path in ["/", "/metrics/", "/healthz/x", "/../metrics"] {
        assert_eq!(probe::get(&url(path)).await.unwrap().status, "404 Not Found", "{path}");
    }
    let head = ask(port, "HEAD /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"), "{head}");
    let kind = ask(port, "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        kind.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{kind}"
    );
    let post = ask(port, "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
    assert!(post.starts_with("HTTP/1.1 404 "), "{post}");
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(20_000));
    assert!(!ask(port, &long).await.contains(" 200 "));
    serving.abort();
}

#[tokio::test]
async fn a_port_that_is_taken_and_an_address_that_is_none_are_told_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let told = serve::listen(&address).await.unwrap_err();
    assert!(told.starts_with(&format!("cannot listen on {address} for metrics and health (")), "{told}");
    assert!(
        told.contains("another process has this port: choose another one with --metrics-address"),
        "{told}"
    );
    for wrong in ["8080", ":8080", "localhost:8080", "0.0.0.0", "0.0.0.0:99999", "::1:8080"] {
        let told = serve::listen(wrong).await.unwrap_err();
        assert!(told.contains("is no address and port like 0.0.0.0:8080"), "{wrong}: {told}");
    }
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/healthz", silent.local_addr().unwrap());
    let began = std::time::Instant::now();
    let told = probe::get(&url).await.unwrap_err();
    assert!(told.ends_with("no answer within 5 s"), "{told}");
    assert!(began.elapsed() < Duration::from_secs(8));
    drop(silent);
    assert!(probe::get(&url).await.is_err());
}
