//! Everything that is wrong, each with the step that must not begin because of it.

use super::view::View;
use crate::domain::active;
use crate::domain::fencing::Verdict;
use crate::domain::lync::ChatService;
use crate::domain::pool::SqlServer;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::route::Procedure;
use crate::domain::side::{Place, Side};
use crate::domain::sql_server::{Database, Instance};
use crate::domain::step::StepId;
use crate::domain::text::clean;

/// Something that is wrong, and the step that must not begin because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The gated step. What gates the preflight gates everything.
    pub gates: StepId,
    /// What is wrong.
    pub problem: Problem,
}

/// One problem out of several: the first that needs a human decides the reason, all are told.
pub fn together(now: &[Finding], later: &[Finding]) -> Option<Problem> {
    let lead = now.iter().find(|f| f.problem.class != Class::Retry).or(now.first())?;
    let all: Vec<String> = now.iter().chain(later).map(|f| f.problem.what.clone()).collect();
    let mut fixes: Vec<String> =
        now.iter().chain(later).map(|f| f.problem.fix.clone()).filter(|f| !f.is_empty()).collect();
    fixes.dedup();
    Some(Problem {
        reason: lead.problem.reason,
        class: lead.problem.class,
        what: all.join("; "),
        fix: fixes.join("; "),
    })
}

/// What gates one step, as one problem.
pub fn gate(v: &View<'_>, step: StepId) -> Option<Problem> {
    let gating: Vec<Finding> = findings(v).into_iter().filter(|f| f.gates == step).collect();
    together(&gating, &[])
}

/// Everything that is wrong, each with the step that it gates in this procedure.
pub fn findings(v: &View<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    let mut gating = |gates: StepId, problems: Vec<Problem>| {
        out.extend(problems.into_iter().map(|problem| Finding { gates, problem }));
    };
    match v.route.procedure {
        Procedure::Failover => {
            gating(StepId::PreflightPassed, target(v));
            gating(StepId::PreflightPassed, chain_and_folders(v));
            gating(StepId::DatabaseOnline, central_management(v));
            gating(StepId::DatabaseOnline, topology(v, &Side::BOTH));
            gating(StepId::DatabaseOnline, wanted_servers(v));
            gating(StepId::MirrorEstablished, mirror(v));
        }
        // What chat cannot do without on the other side is asked for before it stops.
        Procedure::Switch => {
            gating(StepId::PreflightPassed, target(v));
            gating(StepId::PreflightPassed, chain_and_folders(v));
            gating(StepId::PreflightPassed, the_other_one(v));
            gating(StepId::ChatDrained, central_management(v));
            gating(StepId::ChatDrained, topology(v, &Side::BOTH));
            gating(StepId::ChatDrained, wanted_servers(v));
            gating(StepId::ChatDrained, absent_partner(v));
            gating(StepId::TailTaken, absent_partner(v));
            // Until then it can be taken back when that side is there again; and nobody chats before the pool's state is set.
            if is_source_lost(v) {
                gating(StepId::DatabaseOnline, central_management(v));
            }
            gating(StepId::PoolStateSet, central_management(v));
            gating(StepId::MirrorEstablished, mirror(v));
        }
        Procedure::Align => {
            gating(StepId::PreflightPassed, beside_another(v));
            gating(StepId::PreflightPassed, hearsay(v).into_iter().collect());
            gating(StepId::ActiveServersSet, central_management(v));
            gating(StepId::ActiveServersSet, wanted_servers(v));
            gating(StepId::MirrorEstablished, mirror(v));
        }
        Procedure::Protect => {
            gating(StepId::OldSideFenced, newer_than_its_copy(v));
            gating(StepId::LogShippingEstablished, live_rights(v));
        }
    }
    out
}

/// How the Central Management store is moved.
const MOVE_IT: &str = "Move it: Invoke-CsManagementServerFailover -BackupSqlServerFqdn <sql> -BackupSqlInstanceName <instance> -Force on a Front \
                       End of the surviving pool";

/// The instance whose database is to go live, and its copy.
fn target(v: &View<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    let target = match v.target() {
        Ok(target) => target,
        Err(p) => return vec![p],
    };
    let server = clean(&target.server_name);
    if !target.sysadmin {
        found.push(not_sysadmin(&v.to().sql_server, &server));
    }
    found.extend(another_instance(&v.to().sql_server, target));
    match v.database() {
        Err(p) => found.push(p),
        Ok(db) if !db.is_restoring() && !v.is_recovered() => found.push(Problem::ask(
            Reason::DatabaseState,
            format!(
                "{} on {server} is {}; only a copy that waits for log backups can be failed over to",
                clean(&v.pool.database),
                db.state_text()
            ),
            how_to_mend(v, target, db),
        )),
        Ok(_) => {}
    }
    let (half, shipping) = match (target.secondary_half.get(), v.shipping()) {
        (Ok(half), Ok(shipping)) => (half, shipping),
        (Err(p), _) => return [found, vec![p.clone()]].concat(),
        (Ok(_), Err(p)) => return [found, vec![p]].concat(),
    };
    if let Some(half) = half {
        for (folder, world) in [
            (&shipping.backup_share, half.source_directory()),
            (&shipping.copy_folder, half.destination_directory()),
        ] {
            if !folder.is(world) {
                found.push(Problem::ask(
                    Reason::InvalidSpec,
                    format!(
                        "{} is {}, but log shipping on {server} uses {}",
                        folder.field,
                        clean(&folder.path),
                        clean(world)
                    ),
                    format!("Correct {}: backups in another folder would be missed", folder.field),
                ));
            }
        }
    }
    found
}

/// What can be done about a database that no failover could go to.
fn how_to_mend(v: &View<'_>, target: &Instance, db: &Database) -> String {
    let from = v.route.from;
    let is_old =
        || active::is_explained(v.situation, from) && active::is_left_behind(v.situation, from, target);
    if !db.is_live() {
        "Set up log shipping again, or mend the database".into()
    } else if let Some(too_old) = newer_than_its_copy(v).pop() {
        too_old.fix
    } else if is_old() {
        format!(
            "It is the old database of {}, from before the failover to {}. To have it saved and a copy of the live database seeded in its place, \
             agree to what that overwrites: kubectl pcf approve shows it",
            clean(&v.to().name),
            clean(&v.from().name)
        )
    } else {
        "It has been recovered: find out by whom before anything is done to it".into()
    }
}

/// That a login lacks what the procedures of log shipping need.
pub fn not_sysadmin(server: &SqlServer, name: &str) -> Problem {
    Problem::ask(
        Reason::PermissionDenied,
        format!(
            "The login of {} is not sysadmin on {name}; the procedures of log shipping need that",
            server.field
        ),
        "Add the login to the sysadmin role of that instance",
    )
}

/// That a server does not show which life of the database stands on it.
pub fn no_fork(on: &Instance) -> Problem {
    Problem::ask(
        Reason::DatabaseState,
        format!("{} does not show the recovery fork of its database", clean(&on.server_name)),
        "Give the login VIEW ANY DATABASE there",
    )
}

/// The log chain, and whether there is room for what is still to be copied.
fn chain_and_folders(v: &View<'_>) -> Vec<Problem> {
    let mut found = Vec::new();
    if let Err(p) = &v.chain
        && !v.is_recovered()
    {
        found.push(p.clone());
    }
    let Ok(folders) = v.folders() else { return found };
    if let Err(p) = folders.copy.get() {
        found.push(p.clone());
    }
    if let (Ok(chain), Some(share), Some(free)) = (&v.chain, folders.share.known(), folders.copy_free.known())
    {
        let missing = chain.links.iter().filter(|l| !v.is_read_from_copy(l)).flat_map(|l| l.files());
        let bytes: u64 =
            missing.filter_map(|name| share.iter().find(|f| f.name == name)).map(|f| f.length).sum();
        if bytes > *free {
            found.push(Problem::retry(
                Reason::DiskFull,
                format!(
                    "The folder of {}.logShipping.copyFolder has {free} bytes free; the log backups that are still to be copied need {bytes}",
                    v.to().field()
                ),
                "Make room in it",
            ));
        }
    }
    found
}

/// Whether Lync's configuration can be read and written.
fn central_management(v: &View<'_>) -> Vec<Problem> {
    let mut found: Vec<Problem> = v.situation.lync.shell_trouble.iter().cloned().collect();
    match v.situation.lync.central_management.get() {
        Err(p) => found.push(p.clone()),
        Ok(cms) if cms.active_master.is_empty() || cms.file_transfer_agents.is_empty() => {
            found.push(Problem::ask(
                Reason::CentralManagementDown,
                "The Central Management store has no active master: the pool's state and its active servers cannot be set",
                MOVE_IT,
            ));
        }
        // While the other side lives, that is where the store may well be; a switch leaves one that lives.
        Ok(cms)
            if v.route.from != v.route.to
                && (v.route.procedure != Procedure::Switch || is_source_lost(v))
                && !matches!(v.verdict, Verdict::Alive(_))
                && cms.active_master.eq_ignore_ascii_case(&v.from().management_shell.host) =>
        {
            found.push(Problem::ask(
                Reason::CentralManagementDown,
                format!(
                    "The Central Management store still names {} of the lost side as its active master: it cannot be written",
                    clean(&cms.active_master)
                ),
                MOVE_IT,
            ));
        }
        Ok(cms) if cms.master_answers.as_ref().and_then(Reading::known) == Some(&false) => {
            found.push(Problem::ask(
                Reason::CentralManagementDown,
                format!(
                    "The Central Management store names {} as its active master, which does not answer: it cannot be written",
                    clean(&cms.active_master)
                ),
                format!("{MOVE_IT}. If it lives, let port 5061 of it be reached from {}", clean(&v.to().management_shell.host)),
            ));
        }
        Ok(_) => {}
    }
    found.extend(v.situation.lync.state.get().err().cloned());
    found
}

/// Whether the published topology names the servers that the resource names.
fn topology(v: &View<'_>, sides: &[Side]) -> Vec<Problem> {
    let service = match v.situation.lync.service.get() {
        Ok(service) => service,
        Err(p) => return vec![p.clone()],
    };
    let mut found = Vec::new();
    for side in sides {
        let data_center = &v.pool.sites[*side];
        let (store, mirror) = side.database_properties();
        found.extend(published(service, store, &data_center.sql_server));
        let named = service.databases.get(mirror).filter(|p| !p.trim().is_empty());
        match (&data_center.mirror, named) {
            (Some(server), _) => found.extend(published(service, mirror, server)),
            // A partner that nobody asks may be the principal: the database could be alive there.
            (None, Some(unnamed)) if *side == v.route.from => found.push(Problem::ask(
                Reason::TopologyMismatch,
                format!(
                    "The topology's {mirror} is {:?}, but {} names no mirror",
                    clean(unnamed),
                    data_center.field()
                ),
                format!(
                    "Name it in {}.mirror: after a failover inside the data centre its database is the live one",
                    data_center.field()
                ),
            )),
            (None, Some(_) | None) => {}
        }
    }
    found
}

/// Wanted servers that the pool does not have.
fn wanted_servers(v: &View<'_>) -> Vec<Problem> {
    let Some(service) = v.situation.lync.service.known() else { return vec![] };
    let unknown = |s: &&String| !service.active.contains(s) && !service.inactive.contains(s);
    let wanted = v.to().active_servers.iter().filter(unknown);
    wanted
        .map(|server| {
            Problem::ask(
                Reason::TopologyMismatch,
                format!("The pool has no server {}", clean(server)),
                format!("Correct {}.servers and activeServers", v.to().field()),
            )
        })
        .collect()
}

/// That the topology names another server under a property than the resource.
fn published(service: &ChatService, property: &str, server: &SqlServer) -> Option<Problem> {
    let name = service.databases.get(property).map_or("", String::as_str);
    (!names_server(name, &server.host, server.instance.as_deref())).then(|| {
        Problem::ask(
            Reason::TopologyMismatch,
            format!(
                "{} is {}, but the topology's {property} is {:?}",
                server.field,
                server.name(),
                clean(name)
            ),
            "Correct the resource, or publish the topology",
        )
    })
}

/// That another instance of the host answers than the one that is named: on a port that is not the named one's. `SERVERPROPERTY('ServerName')`
/// is `machine\instance`, or the machine alone for the default instance; the machine's name may differ from the host's (an alias).
fn another_instance(server: &SqlServer, answers: &Instance) -> Option<Problem> {
    let named = server.instance.as_deref()?;
    let is = answers.server_name.split_once('\\').map_or("MSSQLSERVER", |(_, instance)| instance);
    (!is.eq_ignore_ascii_case(named)).then(|| {
        Problem::ask(
            Reason::InvalidSpec,
            format!(
                "{} names the instance {}, but {} answers on port {}",
                server.field,
                clean(named),
                clean(&answers.server_name),
                server.port
            ),
            format!("Correct {}.port (SQL Server Configuration Manager shows it; fix it there, it may be dynamic)", server.field),
        )
    })
}

/// Whether a reference of the topology (`PersistentChatDatabase:sea-sql-1.litwareinc.com`) names a server. In Microsoft's examples such
/// an identity leaves the instance out, whatever instance it is: what is left out contradicts nothing.
fn names_server(reference: &str, host: &str, instance: Option<&str>) -> bool {
    let name = reference.rsplit(':').next().unwrap_or(reference).trim();
    match name.split_once('\\') {
        None => name.eq_ignore_ascii_case(host),
        // A default instance may be written with its service name.
        Some((h, i)) => {
            h.eq_ignore_ascii_case(host) && i.eq_ignore_ascii_case(instance.unwrap_or("MSSQLSERVER"))
        }
    }
}

/// What building the mirror would meet.
fn mirror(v: &View<'_>) -> Vec<Problem> {
    let (Some(mirror), Some(partner)) = (&v.to().mirror, v.target_site().partner_of_main()) else {
        return vec![];
    };
    let mut found = Vec::new();
    let standing = v.database().ok().and_then(|d| d.mirroring.as_ref()).is_some();
    match partner.answer.instance() {
        Err(p) => found.push(p.clone()),
        Ok(instance) => {
            if let Some(db) = &instance.database
                && !standing
                && v.replaceable().is_none()
            {
                found.push(Problem::ask(
                    Reason::DatabaseState,
                    format!(
                        "The mirror-to-be {} already has a database {} ({}) that is no copy of this one waiting for log backups; \
                         building the mirror would drop it",
                        clean(&instance.server_name),
                        clean(&v.pool.database),
                        db.state_text()
                    ),
                    format!("Find out whose it is and move it away, or correct {}", mirror.field),
                ));
            }
        }
    }
    if v.target_site().main_place() == Place::Mirror && !standing {
        found.push(Problem::ask(
            Reason::DatabaseState,
            format!(
                "{} is live on {} and has no mirror; Install-CsMirrorDatabase builds one from {} only",
                clean(&v.pool.database),
                clean(&mirror.host),
                clean(&v.to().sql_server.host)
            ),
            "Build the mirror by hand, or publish the topology with the servers exchanged and correct the resource",
        ));
    }
    // The cmdlet takes the mirror from the topology, not from the resource.
    let (_, property) = v.route.to.database_properties();
    if let Ok(service) = v.situation.lync.service.get() {
        found.extend(published(service, property, mirror));
    }
    if v.to().mirror_file_share.is_none() {
        found.push(Problem::ask(
            Reason::InvalidSpec,
            format!("{}.mirrorFileShare is missing; Install-CsMirrorDatabase needs it", v.to().field()),
            "Name a share that both SQL Server service accounts can write to",
        ));
    }
    found
}

/// A second live database that no failover of ours explains.
fn beside_another(v: &View<'_>) -> Vec<Problem> {
    let side = v.route.to;
    match (v.target_site().live(), v.situation.sites[side.other()].live()) {
        (Some(here), Some(there)) if !active::is_explained(v.situation, side) => {
            vec![active::split_brain(v.pool, here, there, side.pool_state())]
        }
        (Some(_) | None, Some(_) | None) => vec![],
    }
}

/// That only a replica says which side is the active one, while the other one is not to be seen: it may be the old side, back alone.
pub fn hearsay(v: &View<'_>) -> Option<Problem> {
    let side = v.route.home();
    let told = |unseen: &Problem| {
        Problem::ask(
            Reason::CentralManagementDown,
            format!(
                "Only a replica says that {} is the active side: the Central Management store is down, and {} is not to be seen ({})",
                v.pool.name(side),
                v.pool.name(side.other()),
                unseen.what
            ),
            format!(
                "Wait for {}. If it is lost, the store is to be where it is not. {MOVE_IT}",
                v.pool.name(side.other())
            ),
        )
    };
    v.situation.hearsay().map(told)
}

/// Whether the database that is left is not to be seen.
fn is_source_lost(v: &View<'_>) -> bool {
    v.source().main().is_err()
}

/// Whether the side that is left lets itself be switched from: while its database is live there.
fn the_other_one(v: &View<'_>) -> Vec<Problem> {
    match v.source().live() {
        Some(_) => live_rights(v),
        None => vec![],
    }
}

/// That the partner of a mirrored database is not there to hear that its mirroring is removed. One that was the principal when it went down
/// comes back with its old copy open ("Removing Database Mirroring": it learns of it when it connects again), and chat would find two.
fn absent_partner(v: &View<'_>) -> Vec<Problem> {
    let site = v.source();
    let Some(live) = site.live().and_then(|i| i.database.as_ref()).filter(|d| d.mirroring.is_some()) else {
        return vec![];
    };
    let Some(Err(unseen)) = site.partner_of_main().map(|p| p.answer.instance()) else { return vec![] };
    let partner = live.mirroring.as_ref().and_then(|m| m.partner.clone()).unwrap_or_default();
    vec![Problem::ask(
        Reason::HostUnreachable,
        format!(
            "The mirroring of the live database in {} has to be removed, and its partner {} is not to be seen: {}",
            clean(&v.from().name),
            clean(&partner),
            unseen.what
        ),
        "Start that server. If it is gone for good, remove the mirroring by hand (ALTER DATABASE … SET PARTNER OFF), and see that its old copy \
         never comes online again. Or set spec.activeDataCenter back",
    )]
}

/// That nothing of the live database could be restored where its copy is to stand: backups "cannot be restored by any earlier version of SQL
/// Server" (Copy Databases with Backup and Restore), error 3169. A server that does not say which it is refuses by itself.
fn newer_than_its_copy(v: &View<'_>) -> Vec<Problem> {
    let standby = v.target_site().store.answer.instance().ok();
    let (Some(live), Some(standby)) = (v.source().live(), standby) else { return vec![] };
    match (live.release(), standby.release()) {
        (Some(here), Some(there)) if here > there => {}
        (Some(_) | None, Some(_) | None) => return vec![],
    }
    vec![Problem::ask(
        Reason::BackupRefused,
        format!(
            "{} is SQL Server {}, older than {} ({}) whose database is live: no backup of that can be restored there",
            clean(&standby.server_name),
            clean(&standby.version),
            clean(&live.server_name),
            clean(&live.version)
        ),
        format!(
            "Bring it to the version of {} or a newer one, or name another server in {}: nothing there is touched before",
            clean(&live.server_name),
            v.to().sql_server.field
        ),
    )]
}

/// Whether the login may set up log shipping where the database is live.
fn live_rights(v: &View<'_>) -> Vec<Problem> {
    match v.source().main() {
        Ok(i) if !i.sysadmin => vec![not_sysadmin(&v.from().sql_server, &clean(&i.server_name))],
        Ok(_) => vec![],
        Err(p) => vec![p.clone()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_that_leaves_the_instance_out_contradicts_nothing() {
        const HOST: &str = "sea-sql-1.litwareinc.com";
        let names = |reference: &str, instance| names_server(reference, HOST, instance);
        for reference in ["PersistentChatDatabase:sea-sql-1.litwareinc.com", "SEA-SQL-1.litwareinc.com"] {
            assert!(names(reference, None) && names(reference, Some("CHAT")), "{reference}");
        }
        let named = r"PersistentChatDatabase:sea-sql-1.litwareinc.com\chat";
        assert!(names(named, Some("CHAT")) && !names(named, Some("OTHER")) && !names(named, None));
        assert!(names(r"sea-sql-1.litwareinc.com\MSSQLSERVER", None));
        assert!(!names("PersistentChatDatabase:sea-sql-2.litwareinc.com", Some("CHAT")) && !names("", None));
    }
}
