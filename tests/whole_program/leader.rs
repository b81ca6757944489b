//! Two replicas of the operator on a real API server: one leads, the other one stands by and touches nothing. The leader is killed, cut
//! off, stopped; never do two begin, and what has begun is carried on. Success is read from the lab.
//!
//! By day the leader is killed before the record, in the recovery and in the mirror; by night in each step.

use std::time::{Duration, Instant};

use crate::common::courses::Failover;
use crate::common::matrix::{Row, SOON, Staged, hold_first, until_held, world};
use crate::common::proxy::{Proxy, behind_a_proxy};
use crate::common::scene::{Scene, runs};
use crate::common::{Plane, Process, night};
use serde_json::Value;

/// How long the lease of these tests stands.
const LEASE: Duration = Duration::from_secs(6);

/// A failover that has not begun; its operator leads, and behind a way that can be cut if that is asked for.
async fn staged(test: &str) -> Staged<'static, Failover> {
    let mut scene = Scene::set_on(Plane::Shared, test, world()).await;
    (scene.env, scene.lease) = (SOON.to_vec(), Some("6s"));
    scene.begin().await;
    Staged::in_scene(&Failover { to: 1 }, scene).await
}

/// A second replica; gives it when it has found the lease held.
async fn standby(scene: &Scene) -> Process {
    let log = scene.directory.path().join("second.log");
    let second = scene.another_operator(&log);
    let says = |text: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(text);
    scene.until("a standby", || says("another replica leads")).await;
    second
}

/// Who holds the lease.
fn holder(scene: &Scene) -> String {
    let of = format!("/apis/coordination.k8s.io/v1/namespaces/{}", scene.namespace);
    let lease = scene.plane.read(&format!("{of}/leases/persistent-chat-failover"));
    lease["spec"]["holderIdentity"].as_str().unwrap_or_default().to_string()
}

/// Sessions that were ever opened on the SQL Servers.
fn logins(scene: &Scene) -> u32 {
    scene.lab.world().now().sql.values().map(|i| i.next_session - 51).sum()
}

/// What an operator leaves, logins and the version of its resource, once it has been the same for longer than a request takes.
async fn at_rest(scene: &Scene) -> (u32, Value) {
    let left = || (logins(scene), scene.object()["metadata"]["resourceVersion"].clone());
    let (mut last, mut since) = (left(), Instant::now());
    while since.elapsed() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = left();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
    last
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_touches_nothing() {
    let row = Row::begin("standby beside a leader that is stopped: no session, no shell, no status");
    let mut scene = Scene::set_on(Plane::Shared, "standby_touches_nothing", world()).await;
    (scene.env, scene.lease) = (SOON.to_vec(), Some("30s"));
    scene.begin().await;
    let first = holder(&scene);
    // It holds the lease and does nothing more: once what it had sent has arrived, whatever is new is the other one's.
    scene.operator.as_ref().unwrap().signal("STOP");
    let (before, version) = at_rest(&scene).await;
    assert!(before > 0, "the lab counts no logins");
    let second = standby(&scene).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // a span in which an operator at work looks a dozen times
    assert_eq!(logins(&scene), before);
    assert_eq!(scene.object()["metadata"]["resourceVersion"], version);
    assert_eq!(holder(&scene), first);
    scene.operator.as_ref().unwrap().signal("CONT");
    drop(second);
    row.passed("watched for 3 s");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_ends_gives_the_lease_back() {
    let row = Row::begin("leader told to stop, the standby leads");
    let mut scene = Scene::set_on(Plane::Shared, "leader_ends", world()).await;
    (scene.env, scene.lease) = (SOON.to_vec(), Some("60s"));
    scene.begin().await;
    let first = holder(&scene);
    let second = standby(&scene).await;
    scene.operator.as_ref().unwrap().signal("TERM");
    let asked = Instant::now();
    // Far sooner than the lease runs out.
    scene.until("another holder", || !["", first.as_str()].contains(&holder(&scene).as_str())).await;
    assert!(asked.elapsed() < Duration::from_secs(50), "it waited for the lease to run out");
    let mut staged = Staged::in_scene(&Failover { to: 1 }, scene).await;
    staged.begin().await;
    staged.until_complete().await;
    drop(second);
    row.passed(format!("took over {:.1} s after the signal, and failed over", asked.elapsed().as_secs_f64()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_killed() {
    tokio::join!(
        killed_in("killed_before_the_record", "CREATE TABLE"),
        killed_in("killed_in_recovery", "RESTORE DATABASE WITH RECOVERY"),
        killed_in("killed_in_the_mirror", "Install-CsMirrorDatabase"),
    );
    if night() {
        tokio::join!(
            killed_in("killed_after_the_record", "EXEC sp_update_job"),
            killed_in("killed_in_removal", "EXEC sp_delete_log_shipping_secondary_database"),
            killed_in("killed_in_a_restore", "RESTORE LOG"),
        );
        tokio::join!(
            killed_in("killed_in_the_users", "ALTER USER"),
            killed_in("killed_in_the_state", "Set-CsPersistentChatState"),
            killed_in("killed_in_active_servers", "Set-CsPersistentChatActiveServer"),
        );
    }
}

async fn killed_in(test: &str, effect: &'static str) {
    let row = Row::begin(format!("leader killed in {effect}, the standby goes on"));
    let mut staged = staged(test).await;
    hold_first(&staged.scene, &[effect]);
    let second = standby(&staged.scene).await;
    staged.begin().await;
    until_held(&staged.scene, effect).await;
    let written = staged.scene.writes().len();
    staged.scene.kill_operator();
    let killed = Instant::now();
    staged.scene.lab.release();
    staged.scene.until("the next effect", || staged.scene.writes().len() > written).await;
    let next = killed.elapsed();
    staged.until_complete().await;
    staged.assert_nothing_happened_twice();
    drop(second);
    // What is promised is two lease periods; a busy machine may take a moment more, and says so.
    row.passed(format!("next effect {:.1} lease periods after it", next.as_secs_f64() / LEASE.as_secs_f64()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_cut_off_from_the_api_server() {
    tokio::join!(cut_off_at_rest(), cut_off_at_work());
}

async fn cut_off_at_rest() {
    let row = Row::begin("leader at rest cut off from the API server: the standby begins, it does not");
    let Cut { scene, proxy, first, second } = to_be_cut_off("cut_off_at_rest").await;
    proxy.cut();
    scene.until("another holder", || holder(&scene) != first).await;
    scene.until("its word that it stands by", || scene.log_says("this replica does not lead any more")).await;
    let mut staged = Staged::in_scene(&Failover { to: 1 }, scene).await;
    staged.begin().await;
    staged.until_complete().await;
    staged.assert_nothing_happened_twice();
    drop(second);
    row.passed("the other one failed over");
}

async fn cut_off_at_work() {
    let row = Row::begin("leader at work cut off: it finishes, the standby finds the lock held");
    let Cut { scene, proxy, first, second } = to_be_cut_off("cut_off_at_work").await;
    let mut staged = Staged::in_scene(&Failover { to: 1 }, scene).await;
    hold_first(&staged.scene, &["RESTORE LOG"]);
    staged.begin().await;
    until_held(&staged.scene, "RESTORE LOG").await;
    proxy.cut();
    staged.scene.until("another holder", || holder(&staged.scene) != first).await;
    staged.scene.wait_for_text("Ready", "False", "LockHeld", "Another process holds the lock").await;
    staged.scene.lab.release();
    staged.until_complete().await;
    staged.assert_nothing_happened_twice();
    drop(second);
    row.passed("cut off in the first RESTORE LOG");
}

/// A leader whose way to the API server can be cut, and a standby with a way of its own.
struct Cut {
    scene: Scene,
    proxy: Proxy,
    /// Who leads.
    first: String,
    second: Process,
}

async fn to_be_cut_off(test: &str) -> Cut {
    let mut scene = Scene::set_on(Plane::Shared, test, world()).await;
    let plain = scene.kubeconfig.clone();
    let proxy = behind_a_proxy(&mut scene).await;
    (scene.env, scene.lease) = (SOON.to_vec(), Some("6s"));
    scene.begin().await;
    let first = holder(&scene);
    let own = std::mem::replace(&mut scene.kubeconfig, plain);
    let second = standby(&scene).await;
    scene.kubeconfig = own;
    Cut { scene, proxy, first, second }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_is_stopped_and_continued() {
    let row = Row::begin("leader stopped (SIGSTOP) past its lease within a RESTORE, then continued");
    let mut staged = staged("leader_stopped").await;
    let first = holder(&staged.scene);
    let second = standby(&staged.scene).await;
    hold_first(&staged.scene, &["RESTORE LOG"]);
    staged.begin().await;
    until_held(&staged.scene, "RESTORE LOG").await;
    staged.scene.operator.as_ref().unwrap().signal("STOP");
    staged.scene.until("another holder", || holder(&staged.scene) != first).await;
    staged.scene.lab.release();
    staged.scene.until("the end of what ran", || !runs(&staged.scene.lab, "RESTORE LOG")).await;
    staged.scene.wait_for_text("Ready", "False", "LockHeld", "Another process holds the lock").await;
    staged.scene.operator.as_ref().unwrap().signal("CONT");
    staged.until_complete().await;
    staged.assert_nothing_happened_twice();
    drop(second);
    row.passed("continued after the other one had found the lock held");
}
