//! The rows of log shipping in msdb, both halves, and what people do to them past any operator.

use jiff::Timestamp;

use crate::scenario::Scenario;
use crate::world::World;

use super::Instance;
use super::agent::{Category, interval};

/// The file that a job was last done with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFile {
    /// Its path.
    pub path: String,
    /// When.
    pub at: Timestamp,
}

/// A row of `log_shipping_primary_databases`, with its row of `log_shipping_monitor_primary`.
#[derive(Clone, Debug)]
pub struct Primary {
    /// `primary_id`.
    pub id: String,
    /// The database.
    pub database: String,
    /// Where the backup job writes.
    pub directory: String,
    /// The same folder, as the secondaries reach it.
    pub share: String,
    /// Minutes that a backup is kept.
    pub retention: i64,
    /// The backup job.
    pub job: String,
    /// `backup_compression`: 2 is the server's default.
    pub compression: i64,
    /// Minutes without a backup until the monitor complains.
    pub threshold: i64,
    /// `threshold_alert`.
    pub threshold_alert: i64,
    /// Whether it complains.
    pub threshold_alert_enabled: bool,
    /// Minutes that history is kept.
    pub history_retention: i64,
    /// Rows of `log_shipping_primary_secondaries`: server and database.
    pub secondaries: Vec<(String, String)>,
    /// Last backup.
    pub last_backup: Option<LastFile>,
}

/// A row of `log_shipping_secondary`: where the logs of one primary database come from and go to.
#[derive(Clone, Debug)]
pub struct Secondary {
    /// `secondary_id`.
    pub id: String,
    /// `@@SERVERNAME` of the primary at set-up.
    pub primary_server: String,
    /// Its database.
    pub primary_database: String,
    /// The share.
    pub source: String,
    /// The copy folder.
    pub destination: String,
    /// Minutes that a copy is kept.
    pub retention: i64,
    /// The copy job.
    pub copy_job: String,
    /// The restore job.
    pub restore_job: String,
    /// Last file copied.
    pub last_copied: Option<LastFile>,
    /// The databases that it is restored into.
    pub databases: Vec<SecondaryDatabase>,
}

/// A row of `log_shipping_secondary_databases`, with its row of `log_shipping_monitor_secondary`.
#[derive(Clone, Debug)]
pub struct SecondaryDatabase {
    /// The database.
    pub database: String,
    /// Minutes that a backup waits before it is restored.
    pub restore_delay: i64,
    /// Whether one run restores everything that is there, or one backup.
    pub restore_all: bool,
    /// Whether it leaves the database in STANDBY.
    pub standby: bool,
    /// Whether readers are thrown out for a restore.
    pub disconnect_users: bool,
    /// `block_size`, `buffer_count`, `max_transfer_size`; -1: not set.
    pub tuning: [i64; 3],
    /// Minutes without a restore until the monitor complains.
    pub threshold: i64,
    /// `threshold_alert`.
    pub threshold_alert: i64,
    /// Whether it complains.
    pub threshold_alert_enabled: bool,
    /// Minutes that history is kept.
    pub history_retention: i64,
    /// Last file restored.
    pub last_restored: Option<LastFile>,
}

impl Instance {
    /// The primary half of a database.
    pub(crate) fn primary_mut(&mut self, database: &str) -> Option<&mut Primary> {
        self.log_shipping_primary.iter_mut().find(|p| p.database.eq_ignore_ascii_case(database))
    }

    /// The secondary half for a primary database.
    pub(crate) fn secondary_mut(&mut self, server: &str, database: &str) -> Option<&mut Secondary> {
        self.log_shipping.iter_mut().find(|s| {
            s.primary_server.eq_ignore_ascii_case(server) && s.primary_database.eq_ignore_ascii_case(database)
        })
    }

    /// Removes a database from the secondary half; with the last one of its primary the row and both jobs go as well. Whether
    /// there was any.
    pub(crate) fn delete_secondary_database(&mut self, database: &str) -> bool {
        let ours = |d: &SecondaryDatabase| d.database.eq_ignore_ascii_case(database);
        if !self.log_shipping.iter().any(|s| s.databases.iter().any(ours)) {
            return false;
        }
        self.log_shipping.iter_mut().for_each(|s| s.databases.retain(|d| !ours(d)));
        let (gone, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.log_shipping).into_iter().partition(|s| s.databases.is_empty());
        self.log_shipping = kept;
        for job in gone.iter().flat_map(|s| [&s.copy_job, &s.restore_job]) {
            self.delete_job(job);
        }
        true
    }
}

/// Log shipping of the scenario's database: from which server to which, through which folders.
pub struct Shipment<'a> {
    /// Host of the server whose log is backed up.
    pub from: &'a str,
    /// Host of the server that restores it.
    pub to: &'a str,
    /// The share that backups are written to.
    pub share: &'a str,
    /// The folder that they are copied to.
    pub folder: &'a str,
}

impl<'a> Shipment<'a> {
    /// Log shipping to a data centre's store from the other one's, through the folders of the scenario.
    pub fn toward(scenario: &'a Scenario, data_center: &str) -> Option<Self> {
        let to = scenario.data_center(data_center)?;
        Some(Shipment {
            from: &scenario.opposite(data_center)?.sql_server,
            to: &to.sql_server,
            share: &to.backup_share,
            folder: &to.copy_folder,
        })
    }
}

/// Sets log shipping up past any operator, both halves, their jobs enabled and on schedules, as the wizard does. What stood on
/// either server goes. It restores nothing: the copy must stand.
pub fn set_up_log_shipping_by_hand(world: &mut World, shipment: &Shipment<'_>) -> Result<(), String> {
    for host in [shipment.from, shipment.to] {
        if !world.sql.contains_key(host) {
            return Err(format!("no SQL Server {host}"));
        }
    }
    world.touch();
    remove_log_shipping_by_hand(world, shipment.from)?;
    remove_log_shipping_by_hand(world, shipment.to)?;
    let seed = world.scenario.seed;
    let ids = |i: &mut Instance, what: [&str; 3]| what.map(|w| i.new_id(seed, w));
    if let Some([job, id, _]) = world.sql.get_mut(shipment.from).map(|i| ids(i, ["job", "primary", ""])) {
        set_up_primary(world, shipment.from, shipment, [job, id]);
    }
    if let Some(three) = world.sql.get_mut(shipment.to).map(|i| ids(i, ["job", "job", "secondary"])) {
        set_up_secondary(world, shipment, "", three);
    }
    Ok(())
}

/// The primary half on a server: on the one that ships, or on its mirror. Ids of its job and of itself.
pub(super) fn set_up_primary(world: &mut World, host: &str, shipment: &Shipment<'_>, ids: [String; 2]) {
    let database = world.scenario.database.clone();
    let next = world.now + interval(world);
    let to = world.sql.get(shipment.to).map(|i| (i.server_name.clone(), database.clone()));
    let Some(i) = world.sql.get_mut(host) else { return };
    let [job, id] = ids;
    let job = i.make_job(job, &format!("LSBackup_{database}"), Category::Backup);
    i.put_on_schedule(&job, next);
    i.log_shipping_primary.push(Primary {
        id,
        database,
        directory: shipment.share.into(),
        share: shipment.share.into(),
        retention: 4320,
        job,
        compression: 2,
        threshold: 60,
        threshold_alert: 14420,
        threshold_alert_enabled: true,
        history_retention: 5760,
        secondaries: to.into_iter().collect(),
        last_backup: None,
    });
}

/// The secondary half. What the names of its jobs end with; ids of its copy job, its restore job and itself.
pub(super) fn set_up_secondary(world: &mut World, shipment: &Shipment<'_>, suffix: &str, ids: [String; 3]) {
    let database = world.scenario.database.clone();
    let next = world.now + interval(world);
    let primary_server = world.sql.get(shipment.from).map(|i| i.server_name.clone()).unwrap_or_default();
    let Some(i) = world.sql.get_mut(shipment.to) else { return };
    let [copy, restore, id] = ids;
    let name = |kind: &str| format!("{kind}_{primary_server}_{database}{suffix}");
    let copy_job = i.make_job(copy, &name("LSCopy"), Category::Copy);
    let restore_job = i.make_job(restore, &name("LSRestore"), Category::Restore);
    i.put_on_schedule(&copy_job, next);
    i.put_on_schedule(&restore_job, next);
    let standby = i.databases.get(&database.to_lowercase()).is_some_and(|d| d.standby);
    i.log_shipping.push(Secondary {
        id,
        primary_server,
        primary_database: database.clone(),
        source: shipment.share.into(),
        destination: shipment.folder.into(),
        retention: 4320,
        copy_job,
        restore_job,
        last_copied: None,
        databases: vec![SecondaryDatabase {
            database,
            restore_delay: 0,
            restore_all: true,
            standby,
            disconnect_users: false,
            tuning: [-1; 3],
            threshold: 45,
            threshold_alert: 14420,
            threshold_alert_enabled: true,
            history_retention: 5760,
            last_restored: None,
        }],
    });
}

/// Removes log shipping from a server past any operator: both halves, with their jobs.
pub fn remove_log_shipping_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    remove_primary_half_by_hand(world, host)?;
    remove_secondary_half_by_hand(world, host)
}

/// Removes the primary half of a server past any operator, with its job.
pub fn remove_primary_half_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    for half in std::mem::take(&mut i.log_shipping_primary) {
        i.delete_job(&half.job);
    }
    Ok(())
}

/// Removes the secondary half of a server past any operator, with its jobs.
pub fn remove_secondary_half_by_hand(world: &mut World, host: &str) -> Result<(), String> {
    world.touch();
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    for half in std::mem::take(&mut i.log_shipping) {
        i.delete_job(&half.copy_job);
        i.delete_job(&half.restore_job);
    }
    Ok(())
}

/// Somebody makes a job of his own, which is none of log shipping's and does nothing here.
pub fn foreign_job(world: &mut World, host: &str, name: &str) -> Result<(), String> {
    world.touch();
    let seed = world.scenario.seed;
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    if i.jobs.iter().any(|j| j.name.eq_ignore_ascii_case(name)) {
        return Err(format!("{host} has a job {name} already"));
    }
    let id = i.new_id(seed, "job");
    i.make_job(id, name, Category::Uncategorized);
    Ok(())
}

/// Somebody deletes a job.
pub fn delete_job_by_hand(world: &mut World, host: &str, name: &str) -> Result<(), String> {
    world.touch();
    let i = world.sql.get_mut(host).ok_or_else(|| format!("no SQL Server {host}"))?;
    let job = i.jobs.iter().find(|j| j.name.eq_ignore_ascii_case(name)).map(|j| j.id.clone());
    i.delete_job(&job.ok_or_else(|| format!("{host} has no job {name}"))?);
    Ok(())
}
