//! A failover that is taken back before its point of no return: it is closed, what protected the other side comes back as it was, and
//! the next failover works. The whole program on a real API server.
//!
//! The same by day and by night.

use crate::common::matrix::{hold_first, until_held};
use crate::common::scene::{
    FAILOVER_ONCE, Scene, backups, begun, not_live_in, not_once, query, quick, server,
};
use lab::serve::Lab;
use lab::sql::Schedule;

/// What an administrator has set of log shipping to a server: everything that is his choice, without ids and last files.
#[derive(Debug, PartialEq)]
struct Chosen {
    server: String,
    folders: [String; 2],
    retention: i64,
    database: String,
    restore: [i64; 5],
    options: [bool; 4],
    /// Of the copy job and of the restore job: whether it is enabled, and its schedules.
    jobs: Vec<(bool, Vec<Vec<i64>>)>,
}

fn chosen(lab: &Lab, host: &str) -> Option<Chosen> {
    let world = lab.world().now();
    let i = &world.sql[host];
    let half = i.log_shipping.first()?;
    let database = half.databases.first()?;
    let jobs = [&half.copy_job, &half.restore_job].map(|id| {
        let job = i.jobs.iter().find(|j| j.id == *id).unwrap();
        let schedules = i.schedules.iter().filter(|s| job.schedules.contains(&s.id));
        (job.enabled, schedules.map(|s| s.settings.to_vec()).collect())
    });
    Some(Chosen {
        server: half.primary_server.clone(),
        folders: [half.source.clone(), half.destination.clone()],
        retention: half.retention,
        database: database.database.clone(),
        restore: [
            database.restore_delay,
            database.threshold,
            database.history_retention,
            database.tuning[0],
            database.tuning[1],
        ],
        options: [
            database.restore_all,
            database.standby,
            database.disconnect_users,
            database.threshold_alert_enabled,
        ],
        jobs: jobs.to_vec(),
    })
}

/// An administrator's own choices, none of them what is usual.
fn choose(lab: &Lab, host: &str) {
    let minutes = Schedule::COLUMNS.iter().position(|c| *c == "freq_subday_interval").unwrap();
    let mut world = lab.world().now();
    let i = world.sql.get_mut(host).unwrap();
    i.schedules.iter_mut().for_each(|s| s.settings[minutes] = 7);
    let half = &mut i.log_shipping[0];
    half.retention = 1234;
    half.databases[0].threshold = 77;
    half.databases[0].history_retention = 4321;
    half.databases[0].disconnect_users = true;
}

/// A failover that is taken back when it has begun to move something, until it is aborted.
async fn take_back(scene: &mut Scene) {
    hold_first(scene, &["RESTORE LOG"]);
    scene.lose().await;
    scene.want(1);
    until_held(scene, "RESTORE LOG").await;
    assert!(chosen(&scene.lab, &scene.data_center(1).sql_server).is_none(), "log shipping still stands");
    scene.want(0);
    scene.let_go();
    scene.until("its end as aborted", || scene.times("Failover", "Aborted") == 1).await;
}

/// The side that was lost is back, and what protects the other one stands again.
async fn bring_back(scene: &mut Scene, lost: &str) {
    scene.lab.restore(lost).await.unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_ready_in(0).await;
    scene.wait_until_at_rest().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_taken_back_is_aborted_its_log_shipping_stands_again_as_it_was_and_the_next_one_works() {
    let mut scene = Scene::ready("undone", quick()).await;
    let (from, to) = (scene.data_center(0).clone(), scene.data_center(1).clone());
    choose(&scene.lab, &to.sql_server);
    let was = chosen(&scene.lab, &to.sql_server).unwrap();
    let before = backups(&scene.lab);

    take_back(&mut scene).await;
    let transition = scene.object()["status"]["transition"].take();
    assert_eq!(transition["outcome"], "Aborted", "{transition}");
    assert_eq!(transition["pointOfNoReturn"], false, "{transition}");
    scene.until("an event", || scene.events().iter().any(|(r, ..)| r == "Aborted")).await;
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    // While the active side is lost nothing can protect anything, and nobody is told that something does.
    scene.wait_for("FailoverReady", "False", "NotProtected").await;
    assert!(chosen(&scene.lab, &to.sql_server).is_none());

    bring_back(&mut scene, &from.name).await;
    assert_eq!(scene.times("Protect", "Completed"), 1, "{:?}", scene.history());
    assert_eq!(chosen(&scene.lab, &to.sql_server).unwrap(), was);
    let half = server(&scene.lab, &to.sql_server)["logShipping"][0].take();
    let newest = backups(&scene.lab).pop().unwrap();
    assert!(!before.contains(&newest), "no backup was taken");
    for last in ["lastCopied", "lastRestored"] {
        assert!(half[last].as_str().unwrap().ends_with(&newest), "{last} is not {newest}: {half}");
    }
    let copy = server(&scene.lab, &to.sql_server)["databases"][0].take();
    assert_eq!(copy["state"], "RESTORING");

    // The same pool fails over once more, with everything up to that backup.
    let since = scene.lab.journal().len();
    scene.lose().await;
    scene.want(1);
    scene.wait_until_ready_in(1).await;
    assert_eq!(not_live_in(&scene.lab, 1), Vec::<String>::new());
    assert_eq!(not_once(&scene.lab, since, FAILOVER_ONCE), Vec::<String>::new());
    let (aborted, completed) = (scene.times("Failover", "Aborted"), scene.times("Failover", "Completed"));
    assert_eq!((aborted, completed), (1, 1), "{:?}", scene.history());
    assert_eq!(scene.last_failover()["loss"]["lastBackup"], newest.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_taken_back_because_the_lost_side_is_back_is_no_split_brain() {
    let mut scene = Scene::ready("undone_alive", quick()).await;
    let from = scene.data_center(0).name.clone();
    hold_first(&scene, &["RESTORE LOG"]);
    scene.lose().await;
    scene.want(1);
    until_held(&scene, "RESTORE LOG").await;
    scene.lab.restore(&from).await.unwrap();
    scene.let_go();
    // It lives: nothing is recovered beside it, and only a human can say what is meant.
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
    scene.want(0);
    scene.until("its protection", || scene.times("Protect", "Completed") == 1).await;
    scene.wait_for("FailoverReady", "True", "Completed").await;
    scene.wait_until_ready_in(0).await;
    scene.wait_until_at_rest().await;
    assert_eq!(not_live_in(&scene.lab, 0), Vec::<String>::new());
    assert_eq!((scene.times("Failover", "Aborted"), scene.times("Protect", "Completed")), (1, 1));
    assert!(!begun(&scene.lab, 0, "RESTORE DATABASE WITH RECOVERY"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_saved_log_shipping_that_lacks_something_is_told_and_the_resource_counts() {
    let mut scene = Scene::ready("undone_lacking", quick()).await;
    let (from, to) = (scene.data_center(0).clone(), scene.data_center(1).clone());
    choose(&scene.lab, &to.sql_server);
    let was = chosen(&scene.lab, &to.sql_server).unwrap();
    take_back(&mut scene).await;
    let lacking = "UPDATE msdb.dbo.persistent_chat_failover SET document = REPLACE(document, N'\"restore_mode\"', N'\"lost\"')";
    for host in [&to.sql_server, &to.mirror] {
        query(&scene.lab, host, lacking);
    }

    bring_back(&mut scene, &from.name).await;
    // What the resource says, with what is usual: not what an administrator had chosen, and that is told.
    let is = chosen(&scene.lab, &to.sql_server).unwrap();
    assert_eq!((&is.server, &is.folders), (&was.server, &was.folders));
    assert_ne!((is.retention, is.restore), (was.retention, was.restore));
    let told = scene.condition("LogShippingEstablished").unwrap()["message"].to_string();
    for part in ["it lacks restore_mode", ".sql"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
