//! What GitOps tools make of the resource at every moment of every procedure, in both directions: kstatus (Flux, Helm, kpt) and the
//! health check of `examples/gitops/argocd`, both run by the real thing. What they must say stands in one table, [`Case::says`];
//! `docs/gitops.md` has it in words.
//!
//! By night (`PCF_NIGHT=1`) Argo CD's own program judges every shape of a status as well, and runs its two actions.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use persistent_chat_failover::api::convert;
use persistent_chat_failover::cli;
use persistent_chat_failover::domain::problem::{Class, Problem, Reason};
use persistent_chat_failover::domain::route::Procedure;
use persistent_chat_failover::domain::side::Side;
use persistent_chat_failover::engine::plan::Next;
use serde::Deserialize;
use serde_json::{Value, json};
use simulation::cast::Act;
use simulation::moments::{Decided, Moment};
use simulation::night::run;
use simulation::plan::{Kind, Plan, Spoilt};
use simulation::sides;

/// What a resource is in, as somebody must understand it who sees nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Case {
    /// Nobody has looked at what it asks for yet.
    NotLookedAt,
    /// Chat serves where it is wanted, and there is nothing to do.
    Serves,
    /// It is where it is wanted, and does not serve (yet).
    DoesNotServe,
    /// Chat serves where it is wanted, and its other side is given a copy.
    Protects,
    /// The same, and that waits for a human (a seed for a yes): chat does not wait for it.
    AsksToProtect,
    /// The same, and that side is lost, it may be for weeks: chat does not wait for it.
    OtherSideLost,
    /// The active side is given its mirror and its active servers.
    Aligns,
    /// A failover or a switch is under way, onward or back, also where it tries again.
    Moves,
    /// Only a human can help.
    NeedsAHuman,
    /// Suspended, and something is left undone, or a new process has not looked yet.
    Rests,
    /// Suspended, and chat serves where it is wanted.
    RestsServing,
}

impl Case {
    const ALL: [Case; 11] = [
        Case::NotLookedAt,
        Case::Serves,
        Case::DoesNotServe,
        Case::Protects,
        Case::AsksToProtect,
        Case::OtherSideLost,
        Case::Aligns,
        Case::Moves,
        Case::NeedsAHuman,
        Case::Rests,
        Case::RestsServing,
    ];

    /// The rule: what kstatus and what Argo CD must say. They differ where kstatus has no word: it knows none for what is suspended.
    fn says(self) -> (&'static str, &'static str) {
        match self {
            Case::NotLookedAt => ("InProgress", "Progressing"),
            Case::Serves => ("Current", "Healthy"),
            Case::DoesNotServe => ("InProgress", "Progressing"),
            Case::Protects => ("InProgress", "Progressing"),
            Case::AsksToProtect => ("Current", "Healthy"),
            Case::OtherSideLost => ("Current", "Healthy"),
            Case::Aligns => ("InProgress", "Progressing"),
            Case::Moves => ("InProgress", "Progressing"),
            Case::NeedsAHuman => ("Failed", "Degraded"),
            Case::Rests => ("InProgress", "Suspended"),
            Case::RestsServing => ("Current", "Suspended"),
        }
    }

    /// What a moment is, by what had been decided; what the status says is not asked, but whether chat serves: that it does is held
    /// against the world wherever a status is stored.
    fn of(m: &Moment) -> Case {
        let is_heard = m.object.status.observed_generation == m.object.generation;
        let Some(d) = m.decided.as_ref().filter(|_| is_heard) else {
            return if is_heard && m.object.spec.suspend { Case::Rests } else { Case::NotLookedAt };
        };
        let serves = is(m, "Ready");
        match &d.next {
            Next::Blocked(p) if needs_a_human(p) && !protects(d) => Case::NeedsAHuman,
            _ if m.object.spec.suspend && serves => Case::RestsServing,
            _ if m.object.spec.suspend => Case::Rests,
            _ if protects(d) && !serves => Case::DoesNotServe,
            Next::Settled if !serves => Case::DoesNotServe,
            Next::Settled => Case::Serves,
            Next::Blocked(p) if protects(d) && needs_a_human(p) => Case::AsksToProtect,
            Next::Blocked(p) if protects(d) && p.reason == Reason::HostUnreachable => Case::OtherSideLost,
            Next::Act(_) | Next::Finish | Next::Wait(_) | Next::Blocked(_) => match d.procedure {
                Some(Procedure::Protect) if protects(d) => Case::Protects,
                Some(Procedure::Align) => Case::Aligns,
                Some(Procedure::Failover | Procedure::Switch | Procedure::Protect) | None => Case::Moves,
            },
        }
    }
}

fn needs_a_human(p: &Problem) -> bool {
    match p.class {
        Class::Retry => false,
        Class::AskHuman | Class::Refuse => true,
    }
}

/// Whether chat is where it is wanted, and only what protects it is worked on.
fn protects(d: &Decided) -> bool {
    d.procedure == Some(Procedure::Protect) && d.active == Some(d.wanted)
}

fn is(m: &Moment, kind: &str) -> bool {
    m.object.status.conditions.iter().any(|c| c.type_ == kind && c.status == "True")
}

/// `PCF_NIGHT=1`: everything that there is.
fn by_night() -> bool {
    std::env::var("PCF_NIGHT").is_ok_and(|v| v == "1")
}

/// The night in which the side that was lost never comes back.
const STAYS_LOST: &str = "the lost side stays lost";

/// The night in which it does, is lost again while a copy is made on it, and stays so.
const LOST_AGAIN: &str = "lost again while it is seeded";

/// The nights whose every moment is looked at: each procedure from each side, and what is between them.
fn nights(begins: Side) -> Vec<(String, Plan)> {
    let there = begins.other();
    let clean = |kind: Kind| Plan::clean(kind, begins, 1);
    let with = |kind: Kind, more: &[(f64, Act)]| {
        let mut plan = clean(kind);
        plan.script.extend(more.iter().cloned());
        plan.script.sort_by(|a, b| a.0.total_cmp(&b.0));
        plan
    };
    let pause = |from: f64, to: f64| [(from, Act::Suspend(0, true)), (to, Act::Suspend(0, false))];
    let mut all: Vec<(String, Plan)> = Kind::ALL.map(|kind| (format!("{kind:?}"), clean(kind))).into();
    let refused = Plan { script: vec![(4.0, Act::Want(0, there))], ..clean(Kind::Undo) };
    let at_rest = Plan { script: pause(3.0, 12.0).into(), ..clean(Kind::Align) };
    // Minutes, and a look every two seconds: what is told after those is told after weeks.
    let stays_lost = Plan { until: 300.0, ..clean(Kind::Failover) };
    let mut lost_again = Plan { until: 300.0, ..with(Kind::Return, &[(40.0, Act::Lose)]) };
    lost_again.scenario.full_ms = 20_000;
    let gap = vec![Spoilt::Missing(1)];
    let mut chat_is_slow = clean(Kind::Failover);
    chat_is_slow.scenario.replication_ms = 6000;
    all.extend([
        ("a wish that is refused".into(), refused),
        ("suspended at rest".into(), at_rest),
        (STAYS_LOST.into(), stays_lost),
        (LOST_AGAIN.into(), lost_again),
        ("a failover suspended in its middle".into(), with(Kind::Failover, &pause(6.0, 20.0))),
        ("a switch suspended in its middle".into(), with(Kind::Switch, &pause(5.5, 20.0))),
        ("a protection suspended in its middle".into(), with(Kind::Protect, &pause(4.5, 15.0))),
        (
            "what waits for a human is suspended".into(),
            Plan { spoilt: gap.clone(), ..with(Kind::Failover, &pause(11.0, 22.0)) },
        ),
        ("a gap in the log".into(), Plan { spoilt: gap, ..clean(Kind::Failover) }),
        ("chat comes late".into(), chat_is_slow),
        (
            "the cluster is lost".into(),
            with(Kind::Switch, &[(7.0, Act::LoseCluster(0)), (9.0, Act::Recreate(0, there))]),
        ),
    ]);
    // What nobody has thought of, with everything that goes wrong in it.
    let number = match begins {
        Side::Primary => 0,
        Side::Backup => 1000,
    };
    for seed in number..number + if by_night() { 10 } else { 2 } {
        all.push((format!("bad night {seed}"), Plan::bad_night(seed)));
        all.push((format!("planned night {seed}"), Plan::planned_night(seed)));
        all.push((format!("returning night {seed}"), Plan::returning_night(seed)));
    }
    all.into_iter().map(|(name, plan)| (name, Plan { keep: true, ..plan })).collect()
}

/// A moment, where it was, and the resource as a tool reads it.
struct Seen {
    night: String,
    moment: Moment,
    object: Value,
    /// The highest generation that it had had by then: a cluster that is restored from a backup counts down.
    highest: i64,
}

impl Seen {
    fn told(&self) -> String {
        let m = &self.moment;
        let conditions: Vec<String> = m
            .object
            .status
            .conditions
            .iter()
            .map(|c| format!("{}={} {}", c.type_, c.status, c.reason))
            .collect();
        let (generation, decided) = (m.object.generation, &m.decided);
        format!("{}, at {}, generation {generation}: {conditions:#?}\n{decided:#?}", self.night, m.at)
    }
}

/// Every moment of every night that begins on a side, distinct ones.
fn moments(begins: Side) -> Vec<Seen> {
    let mut all = Vec::new();
    let mut known = BTreeSet::new();
    for (night, plan) in nights(begins) {
        let v = run(&plan);
        assert!(v.violations.is_empty(), "{night} from {begins:?}: {:#?}", v.violations);
        assert!(v.moments.len() > 3, "{night} from {begins:?} has no moments");
        if !night.contains("night") {
            assert_ends_well(&format!("{night} from {begins:?}"), &v.moments);
        }
        let mut highest: BTreeMap<(usize, String), i64> = BTreeMap::new();
        for moment in v.moments {
            let so_far = highest.entry((moment.who, moment.object.uid.clone())).or_default();
            *so_far = moment.object.generation.max(*so_far);
            let object = object(&plan, &moment);
            if known.insert((Case::of(&moment), object.to_string())) {
                all.push(Seen {
                    night: format!("{night} from {begins:?}"),
                    moment,
                    object,
                    highest: *so_far,
                });
            }
        }
    }
    all
}

/// In the end whoever waits for it is told that it is done, and it stays so. Of nights that are drawn this does not hold: a cluster that is
/// lost in one may stay so.
fn assert_ends_well(night: &str, moments: &[Moment]) {
    let cases: Vec<Case> = moments.iter().map(Case::of).collect();
    assert_eq!(cases.last().map(|c| c.says().0), Some("Current"), "{night}: {cases:?}");
    let from = |first: Case| cases.iter().skip_while(move |c| **c != first).skip_while(move |c| **c == first);
    let mut rest: Vec<&Case> = Vec::new();
    if night.starts_with(STAYS_LOST) {
        rest = from(Case::Moves).skip_while(|c| c.says().0 != "Current").collect();
    } else if night.starts_with(LOST_AGAIN) {
        rest = cases.iter().skip_while(|c| **c != Case::OtherSideLost).collect();
        assert!(!rest.is_empty(), "{night}: {cases:?}");
    }
    assert!(rest.iter().all(|c| c.says().0 == "Current"), "{night} comes to no rest: {cases:?}");
}

/// The resource as the API server gives it.
fn object(plan: &Plan, m: &Moment) -> Value {
    let o = &m.object;
    let mut spec = json!({
        "pool": "chat.litwareinc.com",
        "activeDataCenter": sides::data_center(&plan.scenario, o.spec.active).name,
        "suspend": o.spec.suspend,
    });
    if let Some(c) = &o.spec.consent {
        spec["consent"] = json!({"transition": c.transition, "situation": c.situation, "by": c.by});
    }
    json!({
        "apiVersion": "persistentchat.dev/v1alpha1",
        "kind": "PersistentChatFailover",
        "metadata": {"name": "litware", "namespace": "chat", "uid": o.uid, "generation": o.generation},
        "spec": spec,
        "status": o.status,
    })
}

/// The moments of both sides: what begins on the one, and what begins on the other.
static OF_BOTH_SIDES: LazyLock<[Vec<Seen>; 2]> = LazyLock::new(|| {
    std::thread::scope(|scope| {
        Side::BOTH.map(|begins| scope.spawn(move || moments(begins))).map(|one| one.join().unwrap())
    })
});

/// What a tool says of an object.
#[derive(Debug, PartialEq, Deserialize)]
struct Verdict {
    status: String,
    message: String,
}

/// What both say.
#[derive(Debug, Deserialize)]
struct Verdicts {
    kstatus: Verdict,
    argo: Verdict,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A program that a script of ours builds.
fn built_by(script: &str) -> PathBuf {
    let out = Command::new(root().join("scripts").join(script)).output().unwrap();
    assert!(out.status.success(), "{script}: {}", String::from_utf8_lossy(&out.stderr));
    PathBuf::from(String::from_utf8(out.stdout).unwrap().trim())
}

const CONFIG_MAP: &str = "examples/gitops/argocd/argocd-cm.yaml";

/// A key of the ConfigMap for Argo CD.
fn customization(what: &str) -> String {
    let text = std::fs::read_to_string(root().join(CONFIG_MAP)).unwrap();
    let map: Value = serde_saphyr::from_str(&text).unwrap();
    let key = format!("resource.customizations.{what}.persistentchat.dev_PersistentChatFailover");
    map["data"][&key].as_str().unwrap_or_else(|| panic!("{CONFIG_MAP} has no {key}")).into()
}

/// What kstatus and Argo CD's interpreter with our health check say of objects.
fn judge<'a>(objects: impl Iterator<Item = &'a Value>) -> Vec<Verdicts> {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("health.lua");
    std::fs::write(&script, customization("health")).unwrap();
    let mut child = Command::new(built_by("kstatus.sh"))
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: String = objects.map(|o| format!("{o}\n")).collect();
    let writer = std::thread::spawn(move || stdin.write_all(lines.as_bytes()));
    let out = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(out.status.success(), "it says on stderr why");
    let answers = String::from_utf8(out.stdout).unwrap();
    answers.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What holds of every status, whatever had been decided.
fn assert_sound(seen: &Seen, v: &Verdicts) {
    let (m, status) = (&seen.moment, &seen.moment.object.status);
    let (ready, reconciling, stalled) = (is(m, "Ready"), is(m, "Reconciling"), is(m, "Stalled"));
    assert!(!(stalled && reconciling), "both: {}", seen.told());
    assert!(!(stalled && ready), "Ready and Stalled: {}", seen.told());
    if v.kstatus.status == "Failed" {
        assert!(stalled, "Failed without Stalled: {}", seen.told());
    }
    if v.kstatus.status == "Current" {
        let wanted = &seen.object["spec"]["activeDataCenter"];
        assert!(ready && status.active_data_center.as_deref() == wanted.as_str(), "Current: {}", seen.told());
        assert_eq!(status.observed_generation, m.object.generation, "Current: {}", seen.told());
    }
    assert!(status.observed_generation <= seen.highest, "of the future: {}", seen.told());
    for c in &status.conditions {
        let of = c.observed_generation.unwrap_or(-1);
        assert!(of <= seen.highest, "{} is of the future: {}", c.type_, seen.told());
        // Those of steps are left as they were by what is over; those that decide speak of what the whole status speaks of.
        let decides = ["Ready", "Reconciling", "Stalled"].contains(&c.type_.as_str());
        assert!(!decides || of == status.observed_generation, "{} is older: {}", c.type_, seen.told());
    }
    assert!(!v.argo.message.is_empty(), "Argo CD shows no message: {}", seen.told());
}

#[test]
fn every_moment_of_every_procedure_is_what_the_table_says_in_both_directions() {
    for (begins, all) in Side::BOTH.iter().zip(OF_BOTH_SIDES.iter()) {
        let verdicts = judge(all.iter().map(|seen| &seen.object));
        assert_eq!(verdicts.len(), all.len());
        let mut cases: BTreeMap<Case, usize> = BTreeMap::new();
        for (seen, v) in all.iter().zip(&verdicts) {
            assert_sound(seen, v);
            let case = Case::of(&seen.moment);
            let said = (v.kstatus.status.as_str(), v.argo.status.as_str());
            assert_eq!(said, case.says(), "{case:?}: {}", seen.told());
            *cases.entry(case).or_default() += 1;
        }
        println!("chat begins on {begins:?}: {} moments, {cases:?}", all.len());
        for case in Case::ALL {
            assert!(cases.contains_key(&case), "{case:?} was never seen where chat begins on {begins:?}");
        }
    }
}

#[test]
fn kstatus_says_of_made_up_statuses_what_is_known_of_it() {
    let with = |status: Value| {
        json!({"apiVersion": "persistentchat.dev/v1alpha1", "kind": "PersistentChatFailover",
            "metadata": {"name": "litware", "generation": 2}, "spec": {"activeDataCenter": "atlanta"}, "status": status})
    };
    let is =
        |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "R", "message": "m"});
    let (ready, not_ready) = (is("Ready", "True"), is("Ready", "False"));
    let (stalled, reconciling) = (is("Stalled", "True"), is("Reconciling", "True"));
    let of = |generation: i64, conditions: &[&Value]| json!({"observedGeneration": generation, "conditions": conditions});
    // Whoever has none of our definition's default (-1) must not be taken for done by Argo CD; kstatus cannot tell.
    let table = [
        (json!({}), "Current", "Progressing"),
        (json!({"observedGeneration": 2}), "Current", "Progressing"),
        (of(-1, &[]), "InProgress", "Progressing"),
        (of(1, &[&ready]), "InProgress", "Progressing"),
        (of(3, &[&ready]), "InProgress", "Progressing"),
        (of(2, &[&ready]), "Current", "Healthy"),
        (of(2, &[&not_ready]), "InProgress", "Progressing"),
        (of(2, &[&ready, &reconciling]), "InProgress", "Progressing"),
        (of(2, &[&not_ready, &stalled]), "Failed", "Degraded"),
        (of(2, &[&ready, &stalled]), "Failed", "Degraded"),
        // Why no status may hold both: what comes first would count.
        (of(2, &[&stalled, &reconciling]), "Failed", "Degraded"),
        (of(2, &[&reconciling, &stalled]), "InProgress", "Degraded"),
    ];
    let objects: Vec<Value> = table.iter().map(|(status, ..)| with(status.clone())).collect();
    for ((status, kstatus, argo), v) in table.iter().zip(judge(objects.iter())) {
        assert_eq!((v.kstatus.status.as_str(), v.argo.status.as_str()), (*kstatus, *argo), "{status}");
    }
}

/// What Argo CD's own program says of an object, with the ConfigMap that is shipped.
fn argocd(program: &Path, object: &Path, command: &[&str]) -> String {
    let out = Command::new(program)
        .args(["admin", "settings", "resource-overrides", command[0]])
        .arg(object)
        .args(&command[1..])
        .arg("--argocd-cm-path")
        .arg(root().join(CONFIG_MAP))
        .output()
        .unwrap();
    let said = String::from_utf8(out.stdout).unwrap();
    assert!(out.status.success(), "{command:?}: {said}{}", String::from_utf8_lossy(&out.stderr));
    said
}

/// One status of each shape: what is in it that a health check can tell apart.
fn shapes() -> Vec<&'static Seen> {
    let mut shapes: BTreeMap<(Case, bool, Vec<String>), &Seen> = BTreeMap::new();
    for seen in OF_BOTH_SIDES.iter().flatten() {
        let o = &seen.moment.object;
        let decide = ["Ready", "Reconciling", "Stalled", "FailoverReady"];
        let conditions = o.status.conditions.iter().filter(|c| decide.contains(&c.type_.as_str()));
        let told = conditions.map(|c| format!("{}={} {}", c.type_, c.status, c.reason)).collect();
        shapes.entry((Case::of(&seen.moment), o.spec.suspend, told)).or_insert(seen);
    }
    shapes.into_values().collect()
}

/// By night only: Argo CD takes minutes to build. By day its interpreter says the same of more, as this shows.
#[test]
fn argo_cd_itself_says_the_same_and_its_buttons_suspend_and_resume() {
    if !by_night() {
        // Past the capture of the test harness: that it was not done is said.
        return std::io::stdout()
            .write_all(b"Argo CD itself is driven by night only (PCF_NIGHT=1)\n")
            .unwrap();
    }
    let (program, folder) = (built_by("argocd.sh"), tempfile::tempdir().unwrap());
    let shapes = shapes();
    assert!(shapes.len() > 30, "only {} shapes", shapes.len());
    let verdicts = judge(shapes.iter().map(|seen| &seen.object));
    for (n, (seen, v)) in shapes.iter().zip(&verdicts).enumerate() {
        let file = folder.path().join(format!("{n}.yaml"));
        std::fs::write(&file, seen.object.to_string()).unwrap();
        let said = argocd(&program, &file, &["health"]);
        assert_eq!(
            said.trim_end(),
            format!("STATUS: {}\nMESSAGE: {}", v.argo.status, v.argo.message).trim_end()
        );
        assert_eq!(v.argo.status, Case::of(&seen.moment).says().1, "{}", seen.told());
    }
    println!("Argo CD says of {} shapes what its interpreter says", shapes.len());
    let suspended = |seen: &&&Seen| seen.moment.object.spec.suspend;
    let (on, off) = (shapes.iter().position(|s| suspended(&s)), shapes.iter().position(|s| !suspended(&s)));
    for (n, button, other) in [(off.unwrap(), "suspend", "resume"), (on.unwrap(), "resume", "suspend")] {
        let file = folder.path().join(format!("{n}.yaml"));
        let list = argocd(&program, &file, &["list-actions"]);
        let words = list.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
        let offered: BTreeMap<&str, &str> = words.map(|w| (w[0], w[1])).collect();
        assert_eq!(offered, BTreeMap::from([(button, "false"), (other, "true")]), "{list}");
        let said = argocd(&program, &file, &["run-action", button]);
        let changed: Vec<&str> =
            said.lines().filter(|l| l.starts_with("< ") || l.starts_with("> ")).collect();
        let on = button == "suspend";
        assert_eq!(changed, [format!("<   suspend: {}", !on), format!(">   suspend: {on}")], "{said}");
    }
}

/// A document of the examples for Argo CD.
fn example(name: &str) -> Value {
    let text = std::fs::read_to_string(root().join("examples/gitops/argocd").join(name)).unwrap();
    serde_saphyr::from_str(&text).unwrap()
}

/// What Git holds is Git's: what humans set on the resource must not stand there, and no button may agree to a loss.
#[test]
fn the_examples_leave_to_humans_what_is_theirs_and_delete_nothing() {
    let text = std::fs::read_to_string(root().join("examples/gitops/argocd/resource.yaml")).unwrap();
    let (resource, _) = cli::from_file(&text).unwrap();
    assert!(convert::pool(&resource.spec).is_ok());
    let resource = example("resource.yaml");
    for theirs in ["suspend", "consent", "utteredAt"] {
        assert!(resource["spec"].get(theirs).is_none(), "{theirs} stands in Git");
    }
    assert!(resource.get("status").is_none());
    let options = &resource["metadata"]["annotations"]["argocd.argoproj.io/sync-options"];
    assert_eq!(options, "Prune=false,Delete=false");
    let application = example("application.yaml");
    let policy = &application["spec"]["syncPolicy"];
    assert_eq!(policy["automated"], json!({"prune": false, "selfHeal": true}));
    assert_eq!(policy["syncOptions"], json!(["ServerSideApply=true", "FailOnSharedResource=true"]));
    assert_eq!((&policy["retry"]["refresh"], &policy["retry"]["limit"]), (&json!(true), &json!(-1)));
    assert!(application["metadata"].get("finalizers").is_none(), "who deletes it would delete the resource");
    let actions: Value = serde_saphyr::from_str(&customization("actions")).unwrap();
    let names: Vec<&str> =
        actions["definitions"].as_array().unwrap().iter().map(|a| a["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["suspend", "resume"]);
}
