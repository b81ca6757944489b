//! What is tried again and again, and when that ends.

use super::*;
use crate::domain::backups::{Folders, Lsn, RedoPoint};
use crate::domain::log_shipping::{Columns, PrimaryHalf, SecondaryHalf};
use crate::domain::pool::{Folder, Shipping};
use crate::domain::transition::LogSeen;
use crate::steps::establish_log_shipping;

const SHARE: &str = r"\\files\backups";
const COPIES: &str = r"D:\copies";

fn columns(of: &[(&str, &str)]) -> Columns {
    of.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

/// A world in which log shipping stands, and no log backup has been taken since.
fn shipped(active: Side, log: LogSeen) -> World {
    let (mut w, other) = (World::with(active), active.other());
    let folder = |path: &str| Folder { path: path.into(), volume: "v".into(), field: "f".into() };
    w.pool.sites[other].log_shipping =
        Some(Shipping { backup_share: folder(SHARE), copy_folder: folder(COPIES) });
    w.situation.folders[other] = Some(Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: Reading::Known(0),
        headers: BTreeMap::new(),
        ignored: vec![],
        unread: 0,
        unlisted: BTreeMap::new(),
    });
    let standby = w.instance(other);
    standby.database.as_mut().unwrap().redo = log.redo.map(|lsn| RedoPoint { lsn, fork: "F".into() });
    standby.jobs = Reading::Known(vec![job("copy"), job("restore")]);
    let half = [
        ("backup_source_directory", SHARE),
        ("backup_destination_directory", COPIES),
        ("copy_job_id", "copy"),
        ("restore_job_id", "restore"),
    ];
    let half = SecondaryHalf { columns: columns(&half), schedules: BTreeMap::new() };
    standby.secondary_half = Reading::Known(Some(half));
    let secondaries = vec![standby.server_name.clone()];
    let live = w.instance(active);
    live.database.as_mut().unwrap().last_log_backup = log.next_backup;
    live.jobs = Reading::Known(vec![job("backup")]);
    let half = columns(&[("backup_directory", SHARE), ("backup_share", SHARE), ("backup_job_id", "backup")]);
    live.primary_half = Reading::Known(Some(PrimaryHalf { columns: half, secondaries }));
    w
}

#[test]
fn a_job_that_is_started_in_vain_is_not_waited_for_for_ever() {
    let log = LogSeen { next_backup: Some(Lsn(7)), redo: Some(Lsn(7)) };
    for active in Side::BOTH {
        let next = |times: usize| {
            let mut w = shipped(active, log);
            let mut t = transition(Route::protect(active.other()));
            t.revision = 1;
            let step = StepId::LogShippingEstablished;
            t.steps.insert(step, StepHistory { attempts: 1, ..StepHistory::default() });
            (0..times).for_each(|_| t.started_job("backup".into(), at(20), log));
            w.record(&t);
            let plan = plan(&w.pool, &w.goal, &w.situation, None, None, &BTreeMap::new());
            let told = plan.steps.iter().find(|(id, _)| *id == step).map(|(_, word)| word.clone());
            (plan.next, told)
        };
        let again = establish_log_shipping::Effect::StartJob(active, "backup".into(), log);
        let again = Next::Act(vec![Effect::LogShippingEstablished(again)]);
        for times in 0..3 {
            assert_eq!(next(times).0, again, "{times}");
        }
        let (last, told) = next(3);
        assert_eq!(last, Next::Finish);
        let Some(Decision::Done(evidence)) = told else { panic!("{told:?}") };
        let vain = "is not protected: the first log backup does not arrive";
        assert!(evidence.message.contains(vain), "{evidence:?}");
    }
}
