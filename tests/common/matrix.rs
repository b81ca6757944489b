//! What every course must withstand, written once: killed before and after each effect and within each step, two operators at a
//! time, the holder of the lock stopped. Success is read from the lab: from what its servers hold and from its journal.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use lab::scenario::Scenario;
use lab::serve::Lab;
use lab::serve::held_file::HeldFile;
use lab::world::breakpoints::{Arrival, Moment};
use lab::world::journal::{Effect, Entry, Outcome};
use serde_json::Value;
use tokio::sync::OnceCell;

use super::scene::{self, RESOURCE, Scene, quick};
use super::{Plane, Process, night, sample, sample_number};

/// A way from one state of the world to another, on which every disturbance is tried.
pub trait Course: Copy + Send + Sync + 'static {
    /// A word for it. Part of the names of its scenes, and so of namespaces.
    fn name(&self) -> &'static str;

    /// The world that it is played in.
    fn scenario(&self) -> Scenario {
        world()
    }

    /// Brings a scene whose resource is Ready to where the course begins. What is done here is not disturbed.
    async fn make_ready(&self, _scene: &mut Scene) {}

    /// What begins it: what happens to the world, and the wish.
    async fn begin(&self, scene: &mut Scene);

    /// The data centre of the scenario that is active at its end.
    fn active_at_the_end(&self) -> usize;

    /// What is not yet so in a world in which it is complete, by the lab's own state and by its journal from an entry on.
    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String>;

    /// The effects that happen exactly once, whoever is killed: how their labels begin, and how many they are.
    fn once(&self) -> (&'static [&'static str], usize);

    /// The effects that live on without the process that began them: started once, whatever becomes of it.
    fn detached(&self) -> &'static [&'static str];

    /// An effect that comes early and takes a while: the one at work is held or stopped in it.
    fn early(&self) -> &'static str;

    /// The effect that must not happen twice: the one at work is killed while it runs.
    fn gravest(&self) -> &'static str;

    /// Whether [`Course::gravest`] takes a while in a lab: then the one at work is killed in it, else before its answer is sent.
    fn takes_a_while(&self) -> bool {
        true
    }

    /// Whether it makes jobs: whoever was cut off makes them once more, with other ids, so that nothing can be called by those.
    fn makes_jobs(&self) -> bool {
        false
    }

    /// How many records tell of an end in it: for each transition one on each server that keeps it, which are the partners of a mirror.
    fn ends(&self) -> usize {
        2
    }

    /// How many of its effects are tried by day, at least.
    fn by_day(&self) -> usize {
        4
    }

    /// For each step a moment at which it is at work.
    fn moments(&self) -> Vec<AtWork>;

    /// What a write of the record is called: what that document says that another one does not.
    fn record_says(&self, document: &Value) -> Vec<String>;

    /// The log backups that it has to do with, oldest first.
    fn backups(&self, lab: &Lab) -> Vec<String> {
        scene::backups(lab)
    }

    /// Where the operator copies log backups to, if it does.
    fn copied_to(&self, _lab: &Lab) -> Option<PathBuf> {
        None
    }

    /// What an effect is called in every run: without the times that are in names, and a write of the record by what it says.
    fn label(&self, files: &[String], doing: &Doing<'_>) -> String {
        if let Some(document) = doing.record() {
            // At the end, whatever else it holds differs from run to run.
            let says = match document["ended"].is_null() {
                true => self.record_says(&document),
                false => {
                    vec![format!("{} over", document["route"]["procedure"].as_str().unwrap_or_default())]
                }
            };
            return format!("record on {}: {}", doing.server, says.join(", "));
        }
        let target = doing.target.unwrap_or_default();
        match files.iter().position(|f| target.ends_with(f.as_str())) {
            // A record lies on both partners of a mirror.
            None if target == RECORDS => format!("{} {target} on {}", doing.name, doing.server),
            None if self.makes_jobs() && doing.is_of_a_job() => {
                format!("{} {OF_A_JOB} {}", doing.name, doing.server)
            }
            Some(n) => format!("{} log backup {}", doing.name, n + 1),
            // Each attempt at it has a name of its own.
            None if target.contains(scene::TAIL) => format!("{} the tail", doing.name),
            // The transition's id is another one in every run.
            None if target.contains("_saved_") => format!("{} what is saved", doing.name),
            None if target.starts_with("PCF_") => {
                let what = target.rsplit_once('_').map_or(target, |(what, _)| what);
                format!("{} {what} on {}", doing.name, doing.server)
            }
            None => match doing.parameters.get("ActiveServers") {
                // Set more than once: to nobody, and to those of a side.
                Some(servers) => format!("{} {target} to {servers}", doing.name),
                None => format!("{} {target}", doing.name),
            },
        }
    }
}

/// A step, and whether it is at work: by the scene, and by the lab's journal from an entry on.
pub type AtWork = (&'static str, fn(&Scene, usize) -> bool);

/// An effect: one that has arrived at the lab, or one of its journal.
pub struct Doing<'a> {
    pub server: &'a str,
    pub name: &'a str,
    pub target: Option<&'a str>,
    pub parameters: &'a BTreeMap<String, String>,
}

impl<'a> From<&'a Arrival> for Doing<'a> {
    fn from(a: &'a Arrival) -> Self {
        Doing { server: &a.server, name: &a.name, target: a.target.as_deref(), parameters: &a.parameters }
    }
}

impl<'a> From<&'a Entry> for Doing<'a> {
    fn from(e: &'a Entry) -> Self {
        Doing { server: &e.server, name: &e.name, target: e.target.as_deref(), parameters: &e.parameters }
    }
}

/// What is done to a job is called so, with its server: the same for each of the jobs there.
const OF_A_JOB: &str = "of a job on";

impl Doing<'_> {
    fn is_of_a_job(&self) -> bool {
        let procedures =
            ["sp_add_schedule", "sp_attach_schedule", "sp_update_job", "sp_start_job", "sp_add_jobserver"];
        procedures.iter().any(|p| self.name.strip_prefix("EXEC ") == Some(p))
    }

    /// The document, if this writes the record.
    fn record(&self) -> Option<Value> {
        let writes = self.target == Some(RECORDS) && self.name != "CREATE TABLE";
        let document = self.parameters.values().find(|v| v.starts_with('{')).filter(|_| writes)?;
        Some(serde_json::from_str(document).unwrap())
    }
}

/// The table that records lie in.
const RECORDS: &str = "persistent_chat_failover";

/// A world in which a copy is longer than a pipe holds, or it could not be held in its middle.
pub fn world() -> Scenario {
    Scenario { backup_bytes: 150_000, ..quick() }
}

/// With these a process is soon at work again after it was killed.
pub const SOON: [(&str, &str); 2] = [("PCF_SILENCE", "300ms"), ("PCF_POLL", "200ms")];

/// One line of the matrix. It is written when it is dropped: as passed, or as failed if its test is panicking.
pub struct Row {
    what: String,
    how_often: String,
    began: Instant,
}

impl Row {
    pub fn begin(what: impl Into<String>) -> Row {
        Row { what: what.into(), how_often: String::new(), began: Instant::now() }
    }

    /// The same, for something of which only a sample is done by day.
    fn of_a_sample(what: impl Into<String>) -> Row {
        let how = if night() {
            "repeat it with PCF_NIGHT=1".into()
        } else {
            format!("repeat it with PCF_SAMPLE={}", sample_number())
        };
        let mut row = Row::begin(what);
        row.how_often = how;
        row
    }

    /// Says where it was killed or cut off, and how often.
    pub fn passed(mut self, how_often: impl Into<String>) {
        self.how_often = how_often.into();
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        static HEAD: Once = Once::new();
        HEAD.call_once(|| tell_row("what was done", "result", "took", "where, and how often"));
        let failed = std::thread::panicking();
        let result = if failed { "FAILED" } else { "went on" };
        tell_row(
            &self.what,
            result,
            &format!("{:.1} s", self.began.elapsed().as_secs_f64()),
            &self.how_often,
        );
        if failed && !self.how_often.is_empty() {
            eprintln!("{} failed: {}", self.what, self.how_often);
        }
    }
}

/// Writes one line of the matrix: past the capture of the test harness, and into the file that `make test` prints at its end.
fn tell_row(what: &str, result: &str, took: &str, how_often: &str) {
    let line = format!("| {what:86} | {result:7} | {took:>7} | {how_often:65} |\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    if let Some(path) = std::env::var_os("PCF_CRASH_MATRIX") {
        let mut f = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        f.write_all(line.as_bytes()).unwrap();
    }
}

/// A scene that is Ready, in a hurry, on a control plane that may be the test's own.
pub async fn ready_on(plane: &Plane, test: &str, scenario: Scenario) -> Scene {
    let mut scene = Scene::set_on(plane.clone(), test, scenario).await;
    scene.env = SOON.to_vec();
    scene.begin().await;
    scene
}

fn scene_name(course: &impl Course, test: &str) -> String {
    format!("{}_{test}", course.name())
}

/// A course that has not begun, in a scene that is ready for it.
pub struct Staged<'c, C> {
    pub course: &'c C,
    pub scene: Scene,
    /// The log backups, oldest first.
    files: Vec<String>,
    /// Those of them that are not copied yet, by the name that their copy has as an effect.
    to_copy: Vec<(String, PathBuf)>,
    /// How long the journal was: what comes after it belongs to the course.
    since: usize,
}

impl<'c, C: Course> Staged<'c, C> {
    /// In a usual scene, in a hurry.
    pub async fn ready(course: &'c C, test: &str) -> Self {
        let scene = ready_on(&Plane::Shared, &scene_name(course, test), course.scenario()).await;
        Self::in_scene(course, scene).await
    }

    /// In a scene whose resource is Ready.
    pub async fn in_scene(course: &'c C, mut scene: Scene) -> Self {
        course.make_ready(&mut scene).await;
        let files = course.backups(&scene.lab);
        let folder = course.copied_to(&scene.lab);
        let to_copy = (1..)
            .zip(&files)
            .filter_map(|(n, f)| Some((format!("copy of log backup {n}"), folder.as_ref()?.join(f))))
            .filter(|(_, path)| !path.is_file())
            .collect();
        let since = scene.lab.world().now().journal.entries().len();
        Staged { course, scene, files, to_copy, since }
    }

    pub async fn begin(&mut self) {
        self.course.begin(&mut self.scene).await;
    }

    /// What the operator did on this course that changes something.
    pub fn effects(&self) -> Vec<Entry> {
        let world = self.scene.lab.world().now();
        let all = world.journal.entries().iter().skip(self.since);
        all.filter(|e| e.effect == Effect::Write && e.is_an_operators()).cloned().collect()
    }

    fn label(&self, e: &Entry) -> String {
        self.course.label(&self.files, &e.into())
    }

    fn is_complete_in_the_lab(&self) -> bool {
        self.course.unfinished(&self.scene.lab, self.since).is_empty()
    }

    /// Waits until the lab says that the course is complete, without a look at the API server.
    pub async fn until_complete_in_the_lab(&self) {
        self.scene.until(self.course.name(), || self.is_complete_in_the_lab()).await;
    }

    /// Waits until the course is complete, by the lab and then by the status; and asserts that nothing happened twice.
    pub async fn until_complete(&self) {
        self.until_complete_in_the_lab().await;
        self.scene.wait_until_ready_in(self.course.active_at_the_end()).await;
        self.assert_nothing_happened_twice();
    }

    /// What must have happened once, however often a process was killed.
    pub fn assert_nothing_happened_twice(&self) {
        let wrong = self.course.unfinished(&self.scene.lab, self.since);
        assert!(wrong.is_empty(), "the lab disagrees: {wrong:?}");
        let mut done: BTreeMap<String, u32> = BTreeMap::new();
        let effects = self.effects();
        for e in effects.iter().filter(|e| e.outcome == Outcome::Ok) {
            *done.entry(self.label(e)).or_default() += 1;
        }
        let (verbs, how_many) = self.course.once();
        let once: Vec<_> =
            done.iter().filter(|(what, _)| verbs.iter().any(|verb| what.starts_with(verb))).collect();
        assert_eq!(once.len(), how_many, "{once:?}");
        assert!(once.iter().all(|(_, n)| **n == 1), "{once:?}");
        for name in self.course.detached() {
            // Whatever became of it: it was started once.
            assert_eq!(effects.iter().filter(|e| e.name == *name).count(), 1, "{name}");
        }
    }
}

/// Kills the operator while `Install-CsMirrorDatabase` runs; the next one goes on with it.
pub async fn killed_while_it_installs_the_mirror<C: Course>(mut staged: Staged<'_, C>) {
    staged.begin().await;
    until_runs(&staged.scene, "Install-CsMirrorDatabase").await;
    staged.scene.kill_operator();
    staged.scene.start_operator();
    staged.until_complete().await;
}

/// Every effect of a course that nothing disturbs, counted from the journal of such a run, and the copies of files. One run for
/// each course and test program.
async fn clean_run<C: Course>(course: &C) -> Arc<OnceCell<BTreeSet<String>>> {
    static RUNS: Mutex<BTreeMap<&'static str, Arc<OnceCell<BTreeSet<String>>>>> = Mutex::new(BTreeMap::new());
    let run = RUNS.lock().unwrap().entry(course.name()).or_default().clone();
    run.get_or_init(|| async {
        let row = Row::begin(format!("{}: nothing, the effects are counted", course.name()));
        let mut staged = Staged::ready(course, "clean_run").await;
        staged.begin().await;
        staged.until_complete().await;
        let mut found = Vec::new();
        let over = || {
            found = staged.effects().iter().map(|e| staged.label(e)).collect::<Vec<String>>();
            found.iter().filter(|e| e.ends_with(" over")).count() == course.ends()
        };
        staged.scene.until("the end in the record", over).await;
        assert!(staged.effects().iter().all(|e| e.outcome == Outcome::Ok));
        for (name, path) in &staged.to_copy {
            assert!(path.is_file(), "{name}");
            found.push(name.clone());
        }
        let all: BTreeSet<String> = found.iter().cloned().collect();
        found.retain(|e| !e.contains(OF_A_JOB));
        let named = all.iter().filter(|e| !e.contains(OF_A_JOB)).count();
        assert_eq!(named, found.len(), "two effects have the same name: {found:#?}");
        let records = all.iter().filter(|e| e.starts_with("record")).count();
        row.passed(format!("{} effects, {records} of them writes of the record", all.len()));
        all
    })
    .await;
    run
}

/// A process is killed at each effect in turn, before it and after it, and each time a new one goes on. By night at all of
/// them; by day at a sample that moves from run to run.
pub async fn killed_at_every_effect(course: &impl Course) {
    // Side by side: each waits for most of a minute until a request that is on its way counts as lost.
    tokio::join!(
        killed_at(
            course,
            "killed_before",
            "kill -9 before each effect and each write of the record",
            &[Moment::Before],
        ),
        killed_at(
            course,
            "killed_after",
            "kill -9 after each, its answer not yet sent",
            &[Moment::Started, Moment::After],
        )
    );
}

async fn killed_at(course: &impl Course, test: &str, what: &str, moments: &'static [Moment]) {
    let row = Row::of_a_sample(format!("{}: {what}", course.name()));
    let (clean, mut staged) = tokio::join!(clean_run(course), Staged::ready(course, test));
    let mut all = clean.get().unwrap().clone();
    if moments.contains(&Moment::Started) {
        // A detached effect: its answer is lost when it has begun, and once more when it has ended.
        let is_detached = |e: &&String| course.detached().iter().any(|name| e.starts_with(name));
        let started: Vec<String> = all.iter().filter(is_detached).map(|e| format!("{e} (started)")).collect();
        all.extend(started);
    }
    let wanted = sample(&all, course.by_day());
    let (mut left, mut kills) = (wanted.clone(), 0);
    for again in 1.. {
        let (reached, killed) = killed_in(&mut staged, moments, &left).await;
        // A kill may keep a later effect from ever being needed (a record's copy on the partner): that one is met in another run.
        assert!(!reached.is_empty() || left.is_empty(), "never reached: {left:#?}");
        kills += killed;
        left.retain(|e| !reached.contains(e));
        if left.is_empty() {
            break;
        }
        drop(staged);
        staged = Staged::ready(course, &format!("{test}_{again}")).await;
    }
    row.passed(format!("{} of {} points, {kills} kills", wanted.len(), all.len()));
}

/// One run, killed at each of these effects that it comes to: which they were, and how often it was killed.
async fn killed_in<C: Course>(
    staged: &mut Staged<'_, C>,
    moments: &'static [Moment],
    wanted: &BTreeSet<String>,
) -> (BTreeSet<String>, usize) {
    let before = moments.contains(&Moment::Before);
    let reached: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    hold_each(staged, moments, wanted, &reached);
    let mut held_copies: BTreeMap<&str, HeldFile> = BTreeMap::new();
    let to_copy: Vec<_> = staged.to_copy.iter().filter(|(name, _)| wanted.contains(name)).cloned().collect();
    for (name, path) in to_copy.iter().filter(|_| before) {
        let partial = format!("{}.pcf-partial", path.display());
        held_copies.insert(name, HeldFile::at(partial.as_ref()).unwrap());
    }
    staged.begin().await;
    let mut kills = 0;
    let deadline = Instant::now() + Duration::from_secs(420);
    while *reached.lock().unwrap() != *wanted || !staged.is_complete_in_the_lab() {
        let copies: Vec<&str> = to_copy
            .iter()
            .filter(|(name, path)| match held_copies.get_mut(name.as_str()) {
                Some(held) => held.is_begun().unwrap(),
                None => !before && path.is_file() && !reached.lock().unwrap().contains(name),
            })
            .map(|(name, _)| name.as_str())
            .collect();
        if !copies.is_empty() || !staged.scene.lab.held().is_empty() {
            staged.scene.kill_operator();
            kills += 1;
            for name in copies {
                reached.lock().unwrap().insert(name.into());
                if let Some(held) = held_copies.remove(name) {
                    held.leave().unwrap();
                }
            }
            // Its sessions die, and with them what was not carried out yet.
            let nothing_held = || staged.scene.lab.held().is_empty();
            staged.scene.until("the end of what the dead process had sent", nothing_held).await;
            staged.scene.start_operator();
        }
        if staged.is_complete_in_the_lab() && staged.scene.lab.held().is_empty() && staged.scene.is_at_rest()
        {
            break;
        }
        assert!(
            Instant::now() < deadline,
            "not reached: {:#?}\nunfinished: {:?}\nwritten: {:#?}\nthe log ends with\n{}",
            wanted.difference(&reached.lock().unwrap()).collect::<Vec<_>>(),
            staged.course.unfinished(&staged.scene.lab, staged.since),
            staged.scene.writes(),
            staged.scene.log_tail()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    staged.until_complete().await;
    let reached = reached.lock().unwrap().clone();
    (reached, kills)
}

/// Holds each wanted effect once, at these moments, and writes down that it was reached.
fn hold_each<C: Course>(
    staged: &Staged<'_, C>,
    moments: &'static [Moment],
    wanted: &BTreeSet<String>,
    reached: &Arc<Mutex<BTreeSet<String>>>,
) {
    let (course, files) = (*staged.course, staged.files.clone());
    let (wanted, reached) = (wanted.clone(), reached.clone());
    staged.scene.lab.break_at(Some(Box::new(move |moment, arrival| {
        let mut name = course.label(&files, &arrival.into());
        if moment == Moment::Started {
            name.push_str(" (started)");
        }
        moments.contains(&moment) && wanted.contains(&name) && reached.lock().unwrap().insert(name)
    })));
}

/// Holds the first of each of these that arrives.
pub fn hold_first(scene: &Scene, names: &[&'static str]) {
    let (names, mut met) = (names.to_vec(), BTreeSet::new());
    scene.lab.break_at(Some(Box::new(move |moment, a| {
        moment == Moment::Before && names.contains(&a.name.as_str()) && met.insert(a.name.clone())
    })));
}

/// Holds the first restore of the tail of a log.
pub fn hold_the_tail(scene: &Scene) {
    let mut met = false;
    scene.lab.break_at(Some(Box::new(move |moment, a| {
        let is_it = a.name == "RESTORE LOG" && a.target.as_deref().is_some_and(|t| t.contains(scene::TAIL));
        moment == Moment::Before && is_it && !std::mem::replace(&mut met, true)
    })));
}

pub async fn until_held(scene: &Scene, name: &str) {
    scene.until(name, || scene.lab.held().iter().any(|(_, a)| a.name == name)).await;
}

pub async fn until_runs(scene: &Scene, name: &str) {
    scene.until(name, || scene::runs(&scene.lab, name)).await;
}

/// kill -9 once within each step, and a new process each time; with `anew`, the resource is deleted meanwhile and created
/// again without its status.
pub async fn killed_within_each_step(course: &impl Course, anew: bool) {
    let (test, how) = match anew {
        false => ("killed_within", "kill -9 once within each step"),
        true => {
            ("created_anew_within", "the same, the resource deleted and created again without its status")
        }
    };
    let row = Row::begin(format!("{}: {how}", course.name()));
    // Long enough for each step to be met at work.
    let slow = Scenario {
        restore_ms: 600,
        recovery_ms: 900,
        mirror_ms: 3000,
        replication_ms: 1500,
        cmdlet_ms: 150,
        ..course.scenario()
    };
    let mut staged = Staged::in_scene(course, Scene::ready(&scene_name(course, test), slow).await).await;
    staged.begin().await;
    let moments = course.moments();
    for (name, moment) in &moments {
        staged.scene.until(name, || moment(&staged.scene, staged.since)).await;
        let scene = &mut staged.scene;
        scene.kill_operator();
        if anew {
            let mut wanted = scene.object()["spec"].clone();
            if *name == moments[0].0 {
                // Nothing is recorded yet: a resource created anew is seen for the first time, and somebody must say what it wishes.
                wanted["utteredAt"] = now().into();
            }
            scene.kubectl(&["delete", &format!("pcf/{RESOURCE}"), "--wait=true"], None);
            let (api, kind) = ("persistentchat.dev/v1alpha1", "PersistentChatFailover");
            let object = serde_json::json!({"apiVersion": api, "kind": kind, "metadata": {"name": RESOURCE}, "spec": wanted});
            scene.apply(&object.to_string());
        }
        scene.start_operator();
    }
    staged.until_complete_in_the_lab().await;
    staged.scene.wait_until_ready_in(course.active_at_the_end()).await;
    // What was cut off with its session was carried out once more; whatever was done was done once.
    staged.assert_nothing_happened_twice();
    row.passed(format!("killed {} times", moments.len()));
}

/// Two operators at a time: beside each other to the end, and the one at work killed in the gravest effect.
pub async fn two_operators(course: &impl Course) {
    tokio::join!(both_to_the_end(course), one_of_two_is_killed(course));
}

async fn both_to_the_end(course: &impl Course) {
    let row = Row::begin(format!("{}: two operators from the beginning", course.name()));
    let mut staged = Staged::ready(course, "two_operators").await;
    let second = another(&staged.scene);
    staged.begin().await;
    staged.until_complete().await;
    drop(second);
    row.passed("each effect once");
}

async fn one_of_two_is_killed(course: &impl Course) {
    let (early, gravest) = (course.early(), course.gravest());
    let what = format!("{}: two operators, the one at work killed in {gravest}", course.name());
    let row = Row::begin(what);
    let usual = course.scenario();
    let slow = Scenario {
        recovery_ms: usual.recovery_ms.max(1500),
        mirror_ms: usual.mirror_ms.max(1500),
        cmdlet_ms: usual.cmdlet_ms.max(150),
        ..usual
    };
    let scene = ready_on(&Plane::Shared, &scene_name(course, "one_of_two_killed"), slow).await;
    let mut staged = Staged::in_scene(course, scene).await;
    let (mut met, short) = (BTreeSet::new(), !course.takes_a_while());
    staged.scene.lab.break_at(Some(Box::new(move |moment, a| {
        let early = moment == Moment::Before && a.name == early;
        let gravest = moment == Moment::After && a.name == gravest && short;
        (early || gravest) && met.insert((early, a.name.clone()))
    })));
    staged.begin().await;
    until_held(&staged.scene, early).await;
    // The first one has the lock: this one can only wait.
    let second = another(&staged.scene);
    staged.scene.lab.release();
    match short {
        true => until_held(&staged.scene, gravest).await,
        false => until_runs(&staged.scene, gravest).await,
    }
    staged.scene.kill_operator();
    staged.until_complete().await;
    drop(second);
    row.passed("killed once, the other one finished");
}

/// The present time, as RFC 3339 has it.
fn now() -> String {
    jiff::Timestamp::now().to_string()
}

fn another(scene: &Scene) -> Process {
    scene.another_operator(&scene.directory.path().join("second.log"))
}

/// The holder of the lock is stopped (SIGSTOP) while another operator looks on; then it goes on, or is killed.
pub async fn stopped_and_killed(course: &impl Course) {
    tokio::join!(stopped_and_continued(course), stopped_then_killed(course));
}

async fn stopped_and_continued(course: &impl Course) {
    let early = course.early();
    let row = Row::begin(format!("{}: holder of the lock stopped in {early}, then continued", course.name()));
    let (staged, second) = stopped(course, "holder_stopped").await;
    staged.scene.operator.as_ref().unwrap().signal("CONT");
    staged.until_complete().await;
    drop(second);
    row.passed("stopped once; the other one reported LockHeld and did nothing");
}

async fn stopped_then_killed(course: &impl Course) {
    let early = course.early();
    let row = Row::begin(format!("{}: holder of the lock stopped in {early}, then killed", course.name()));
    let (mut staged, second) = stopped(course, "holder_killed").await;
    staged.scene.kill_operator();
    staged.until_complete().await;
    drop(second);
    row.passed("stopped once, killed once; the other one finished");
}

/// The operator at work is stopped within an effect; another one has found the lock held and done nothing.
async fn stopped<'c, C: Course>(course: &'c C, test: &str) -> (Staged<'c, C>, Process) {
    let mut staged = Staged::ready(course, test).await;
    staged.begin().await;
    let (scene, early) = (&staged.scene, course.early());
    until_runs(scene, early).await;
    scene.operator.as_ref().unwrap().signal("STOP");
    let second = another(scene);
    // What was sent before the stop goes on at the server; nothing more may begin.
    scene.until("the end of what ran", || !scene::runs(&scene.lab, early)).await;
    let written = scene.writes();
    let message = scene.wait_for_text("Ready", "False", "LockHeld", "Another process holds the lock").await;
    let lock = format!("pcf:{}", scene.lab.scenario().pool.to_lowercase());
    assert!(message.contains(&lock) && message.contains("persistent-chat-failover on "), "{message}");
    assert_eq!(scene.writes(), written);
    (staged, second)
}
