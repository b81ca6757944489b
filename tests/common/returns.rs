//! The course of a return: the data centre that was lost is there again with its old database, which is saved and overwritten by a copy of
//! the live one, by a yes.

use lab::scenario::Scenario;
use lab::serve::Lab;
use lab::sql::backup;
use lab::world::journal::Outcome;
use serde_json::Value;

use super::courses::{ADD_SECONDARY, last_begun, not_protected};
use super::matrix::{AtWork, Course, world};
use super::scene::{Scene, begun, not_live_in, not_once, runs};
use super::switches::beside;

pub const SEED: &str = "RESTORE DATABASE FROM DISK";
pub const BACKUP: &str = "BACKUP DATABASE";

/// This data centre of the scenario is there again, after a failover to the other one.
#[derive(Clone, Copy)]
pub struct Return {
    pub of: usize,
}

impl Return {
    fn live(self) -> usize {
        1 - self.of
    }
}

/// What is asked of a human now, before the data centre that is back is protected.
pub async fn question(scene: &Scene) -> Value {
    let asked = || scene.object()["status"]["transition"]["consentNeeded"].take();
    scene.until("a question", || !asked().is_null()).await;
    let question = asked();
    assert_eq!(scene.object()["status"]["transition"]["procedure"], "Protect");
    question
}

/// Whether everything that a life of the database held stands in the share of its data centre: a full backup, and the tail with which
/// it was closed.
pub fn is_saved(lab: &Lab, n: usize, fork: &str) -> bool {
    let (world, share) = (lab.world().now(), &lab.scenario().data_centers[n].backup_share);
    let names = world.files.list(share).unwrap();
    let paths = names.iter().map(|(name, _)| format!(r"{share}\{name}"));
    let sets: Vec<_> = paths.filter_map(|path| backup::read(world.files.as_ref(), &path).ok()).collect();
    let of = |kind: i32| sets.iter().filter(move |s| s.kind == kind && s.last_fork == fork);
    let full = of(1).map(|s| s.last_lsn).max();
    let tail = of(2).filter(|s| s.extra.tail).map(|s| (s.first_lsn, s.last_lsn)).max();
    full.zip(tail).is_some_and(|(full, (first, last))| first <= full && full <= last)
}

/// Jobs of ours that stand on any server.
pub fn left_behind(lab: &Lab) -> Vec<String> {
    let world = lab.world().now();
    let jobs = world.sql.values().flat_map(|i| i.jobs.iter().map(|j| format!("{} on {}", j.name, i.host)));
    jobs.filter(|name| name.starts_with("PCF_")).collect()
}

/// The forks that the database of a data centre was closed on, by the backups that its server took: what was saved.
fn closed_forks(lab: &Lab, n: usize) -> Vec<String> {
    let world = lab.world().now();
    let host = &lab.scenario().data_centers[n].sql_server;
    let closed = world.sql[host].backups.iter().filter(|b| b.extra.tail);
    closed.map(|b| b.last_fork.clone()).collect()
}

/// Chat has failed over to the second data centre, and the first one is there again, with its old database open. The fork of that.
pub async fn returned(test: &str, scenario: Scenario) -> (Scene, String) {
    let mut scene = Scene::ready(test, scenario).await;
    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    let first = scene.data_center(0).clone();
    let old = database(&scene, &first.sql_server);
    scene.lab.restore(&first.name).await.unwrap();
    (scene, old.fork)
}

pub fn database(scene: &Scene, host: &str) -> lab::sql::Database {
    scene.lab.world().now().sql[host].databases["mgc"].clone()
}

/// The first data centre is protected: its copy is fed, and nothing is left behind.
pub async fn until_protected(scene: &Scene, shipped: usize) {
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_protected(&scene.lab, 0, shipped), Vec::<String>::new());
    assert_eq!(left_behind(&scene.lab), Vec::<String>::new());
}

impl Course for Return {
    fn name(&self) -> &'static str {
        ["return", "return_of_second"][self.of]
    }

    fn scenario(&self) -> Scenario {
        beside(self.live(), Scenario { full_ms: 500, ..world() })
    }

    async fn make_ready(&self, scene: &mut Scene) {
        scene.lose_data_center(self.of).await;
        scene.want(self.live());
        scene.wait_until_ready_in(self.live()).await;
        scene.wait_until_at_rest().await;
    }

    async fn begin(&self, scene: &mut Scene) {
        let back = scene.data_center(self.of).name.clone();
        scene.lab.restore(&back).await.unwrap();
        scene.agree(&question(scene).await);
    }

    fn active_at_the_end(&self) -> usize {
        self.live()
    }

    fn unfinished(&self, lab: &Lab, since: usize) -> Vec<String> {
        let mut wrong = not_live_in(lab, self.live());
        wrong.extend(not_protected(lab, self.of, 1));
        wrong.extend(left_behind(lab).into_iter().map(|name| format!("{name} is left behind")));
        wrong.extend(not_once(lab, since, &[SEED, "BACKUP LOG"]));
        let forks = closed_forks(lab, self.of);
        if forks.is_empty() || !forks.iter().all(|fork| is_saved(lab, self.of, fork)) {
            wrong.push(format!("of {forks:?} not everything is saved"));
        }
        wrong
    }

    fn once(&self) -> (&'static [&'static str], usize) {
        (&["BACKUP LOG", "ALTER DATABASE", ADD_SECONDARY], 3)
    }

    fn detached(&self) -> &'static [&'static str] {
        &[]
    }

    fn early(&self) -> &'static str {
        "EXEC sp_add_job"
    }

    fn gravest(&self) -> &'static str {
        "BACKUP LOG"
    }

    fn takes_a_while(&self) -> bool {
        false
    }

    fn makes_jobs(&self) -> bool {
        true
    }

    fn by_day(&self) -> usize {
        2
    }

    fn moments(&self) -> Vec<AtWork> {
        vec![
            ("what saves", |s, _| runs(&s.lab, "BACKUP DATABASE")),
            ("the old database closed", |s, since| begun(&s.lab, since, "BACKUP LOG")),
            ("the restore", |s, _| runs(&s.lab, SEED)),
            ("the copy fed", |s, since| {
                let world = s.lab.world().now();
                let fed =
                    |e: &lab::world::journal::Entry| e.name == ADD_SECONDARY && e.outcome == Outcome::Ok;
                world.journal.entries().iter().skip(since).any(fed)
            }),
        ]
    }

    fn record_says(&self, document: &Value) -> Vec<String> {
        let facts = &document["facts"];
        let saved = facts["saved"]["store"].as_object();
        let known = [
            (saved.is_some(), "saved"),
            (saved.is_some_and(|s| s.contains_key("lost")), "counted"),
            (saved.is_some_and(|s| s.contains_key("tail")), "closed"),
            (!facts["seed"].is_null(), "seed taken"),
            (!facts["seed"]["restored"].is_null(), "seed restored"),
        ];
        let step = last_begun(document, &["OldSideFenced", "DatabaseSeeded", "LogShippingEstablished"]);
        let known = known.into_iter().filter(|(holds, _)| *holds).map(|(_, said)| said);
        step.into_iter().chain(known).map(String::from).collect()
    }

    fn backups(&self, _lab: &Lab) -> Vec<String> {
        vec![]
    }
}
