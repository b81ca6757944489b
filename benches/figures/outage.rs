//! How long chat stands still in a planned switch, beside what the lab itself took for what no switch can do without; and whether that
//! depends on how large the database is.
//!
//! Both are of the same run. How long chat stood still is the operator's own word, as its record has it: from the moment when chat was told
//! to stop until it was seen serving. What the lab took is in its journal, and in its world as it was looked at all the while.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lab::scenario::Scenario;
use lab::serve::Lab;
use lab::world::SharedWorld;
use lab::world::journal::{Effect, Entry};
use serde_json::Value;

use crate::Figure;
use crate::common::scene::{Scene, TAIL, quick};
use crate::common::switches::{RECOVER, may_switch};

/// Gigabytes of the two databases that are switched beside each other.
const SMALL: u64 = 1;
const BIG: u64 = 500;
/// How many pairs of switches; of each figure the median counts, the worse of the two in the middle.
const PAIRS: usize = 2;

const SET_SERVERS: &str = "Set-CsPersistentChatActiveServer";
const SET_STATE: &str = "Set-CsPersistentChatState";

/// A world in which each part of a switch takes some seconds, less than any real one. Nothing is left to be copied or applied when it begins, and
/// no job of log shipping has its turn meanwhile.
fn world(gigabytes: u64) -> Scenario {
    Scenario {
        database_gb: gigabytes,
        backups: 3,
        copied: 3,
        restored: 3,
        drain_ms: 6_000,
        restore_ms: 6_000,
        recovery_ms: 6_000,
        replication_ms: 4_000,
        ..quick()
    }
}

/// Both figures.
pub async fn figures() -> Vec<Figure> {
    let (mut beside_the_lab, mut beside_small) = (Vec::new(), Vec::new());
    for pair in 0..PAIRS {
        // At the same time, so that whatever else this machine does slows both.
        let (small, big) = tokio::join!(switch(pair, SMALL), switch(pair, BIG));
        beside_the_lab.extend([small.outage / small.taken(), big.outage / big.taken()]);
        beside_small.push(big.outage / small.outage);
    }
    let figure = |name: String, ratios, bound| Figure { name, ours: median(ratios), bound, unit: "times" };
    vec![
        figure("chat stands still in a switch, by what the lab took".into(), beside_the_lab, 1.1),
        figure(format!("the same with {BIG} GB, by that with {SMALL} GB"), beside_small, 1.15),
    ]
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// One switch: seconds for which chat stood still, and what the lab took.
struct Stood {
    outage: f64,
    /// From the moment when chat was told to stop until its last server had left the old database.
    drain: f64,
    /// Of the tail: its backup, and its restore. Copying it takes the lab no time.
    tail: f64,
    recovery: f64,
    /// Of the pool's state and of its active servers: from the cmdlet until every server had it.
    replication: f64,
}

impl Stood {
    fn taken(&self) -> f64 {
        self.drain + self.tail + self.recovery + self.replication
    }
}

async fn switch(pair: usize, gigabytes: u64) -> Stood {
    let mut scene = Scene::set(&format!("stands_still_{pair}_{gigabytes}"), world(gigabytes)).await;
    // As it is installed; a lab looks more often.
    scene.env.push(("PCF_POLL", "10s"));
    scene.begin().await;
    may_switch(&scene);
    // Sessions are ended at some moment: that changes nothing where they end by themselves.
    scene.patch(r#"{"policy":{"drainDeadline":"5m"}}"#);
    scene.wait_for("Ready", "True", "Active").await;
    let since = scene.lab.journal().len();
    let left = scene.data_center(0).sql_server.clone();
    let watched = Watched::begin(scene.lab.world().clone(), left);
    scene.want(1);
    scene.until("the end of the switch", || closed(&scene.lab, since).is_some()).await;
    let seen = watched.end();
    let record = closed(&scene.lab, since).unwrap();
    let stood = measured(&scene.lab.journal()[since..], &record, &seen);
    scene.until("its end in the status", || scene.times("Switch", "Completed") == 1).await;
    let told = scene.object()["status"]["history"][0]["outageSeconds"].as_f64().unwrap();
    assert!(
        (told - stood.outage).abs() <= 1.0,
        "the status tells of {told} s, the record of {} s",
        stood.outage
    );
    println!(
        "{gigabytes} GB: chat stood still for {:.2} s; the lab took {:.2} s: drain {:.2}, tail {:.2}, recovery {:.2}, replication {:.2}",
        stood.outage,
        stood.taken(),
        stood.drain,
        stood.tail,
        stood.recovery,
        stood.replication
    );
    stood
}

/// The record of a switch that is over, as it was last written.
fn closed(lab: &Lab, since: usize) -> Option<Value> {
    let world = lab.world().now();
    let written = world.journal.entries().iter().skip(since).rev().flat_map(|e| e.parameters.values());
    let mut records =
        written.filter(|text| text.starts_with('{')).filter_map(|t| serde_json::from_str(t).ok());
    records.find(|r: &Value| r["route"]["procedure"] == "Switch" && !r["ended"].is_null())
}

fn measured(entries: &[Entry], record: &Value, seen: &[Look]) -> Stood {
    let moment = |at: &Value| {
        at.as_str().and_then(|t| t.parse::<Timestamp>().ok()).unwrap_or_else(|| panic!("{record}"))
    };
    let stopped = moment(&record["facts"]["chatStopped"]);
    let served = moment(&record["steps"]["ChatServing"]["ended"]);
    let of = |name: &str, more: &str| {
        let is = |e: &&Entry| e.effect == Effect::Write && e.is_an_operators() && e.name == name;
        let all: Vec<&Entry> = entries.iter().filter(is).filter(|e| shown(e).contains(more)).collect();
        assert!(!all.is_empty(), "no {name} {more}");
        all
    };
    let took = |e: &Entry| seconds(e.ended.unwrap().duration_since(e.time));
    let set = of(SET_SERVERS, "");
    let [clear, set] = set[..] else { panic!("{} times {SET_SERVERS}", set.len()) };
    let gone = seen.iter().rev().find(|l| l.chats).map(|l| l.at).unwrap();
    // How long until a setting has reached every server.
    let arrives = |e: &Entry| {
        let later = seen.iter().filter(|l| l.at >= e.ended.unwrap());
        let at = later.skip_while(|l| !l.replicates).find(|l| !l.replicates).unwrap().at;
        seconds(at.duration_since(e.time))
    };
    Stood {
        outage: seconds(served.duration_since(stopped)),
        drain: seconds(gone.duration_since(clear.time)),
        tail: took(of("BACKUP LOG", TAIL)[0]) + took(of("RESTORE LOG", TAIL)[0]),
        recovery: took(of(RECOVER, "")[0]),
        replication: arrives(of(SET_STATE, "")[0]) + arrives(set),
    }
}

fn shown(e: &Entry) -> String {
    format!("{} {:?}", e.target.as_deref().unwrap_or_default(), e.parameters)
}

fn seconds(d: SignedDuration) -> f64 {
    d.as_secs_f64()
}

/// What was seen of the lab at one moment.
struct Look {
    at: Timestamp,
    /// A chat server is in the database that is left.
    chats: bool,
    /// A setting is on its way to some server.
    replicates: bool,
}

/// Looks at a lab again and again, on a thread of its own: nothing else that this program does holds it up.
struct Watched {
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<Vec<Look>>,
}

impl Watched {
    fn begin(world: SharedWorld, left: String) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let is_over = over.clone();
        let thread = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                {
                    let w = world.now();
                    let is_left = |session: &Option<(String, u32)>| {
                        session.as_ref().is_some_and(|(sql, _)| *sql == left)
                    };
                    seen.push(Look {
                        at: w.now,
                        chats: w.chat.servers.values().any(|s| is_left(&s.session)),
                        replicates: w.chat.replicas.values().any(|r| r.due.is_some()),
                    });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
            seen
        });
        Watched { over, thread }
    }

    fn end(self) -> Vec<Look> {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}
