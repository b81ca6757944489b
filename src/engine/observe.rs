//! Observe: look at the world and put down what is seen. Every look is bounded in time; what cannot be seen is unknown.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Clock, World};
use crate::domain::backups::{BackupFile, BackupSet, FileHeaders, Folders, Lsn, leave_unfinished_twins};
use crate::domain::chain;
use crate::domain::fencing;
use crate::domain::lync::Chat;
use crate::domain::pool::{DataCenter, ManagementShell, Pool, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::site::{Answer, Partner, Source};
use crate::domain::situation::Situation;
use crate::domain::sql_server::Instance;
use crate::domain::transition::Transition;
use crate::steps::Reads;
use crate::systems::management_shell::{Cmdlet, ShellObject, cmdlets, read as shell};
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Folder, Listing, Systems};

/// Longest wait for a cmdlet that only reads.
const CMDLET: Duration = Duration::from_secs(60);
/// Ports of the side that is left that are tried: SIP of a Front End, and Persistent Chat's own (documented defaults).
const FRONT_END_PORT: u16 = 5061;
const CHAT_PORT: u16 = 5041;
/// How many applied backups in a row, going back from the newest name that log shipping gave, end the reading of headers.
const OVERLAP: usize = 3;
/// How long a chat server's report may stay as it is until the server counts as silent. How often Persistent Chat writes it is not
/// documented; this is generous.
const PING: SignedDuration = SignedDuration::from_mins(10);

/// What a process remembers between two looks. Losing it costs time only.
#[derive(Default)]
pub struct Observer {
    silent_since: Option<Timestamp>,
    silent_looks: u32,
    newest_at_silence: Option<Lsn>,
    newer_backup: Option<String>,
    last_seen: Option<Timestamp>,
    headers: Cache,
    pings: BTreeMap<String, Pings>,
    source: Option<(Timestamp, Source)>,
    chat: Option<Chat>,
    mirror: Option<Reading<Instance>>,
}

/// The reports of chat servers in one database, as they were seen to change.
#[derive(Default)]
struct Pings {
    /// By server: its last report, and when it changed before our eyes (or, if it has not, when we began to watch it).
    seen: BTreeMap<String, (Timestamp, Timestamp, bool)>,
    /// Whether the table has been read before: a server that appears later has just reported.
    read: bool,
}

fn not_looked() -> Problem {
    Problem::retry(Reason::NotStarted, "not looked at yet", "")
}

impl Observer {
    /// One look at everything that `reads` asks for; the target always.
    pub async fn look<S: Systems, C: Clock>(
        &mut self,
        world: &World<'_, S, C>,
        reads: Reads,
        t: Option<&Transition>,
    ) -> Situation {
        let World { systems, pool, clock, .. } = *world;
        // While Lync is looked at, the other side is looked at anew: what both say must fit together.
        let fresh_source = reads.chat;
        let old_source = self
            .source
            .clone()
            .filter(|(at, _)| !fresh_source && clock.now().duration_since(*at).as_secs() < 10);
        let (source, (target, files), mirror, chat) = futures::join!(
            async {
                match old_source {
                    Some((_, source)) if reads.source => Some(source),
                    _ if reads.source => Some(look_at_source(systems, pool).await),
                    _ => None,
                }
            },
            look_at_target(systems, pool, reads.files, &self.headers),
            async {
                match &pool.backup.mirror {
                    Some(mirror) if reads.mirror => Some(
                        look_at_instance(systems, pool, mirror, false)
                            .await
                            .map_err(|e| errors::problem(&e, mirror, "looking"))
                            .into(),
                    ),
                    Some(_) | None => None,
                }
            },
            async { if reads.chat { Some(look_at_chat(systems, pool, t).await) } else { None } },
        );
        let at = clock.now();
        let files = files.unwrap_or_else(|| Folders {
            share: Reading::Known(vec![]),
            copy: Reading::Known(vec![]),
            copy_free: Reading::Unknown(not_looked()),
            headers: BTreeMap::new(),
            ignored: vec![],
        });
        let target = target.map(|i| self.watch_pings(i, at));
        if let Some(mut source) = source {
            for partner in &mut source.partners {
                if let Answer::Speaks(i) = &mut partner.answer {
                    **i = self.watch_pings((**i).clone(), at);
                }
            }
            self.judge_silence(&mut source, &files, &pool.database, at, reads.files);
            if let Some((seen_at, _)) = &self.source {
                if !fresh_source && at.duration_since(*seen_at).as_secs() < 10 {
                    // Reused: its age counts from when it was really seen.
                    self.source = Some((*seen_at, source));
                } else {
                    self.source = Some((at, source));
                }
            } else {
                self.source = Some((at, source));
            }
        }
        let source = self.source.clone().map(|(_, s)| s).unwrap_or_else(|| Source {
            partners: vec![],
            from_shell: vec![],
            ports: vec![("the primary".into(), Reading::Unknown(not_looked()))],
            silent_since: None,
            silent_looks: 0,
            newer_backup: None,
            last_seen: None,
        });
        for (key, sets) in files.headers.iter().filter_map(|(name, h)| {
            let folder = if h.from_copy { &files.copy } else { &files.share };
            let file = folder.known()?.iter().find(|f| f.name == *name)?;
            Some(((h.from_copy, file.clone()), h.sets.known()?.clone()))
        }) {
            self.headers.insert(key, sets);
        }
        if let Some(chat) = chat {
            self.chat = Some(chat);
        }
        if mirror.is_some() {
            self.mirror = mirror;
        }
        let unknown = || Reading::Unknown(not_looked());
        Situation {
            at,
            source,
            target: target
                .map_err(|e| errors::problem(&e, &pool.backup.sql_server, "looking at the backup store"))
                .into(),
            target_mirror: pool
                .backup
                .mirror
                .as_ref()
                .map(|_| self.mirror.clone().unwrap_or_else(|| Reading::Unknown(not_looked()))),
            files,
            chat: self.chat.clone().unwrap_or_else(|| Chat {
                state: unknown(),
                service: Reading::Unknown(not_looked()),
                central_management: Reading::Unknown(not_looked()),
                replicas: Reading::Unknown(not_looked()),
                services: BTreeMap::new(),
                mirror_job: None,
                target_shell: None,
            }),
        }
    }

    /// Puts down which chat servers were seen to report, and which were watched for long without a report.
    fn watch_pings(&mut self, mut i: Instance, at: Timestamp) -> Instance {
        let Some(reports) = i.server_identities.known() else { return i };
        let pings = self.pings.entry(i.server_name.clone()).or_default();
        for (host, report) in reports {
            let (last, since, moved) = pings.seen.get(host).copied().unwrap_or((*report, at, pings.read));
            let now = if last == *report { (last, since, moved) } else { (*report, at, true) };
            pings.seen.insert(host.clone(), now);
            let old = at.duration_since(now.1) > PING;
            if old {
                i.silent.insert(host.clone());
            } else if now.2 {
                i.advancing.insert(host.clone());
            }
        }
        pings.read = true;
        i
    }

    fn judge_silence(
        &mut self,
        source: &mut Source,
        files: &Folders,
        database: &str,
        at: Timestamp,
        files_seen: bool,
    ) {
        if source.partners.iter().any(|p| matches!(p.answer, Answer::Speaks(_))) {
            self.last_seen = Some(at);
        }
        let newest = newest_backup(files, database).filter(|_| files_seen);
        source.newer_backup = self.newer_backup.clone();
        if fencing::is_silent(source) {
            self.silent_looks = self.silent_looks.saturating_add(1);
            self.silent_since = self.silent_since.or(Some(at));
            match (&self.newest_at_silence, newest) {
                // Whatever took it was alive after we thought that nothing is.
                (Some(known), Some((lsn, file))) if lsn > *known => self.newer_backup = Some(file),
                // What is there at the first look into the folders is what there was.
                (None, Some((lsn, _))) => self.newest_at_silence = Some(lsn),
                (Some(_) | None, _) => {}
            }
        } else {
            self.silent_since = None;
            self.silent_looks = 0;
            self.newest_at_silence = None;
            if source.partners.iter().any(|p| matches!(p.answer, Answer::Speaks(_))) {
                self.newer_backup = None;
            }
        }
        source.silent_since = self.silent_since;
        source.silent_looks = self.silent_looks;
        source.newer_backup = self.newer_backup.clone();
        source.last_seen = self.last_seen;
    }
}

/// The log backup that reaches furthest, by its header: names and dates prove nothing.
fn newest_backup(files: &Folders, database: &str) -> Option<(Lsn, String)> {
    let sets = files.headers.iter().filter_map(|(name, h)| Some((name, h.sets.known()?)));
    sets.flat_map(|(name, sets)| sets.iter().map(move |s| (s, name)))
        .filter(|(s, _)| s.kind == 2 && s.database.eq_ignore_ascii_case(database))
        .map(|(s, name)| (s.last_lsn, name.clone()))
        .max()
}

async fn look_at_instance<S: Systems>(
    systems: &S,
    pool: &Pool,
    server: &SqlServer,
    target: bool,
) -> Result<Instance, SqlError> {
    let mut session = systems.sql(server).await?;
    read::instance(&mut session, server, pool, read::InstanceReads { target }).await
}

async fn look_at_source<S: Systems>(systems: &S, pool: &Pool) -> Source {
    let d = &pool.primary;
    let servers: Vec<(&SqlServer, bool)> =
        std::iter::once((&d.sql_server, false)).chain(d.mirror.as_ref().map(|m| (m, true))).collect();
    let partners = servers.iter().map(|(server, is_mirror)| async move {
        let answer = match look_at_instance(systems, pool, server, false).await {
            Ok(i) => Answer::Speaks(Box::new(i)),
            Err(e) => {
                let p = errors::problem(&e, server, "looking at the primary");
                match e {
                    SqlError::Unreachable(_) => Answer::Silent(p),
                    SqlError::Tls(_)
                    | SqlError::Login { .. }
                    | SqlError::Server { .. }
                    | SqlError::Lost(_)
                    | SqlError::Protocol(_) => Answer::TurnsAway(p),
                    SqlError::NotAsked(_) => Answer::NotAsked(p),
                }
            }
        };
        Partner { server: server.name(), is_mirror: *is_mirror, answer }
    });
    let from_shell = async {
        let shell_host = &pool.backup.management_shell;
        let mut out = Vec::new();
        for (server, _) in &servers {
            let cmdlet = cmdlets::test_database(&server.host, server.instance.as_deref());
            let seen = match systems.invoke(shell_host, &cmdlet, CMDLET).await {
                Ok(o) => shell::reachable(&o),
                Err(e) => Err(shell::problem(&e, shell_host, cmdlet.name)),
            };
            out.push((server.name(), seen.into()));
        }
        out
    };
    let targets = std::iter::once((d.management_shell.host.as_str(), FRONT_END_PORT, "the Front End"))
        .chain(d.servers.iter().map(|s| (s.as_str(), CHAT_PORT, "the chat server")));
    let ports = targets.map(|(host, port, what)| async move {
        (format!("{what} {host}:{port}"), Reading::from(systems.listens(host, port).await))
    });
    let (partners, from_shell, ports) =
        futures::join!(futures::future::join_all(partners), from_shell, futures::future::join_all(ports));
    Source {
        partners,
        from_shell,
        ports,
        silent_since: None,
        silent_looks: 0,
        newer_backup: None,
        last_seen: None,
    }
}

/// Headers that were read before, by whether the file stood in the copy folder, and the very file.
type Cache = BTreeMap<(bool, BackupFile), Vec<BackupSet>>;

async fn look_at_target<S: Systems>(
    systems: &S,
    pool: &Pool,
    files: bool,
    cache: &Cache,
) -> (Result<Instance, SqlError>, Option<Folders>) {
    let server = &pool.backup.sql_server;
    let mut session = match systems.sql(server).await {
        Ok(session) => session,
        Err(e) => return (Err(e), None),
    };
    let instance =
        match read::instance(&mut session, server, pool, read::InstanceReads { target: true }).await {
            Ok(i) => i,
            Err(e) => return (Err(e), None),
        };
    if !files || instance.database.as_ref().is_some_and(crate::domain::sql_server::Database::is_live) {
        return (Ok(instance), None);
    }
    let (share, copy, copy_free) = futures::join!(
        systems.list(Folder::BackupShare),
        systems.list(Folder::CopyFolder),
        systems.free(Folder::CopyFolder)
    );
    let mut folders = Folders {
        share: Reading::Known(vec![]),
        copy: Reading::Known(vec![]),
        copy_free: copy_free.into(),
        headers: BTreeMap::new(),
        ignored: vec![],
    };
    let (mut share, share_problem) = listed(share, &mut folders.ignored);
    let (mut copy, copy_problem) = listed(copy, &mut folders.ignored);
    leave_unfinished_twins(&mut share, &mut copy);
    folders.share = share.ok_or(share_problem).into();
    folders.copy = copy.ok_or(copy_problem).into();
    match read_headers(&mut session, pool, &instance, &mut folders, cache).await {
        Ok(()) => (Ok(instance), Some(folders)),
        Err(e) => (Err(e), None),
    }
}

/// The files of a folder, or why there are none.
fn listed(
    listing: Result<Listing, Problem>,
    ignored: &mut Vec<(String, String)>,
) -> (Option<Vec<BackupFile>>, Problem) {
    match listing {
        Ok(l) => {
            ignored.extend(l.ignored);
            (Some(l.files), not_looked())
        }
        Err(p) => (None, p),
    }
}

/// Reads the headers of every file that may matter. Of the names that log shipping itself gives, from the newest back until
/// files that are surely applied have been met, further only if the chain has a gap: the share may hold a month of them. Every
/// other name is read always: what somebody rescued by hand may be called anything.
async fn read_headers<Q: crate::systems::SqlSession>(
    session: &mut Q,
    pool: &Pool,
    instance: &Instance,
    folders: &mut Folders,
    cache: &Cache,
) -> Result<(), SqlError> {
    let none: Vec<BackupFile> = vec![];
    let copy = folders.copy.known().unwrap_or(&none).clone();
    let share = folders.share.known().unwrap_or(&none).clone();
    // A file of the copy folder counts if it is complete; otherwise what the share holds.
    let mut candidates: BTreeMap<String, (bool, BackupFile)> = BTreeMap::new();
    for f in &share {
        candidates.insert(f.name.clone(), (false, f.clone()));
    }
    for f in &copy {
        if share.iter().find(|s| s.name == f.name).is_none_or(|s| s.is_copy_of(f)) {
            candidates.insert(f.name.clone(), (true, f.clone()));
        }
    }
    let database = instance.database.as_ref();
    let redo = chain::redo_of(instance);
    let family = database.and_then(|d| d.family.as_deref());
    let (regular, others): (Vec<_>, Vec<_>) =
        candidates.into_iter().partition(|(name, _)| chain::is_regular(name, &pool.database));
    let mut applied = 0;
    for (is_other, (name, (from_copy, file))) in
        others.into_iter().map(|c| (true, c)).chain(regular.into_iter().rev().map(|c| (false, c)))
    {
        if applied >= OVERLAP {
            let gap = redo
                .as_ref()
                .is_some_and(|r| chain::follow(r, family, &pool.database, folders, None).gap.is_some());
            if !gap {
                break;
            }
        }
        let sets = match cache.get(&(from_copy, file)) {
            Some(sets) => Reading::Known(sets.clone()),
            None => {
                let folder =
                    if from_copy { &pool.log_shipping.copy_folder } else { &pool.log_shipping.backup_share };
                let path = format!(r"{}\{name}", folder.trim_end_matches('\\'));
                read::headers(session, &pool.backup.sql_server, &path).await?
            }
        };
        let behind = redo
            .as_ref()
            .is_some_and(|r| sets.known().is_some_and(|s| chain::is_behind(s, r, family, &pool.database)));
        if !is_other {
            applied = if behind { applied + 1 } else { 0 };
        }
        folders.headers.insert(name, FileHeaders { from_copy, sets });
    }
    Ok(())
}

/// Lync, through the shell of the backup side; through the primary's if that one is silent.
async fn look_at_chat<S: Systems>(systems: &S, pool: &Pool, t: Option<&Transition>) -> Chat {
    let first = &pool.backup.management_shell;
    let state =
        ask(systems, first, &cmdlets::get_state()).await.and_then(|o| shell::pool_state(&o, &pool.fqdn));
    // While the Central Management store is down, the replica on the host itself still knows.
    let mut target_shell = None;
    let (used, state) = match state {
        Ok(state) => (first, Ok(state)),
        Err(p) => match ask(systems, first, &cmdlets::get_state_local())
            .await
            .and_then(|o| shell::pool_state(&o, &pool.fqdn))
        {
            Ok(state) => (first, Ok(state)),
            Err(_) if t.is_none() => {
                let other = &pool.primary.management_shell;
                match ask(systems, other, &cmdlets::get_state())
                    .await
                    .and_then(|o| shell::pool_state(&o, &pool.fqdn))
                {
                    Ok(state) => {
                        target_shell = Some(p);
                        (other, Ok(state))
                    }
                    Err(_) => (first, Err(p)),
                }
            }
            Err(_) => (first, Err(p)),
        },
    };
    let service =
        ask(systems, used, &cmdlets::get_service()).await.and_then(|o| shell::chat_service(&o, &pool.fqdn));
    let central =
        ask(systems, used, &cmdlets::central_management()).await.and_then(|o| shell::central_management(&o));
    let replicas = ask(systems, used, &cmdlets::replicas()).await.map(|o| shell::replicas(&o));
    let mut services = BTreeMap::new();
    let here: &DataCenter = match &state {
        Ok(s) if s.is_normal() && t.is_none() => &pool.primary,
        Ok(_) | Err(_) => &pool.backup,
    };
    for server in &here.active_servers {
        let runs =
            ask(systems, used, &cmdlets::windows_service(server)).await.map(|o| shell::service_runs(&o));
        services.insert(server.clone(), runs.into());
    }
    let mirror_job = match t.and_then(Transition::open_job) {
        Some(job) => Some(
            systems
                .look(&pool.backup.management_shell, job)
                .await
                .map_err(|e| {
                    shell::problem(
                        &e,
                        &pool.backup.management_shell,
                        "looking after Install-CsMirrorDatabase",
                    )
                })
                .into(),
        ),
        None => None,
    };
    Chat {
        state: state.into(),
        service: service.into(),
        central_management: central.into(),
        replicas: replicas.into(),
        services,
        mirror_job,
        target_shell,
    }
}

async fn ask<S: Systems>(
    systems: &S,
    at: &ManagementShell,
    cmdlet: &Cmdlet,
) -> Result<Vec<ShellObject>, Problem> {
    match systems.invoke(at, cmdlet, CMDLET).await {
        Ok(out) => shell::clean_output(&out, cmdlet, at).map(<[ShellObject]>::to_vec),
        Err(e) => Err(shell::problem(&e, at, cmdlet.name)),
    }
}
