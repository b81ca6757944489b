//! Everything works in either direction: chat lives in one data centre or in the other, and so does what people do to it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use jiff::{SignedDuration, Timestamp};
use lab::chat::{self, StoreServers};
use lab::scenario::{DataCenter, Scenario, Store};
use lab::sql::{self, Database, Instance, SQL_PASSWORD, SQL_USER, Shipment};
use lab::tsql::{Event, Progress, batch};
use lab::world::World;
use lab::world::files::MemoryFiles;
use lab::world::journal::Outcome;
use psrp::clixml::Value;
use psrp::message::Command;

/// A world, and which of its data centres is which.
struct Bench {
    w: World,
    live: DataCenter,
    standby: DataCenter,
}

/// A world for each direction.
fn both() -> [Bench; 2] {
    let all = Scenario::default().data_centers;
    [(0, 1), (1, 0)].map(|(live, standby)| Bench::new(&all[live], &all[standby]))
}

impl Bench {
    fn new(live: &DataCenter, standby: &DataCenter) -> Bench {
        let scenario = Scenario { active: live.name.clone(), ..Scenario::default() };
        let start = "2026-03-01T12:00:00Z".parse::<Timestamp>().unwrap();
        let mut w = World::new(scenario, Box::<MemoryFiles>::default(), start).unwrap();
        w.advance(start);
        Bench { w, live: live.clone(), standby: standby.clone() }
    }

    fn wait(&mut self, minutes: i64) {
        let later = self.w.now + SignedDuration::from_mins(minutes);
        self.w.advance(later);
    }

    fn instance(&self, host: &str) -> &Instance {
        &self.w.sql[host]
    }

    fn database(&self, host: &str) -> &Database {
        &self.instance(host).databases["mgc"]
    }

    /// Role and state of mirroring.
    fn mirroring(&self, host: &str) -> Option<(i32, i32)> {
        self.database(host).mirroring.as_ref().map(|m| (m.role, m.state))
    }

    fn serving(&self) -> bool {
        chat::state(&self.w)["serving"] == true
    }

    /// Whether a log backup that is taken within one run of each job is in the copy after another one.
    fn feeds(&mut self) -> bool {
        self.wait(15);
        let live = [&self.live.sql_server, &self.live.mirror].into_iter().find(|h| sql::is_up(&self.w, h));
        let end = self.database(live.unwrap()).log_backed_up;
        self.wait(15);
        self.database(&self.standby.sql_server).redo.as_ref().unwrap().0 >= end
    }

    /// Chat moves to the other data centre, as a runbook has it, and gets a mirror there.
    fn fail_over(&mut self) {
        let (from, to) = (self.live.clone(), self.standby.clone());
        sql::remove_secondary_half_by_hand(&mut self.w, &to.sql_server).unwrap();
        self.w.lose(&from.name).unwrap();
        chat::fail_over_central_management(&mut self.w, &to.name);
        sql::recover_by_hand(&mut self.w, &to.sql_server).unwrap();
        let store = self.w.scenario.store_of(&to.name).unwrap();
        chat::set_state_by_hand(&mut self.w, store);
        sql::mirror_establish(&mut self.w, &to.sql_server, &to.mirror, "mgc");
        chat::set_active_by_hand(&mut self.w, &to.servers).unwrap();
        self.wait(1);
        (self.live, self.standby) = (to, from);
    }

    /// Numbers of the errors of a batch.
    fn errors(&mut self, host: &str, text: &str) -> Vec<u32> {
        let id = sql::login(&mut self.w, host, SQL_USER, SQL_PASSWORD, "client", "test").unwrap();
        let mut out = Vec::new();
        batch::begin(&mut self.w, host, id, text, vec![]).unwrap();
        while let Progress::Until(at) = batch::step(&mut self.w, host, id, &mut out) {
            self.w.advance(at);
        }
        sql::logout(&mut self.w, host, id);
        out.iter().filter_map(|e| if let Event::Error(e) = e { Some(e.number) } else { None }).collect()
    }

    /// What the last job did on a server.
    fn last_job(&self, host: &str, name: &str) -> Outcome {
        let entries = self.w.journal.entries();
        entries.iter().rev().find(|e| e.server == host && e.name == name).unwrap().outcome.clone()
    }

    /// A property of the pool's service, as `Get-CsService` shows it.
    fn service(&mut self, property: &str) -> String {
        let parameters = vec![("PersistentChatServer".to_string(), Value::Bool(true))];
        let command = Command { name: "Get-CsService".into(), parameters };
        let host = self.live.management_shell.clone();
        let id = chat::cmdlets::start(&mut self.w, &host, "somebody", &command);
        self.wait(1);
        let objects = chat::cmdlets::poll(&self.w, id).unwrap().objects;
        objects[0].get(property).map(Value::shown).unwrap_or_default()
    }
}

#[test]
fn chat_lives_where_the_scenario_says_and_the_other_side_is_fed() {
    for mut b in both() {
        assert_eq!(b.w.chat.master.active, b.live.servers);
        assert!(b.serving());
        let state = if b.live.name == "atlanta" { "Normal" } else { "FailedOver" };
        assert_eq!(b.w.chat.master.pool_state, state);
        assert_eq!(b.mirroring(&b.live.sql_server), Some((1, 4)));
        assert_eq!(b.w.files.list(&b.standby.backup_share).unwrap().len(), 12);
        assert_eq!(b.w.files.list(&b.standby.copy_folder).unwrap().len(), 8);
        assert_eq!(b.w.files.list(&b.live.backup_share).unwrap().len(), 0);
        assert!(b.feeds());
    }
}

#[test]
fn a_scenario_names_one_of_its_data_centres_as_the_active_one() {
    let scenario = Scenario { active: "elsewhere".into(), ..Scenario::default() };
    let world = World::new(scenario, Box::<MemoryFiles>::default(), Timestamp::UNIX_EPOCH);
    assert!(world.is_err_and(|e| e.contains("elsewhere")));
}

#[test]
fn what_stands_in_a_lost_data_centre_is_lost_with_it() {
    for mut b in both() {
        let (share, copies) = (b.standby.backup_share.clone(), b.standby.copy_folder.clone());
        let before = b.w.files.list(&share).unwrap();
        b.w.lose(&b.standby.name).unwrap();
        for folder in [&share, &copies] {
            assert_eq!(b.w.files.list(folder).unwrap_err().code, 53);
            assert_eq!(b.w.files.write(&format!(r"{folder}\x.trn"), b"x").unwrap_err().code, 53);
        }
        assert!(b.w.files.list(&b.live.backup_share).is_ok());
        // The live database's log is not backed up: its share is gone.
        let end = b.database(&b.live.sql_server).log_backed_up;
        b.wait(15);
        assert!(matches!(b.last_job(&b.live.sql_server, "LSBackup"), Outcome::Failed(_)));
        assert_eq!(b.database(&b.live.sql_server).log_backed_up, end);
        assert!(b.serving());
        b.w.restore(&b.standby.name).unwrap();
        assert_eq!(b.w.files.list(&share).unwrap(), before);
        assert!(b.feeds(), "nothing was skipped");
    }
}

#[test]
fn a_mirror_takes_over_on_either_side_and_hands_back() {
    for mut b in both() {
        for failed_over in [false, true] {
            if failed_over {
                b.fail_over();
            }
            assert!(b.serving());
            let (store, mirror) = (b.live.sql_server.clone(), b.live.mirror.clone());
            for (principal, next) in [(&store, &mirror), (&mirror, &store)] {
                sql::promote_mirror(&mut b.w, &b.live.name).unwrap();
                assert!(b.instance(principal).down);
                assert_eq!(b.mirroring(next), Some((1, 1)));
                b.wait(1);
                assert!(b.serving());
                assert!(sql::promote_mirror(&mut b.w, &b.live.name).is_err(), "its mirror is down");
                sql::start_sql(&mut b.w, principal).unwrap();
                assert_eq!([next, principal].map(|h| b.mirroring(h)), [Some((1, 4)), Some((2, 4))]);
            }
            assert!(sql::promote_mirror(&mut b.w, &b.standby.name).is_err(), "nothing is mirrored there");
        }
    }
}

#[test]
fn log_shipping_goes_on_from_the_mirror_if_the_mirror_has_the_primary_half() {
    for mut b in both() {
        let to = &b.standby;
        let shipment = Shipment {
            from: &b.live.mirror,
            to: &to.sql_server,
            share: &to.backup_share,
            folder: &to.copy_folder,
        };
        sql::set_up_log_shipping_by_hand(&mut b.w, &shipment).unwrap();
        b.wait(15);
        assert_eq!(
            b.last_job(&b.live.mirror, "LSBackup"),
            Outcome::Ok,
            "a mirror's job does nothing, and succeeds"
        );
        sql::promote_mirror(&mut b.w, &b.live.name).unwrap();
        assert!(b.feeds());
    }
}

#[test]
fn a_restore_is_refused_while_a_database_is_mirrored() {
    for mut b in both() {
        for host in [b.live.mirror.clone(), b.live.sql_server.clone()] {
            assert_eq!(b.errors(&host, "RESTORE DATABASE mgc WITH RECOVERY;"), vec![3104, 3013]);
        }
        let copy = b.standby.sql_server.clone();
        assert_eq!(b.errors(&copy, "RESTORE DATABASE mgc WITH RECOVERY;"), Vec::<u32>::new());
    }
}

#[test]
fn a_restore_job_applies_what_a_restore_would() {
    for mut b in both() {
        let (copy, folder) = (b.standby.sql_server.clone(), b.standby.copy_folder.clone());
        let path = format!(r"{folder}\{}", b.w.files.list(&folder).unwrap()[6].0);
        let whole = b.w.files.read(&path).unwrap();
        let mut spoilt = whole.clone();
        spoilt[whole.len() - 100] ^= 1;
        b.w.files.write(&path, &spoilt).unwrap();
        let redo = b.database(&copy).redo.clone();
        let fails = |b: &mut Bench, number: &str| {
            b.wait(15);
            let outcome = b.last_job(&copy, "LSRestore");
            assert!(matches!(&outcome, Outcome::Failed(e) if e.starts_with(number)), "{outcome:?}");
            assert_eq!(b.database(&copy).redo, redo);
        };
        fails(&mut b, "3183");
        b.w.files.write(&path, &whole).unwrap();
        b.w.sql.get_mut(&copy).unwrap().disk_full = true;
        fails(&mut b, "3257");
        b.w.sql.get_mut(&copy).unwrap().disk_full = false;
        let id = sql::login(&mut b.w, &copy, SQL_USER, SQL_PASSWORD, "client", "reader").unwrap();
        b.w.sql.get_mut(&copy).unwrap().sessions.get_mut(&id).unwrap().database = "mgc".into();
        fails(&mut b, "3101");
        // A job that may throw readers out does so.
        b.w.sql.get_mut(&copy).unwrap().log_shipping[0].databases[0].disconnect_users = true;
        assert!(b.feeds());
        assert!(!b.instance(&copy).sessions.contains_key(&id));
    }
}

#[test]
fn each_half_of_log_shipping_is_removed_by_itself() {
    for mut b in both() {
        let (from, to) = (b.live.sql_server.clone(), b.standby.sql_server.clone());
        sql::remove_secondary_half_by_hand(&mut b.w, &from).unwrap();
        sql::remove_primary_half_by_hand(&mut b.w, &to).unwrap();
        assert_eq!([&from, &to].map(|h| b.instance(h).jobs.len()), [1, 2], "it was the other's half");
        sql::remove_primary_half_by_hand(&mut b.w, &from).unwrap();
        sql::remove_secondary_half_by_hand(&mut b.w, &to).unwrap();
        for host in [&from, &to] {
            let i = b.instance(host);
            assert!(i.jobs.is_empty() && i.log_shipping.is_empty() && i.log_shipping_primary.is_empty());
        }
        for host in [&from, &to] {
            sql::foreign_job(&mut b.w, host, "LSBackup_mgc").unwrap();
            assert!(sql::foreign_job(&mut b.w, host, "lsbackup_MGC").is_err(), "a name is there once");
            sql::delete_job_by_hand(&mut b.w, host, "LSBackup_mgc").unwrap();
        }
    }
}

#[test]
fn a_foreign_database_in_the_place_of_a_mirror_ends_mirroring() {
    for mut b in both() {
        let (principal, mirror) = (b.live.sql_server.clone(), b.live.mirror.clone());
        sql::foreign_database_by_hand(&mut b.w, &mirror).unwrap();
        assert_eq!([&principal, &mirror].map(|h| b.mirroring(h)), [None, None]);
        assert_ne!(b.database(&principal).family, b.database(&mirror).family);
        assert!(sql::promote_mirror(&mut b.w, &b.live.name).is_err());
        let refused = sql::mirror_check(&b.w, &principal, &mirror, "mgc", false);
        assert!(refused.is_err_and(|e| e.contains("already exists")));
        // On a mirror-to-be that has none yet it stands as well.
        sql::foreign_database_by_hand(&mut b.w, &b.standby.mirror).unwrap();
        assert!(b.instance(&b.standby.mirror).databases.contains_key("mgc"));
    }
}

#[test]
fn a_broken_log_chain_is_begun_anew_by_a_full_backup() {
    for mut b in both() {
        let (principal, mirror) = (b.live.sql_server.clone(), b.live.mirror.clone());
        assert!(sql::break_log_chain_by_hand(&mut b.w, &principal).is_err(), "it is mirrored");
        sql::foreign_database_by_hand(&mut b.w, &mirror).unwrap();
        sql::break_log_chain_by_hand(&mut b.w, &principal).unwrap();
        b.wait(15);
        assert!(matches!(b.last_job(&principal, "LSBackup"), Outcome::Failed(_)));
        sql::mirror_establish(&mut b.w, &principal, &mirror, "mgc");
        b.wait(15);
        assert_eq!(b.last_job(&principal, "LSBackup"), Outcome::Ok);
    }
}

#[test]
fn the_topology_names_what_somebody_has_published() {
    for mut b in both() {
        let store = b.w.scenario.store_of(&b.standby.name).unwrap();
        let [database, mirror] = match store {
            Store::Primary => ["PersistentChatDatabase", "MirrorPersistentChatDatabase"],
            Store::Backup => ["BackupPersistentChatDatabase", "BackupMirrorPersistentChatDatabase"],
        };
        let shown = format!("PersistentChatDatabase:{}", b.standby.sql_server);
        assert_eq!(b.service(database), shown);
        let other = StoreServers {
            sql_server: "sql-9.litwareinc.com".into(),
            mirror: None,
            instance: "OTHER".into(),
        };
        chat::publish_store(&mut b.w, store, other);
        assert_eq!(b.service(database), "PersistentChatDatabase:sql-9.litwareinc.com");
        assert_eq!(b.service(mirror), "");
        let server = b.live.servers[0].clone();
        chat::unpublish_server(&mut b.w, &server).unwrap();
        assert!(b.service("ActiveServers").ends_with(&b.live.servers[1]));
        assert!(chat::set_active_by_hand(&mut b.w, &[server]).is_err());
        assert!(b.serving());
    }
}
