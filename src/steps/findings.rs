//! Everything that is wrong, each with the step that must not begin because of it.

use super::view::View;
use crate::domain::fencing::Verdict;
use crate::domain::lync::ChatService;
use crate::domain::pool::SqlServer;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::step::StepId;
use crate::domain::text::clean;

/// Something that is wrong, and the step that must not begin because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The gated step.
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

/// Everything that is wrong, each with the step that it gates.
pub fn findings(v: &View<'_>) -> Vec<Finding> {
    let mut out = Vec::new();
    sql_and_files(v, &mut |problem| out.push(Finding { gates: StepId::PreflightPassed, problem }));
    lync(v, &mut |problem| out.push(Finding { gates: StepId::DatabaseOnline, problem }));
    mirror(v, &mut |problem| out.push(Finding { gates: StepId::MirrorEstablished, problem }));
    out
}

fn sql_and_files(v: &View<'_>, found: &mut dyn FnMut(Problem)) {
    let target = match v.target() {
        Ok(target) => target,
        Err(p) => return found(p),
    };
    let server = clean(&target.server_name);
    let field = &v.to().sql_server.field;
    if !target.sysadmin {
        found(Problem::ask(
            Reason::PermissionDenied,
            format!("The login of {field} is not sysadmin on {server}; removing log shipping needs that"),
            "Add the login to the sysadmin role of the backup instance",
        ));
    }
    match v.database() {
        Err(p) => found(p),
        Ok(db) if !db.is_restoring() && !v.is_recovered() => found(Problem::ask(
            Reason::DatabaseState,
            format!(
                "{} on {server} is {}; only a copy that waits for log backups can be failed over to",
                clean(&v.pool.database),
                db.state_text()
            ),
            if db.is_live() {
                "It has been recovered: find out by whom before anything is done to it"
            } else {
                "Set up log shipping again, or mend the database"
            },
        )),
        Ok(_) => {}
    }
    match target.log_shipping.get() {
        Err(p) => found(p.clone()),
        Ok(Some(ls)) => {
            for (field, spec, world) in [
                ("spec.logShipping.backupShare", &v.pool.log_shipping.backup_share, ls.source_directory()),
                ("spec.logShipping.copyFolder", &v.pool.log_shipping.copy_folder, ls.destination_directory()),
            ] {
                if !same_folder(spec, world) {
                    found(Problem::ask(
                        Reason::InvalidSpec,
                        format!(
                            "{field} is {}, but log shipping on {server} uses {}",
                            clean(spec),
                            clean(world)
                        ),
                        format!("Correct {field}: backups in another folder would be missed"),
                    ));
                }
            }
        }
        Ok(None) => {}
    }
    if let Err(p) = &v.chain
        && !v.is_recovered()
    {
        found(p.clone());
    }
    if let Err(p) = v.s.files.copy.get() {
        found(p.clone());
    }
    if let (Ok(chain), Some(share), Some(free)) =
        (&v.chain, v.s.files.share.known(), v.s.files.copy_free.known())
    {
        let copied = |file: &str| v.s.files.headers.get(file).is_some_and(|h| h.from_copy);
        let missing = chain.links.iter().filter(|l| !copied(&l.file));
        let bytes: u64 =
            missing.filter_map(|l| share.iter().find(|f| f.name == l.file)).map(|f| f.length).sum();
        if bytes > *free {
            found(Problem::retry(
                Reason::DiskFull,
                format!(
                    "The folder of spec.backupFiles.copyFolder has {free} bytes free; the log backups that are still to be copied need {bytes}"
                ),
                "Make room in it",
            ));
        }
    }
}

fn same_folder(a: &str, b: &str) -> bool {
    a.trim_end_matches('\\').eq_ignore_ascii_case(b.trim_end_matches('\\'))
}

fn lync(v: &View<'_>, found: &mut dyn FnMut(Problem)) {
    if let Some(p) = &v.s.chat.target_shell {
        found(p.clone());
    }
    match v.s.chat.central_management.get() {
        Err(p) => found(p.clone()),
        Ok(cms) if cms.active_master.is_empty() || cms.file_transfer_agents.is_empty() => {
            found(Problem::ask(
                Reason::CentralManagementDown,
                "The Central Management store has no active master: the pool's state and its active servers cannot be set",
                "Move it: Invoke-CsManagementServerFailover -BackupSqlServerFqdn <sql> -Force on a Front End of the surviving data centre",
            ))
        }
        // While the other side lives, that is where the store may well be.
        Ok(cms)
            if !matches!(v.verdict, Verdict::Alive(_))
                && cms.active_master.eq_ignore_ascii_case(&v.pool.primary.management_shell.host) =>
        {
            found(Problem::ask(
                Reason::CentralManagementDown,
                format!(
                    "The Central Management store still names {} of the lost side as its active master: it cannot be written",
                    clean(&cms.active_master)
                ),
                "Move it: Invoke-CsManagementServerFailover -BackupSqlServerFqdn <sql> -Force on a Front End of the surviving data centre",
            ))
        }
        Ok(_) => {}
    }
    if let Err(p) = v.s.chat.state.get() {
        found(p.clone());
    }
    let service = match v.s.chat.service.get() {
        Ok(service) => service,
        Err(p) => return found(p.clone()),
    };
    for (property, server) in [
        ("PersistentChatDatabase", Some(&v.pool.primary.sql_server)),
        ("MirrorPersistentChatDatabase", v.pool.primary.mirror.as_ref()),
        ("BackupPersistentChatDatabase", Some(&v.pool.backup.sql_server)),
        ("BackupMirrorPersistentChatDatabase", v.pool.backup.mirror.as_ref()),
    ] {
        let unnamed = service.databases.get(property).filter(|p| !p.trim().is_empty());
        match (server, unnamed) {
            (Some(server), _) => published(service, property, server).into_iter().for_each(&mut *found),
            // A partner that nobody asks may be the principal: the primary could be alive there.
            (None, Some(unnamed)) if property == "MirrorPersistentChatDatabase" => found(Problem::ask(
                Reason::TopologyMismatch,
                format!(
                    "The topology's {property} is {:?}, but spec.dataCenters[{}] names no mirror",
                    clean(unnamed),
                    v.pool.primary.index
                ),
                format!(
                    "Name it in spec.dataCenters[{}].mirror: after a failover inside the data centre it is the primary",
                    v.pool.primary.index
                ),
            )),
            (None, Some(_) | None) => {}
        }
    }
    for wanted in &v.to().active_servers {
        if !service.active.contains(wanted) && !service.inactive.contains(wanted) {
            found(Problem::ask(
                Reason::TopologyMismatch,
                format!("The pool has no server {}", clean(wanted)),
                format!("Correct spec.dataCenters[{}].servers", v.to().index),
            ));
        }
    }
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

/// Whether a reference of the topology (`PersistentChatDatabase:sea-sql-1.litwareinc.com\CHAT`) names an instance.
fn names_server(reference: &str, host: &str, instance: Option<&str>) -> bool {
    let name = reference.rsplit(':').next().unwrap_or(reference).trim();
    match (name.split_once('\\'), instance) {
        (Some((h, i)), Some(instance)) => h.eq_ignore_ascii_case(host) && i.eq_ignore_ascii_case(instance),
        (None, None) => name.eq_ignore_ascii_case(host),
        // A default instance may be written with its service name.
        (Some((h, i)), None) => h.eq_ignore_ascii_case(host) && i.eq_ignore_ascii_case("MSSQLSERVER"),
        (None, Some(_)) => false,
    }
}

fn mirror(v: &View<'_>, found: &mut dyn FnMut(Problem)) {
    let (Some(mirror), Some(seen)) = (&v.to().mirror, &v.s.target_mirror) else { return };
    match seen.get() {
        Err(p) => found(p.clone()),
        Ok(instance) => {
            let standing = v.database().ok().and_then(|d| d.mirroring.as_ref()).is_some();
            if let Some(db) = &instance.database
                && !standing
                && v.replaceable().is_none()
            {
                found(Problem::ask(
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
    // The cmdlet takes the mirror from the topology, not from the resource.
    if let Ok(service) = v.s.chat.service.get()
        && let Some(problem) = published(service, "BackupMirrorPersistentChatDatabase", mirror)
    {
        found(problem);
    }
    if v.to().mirror_file_share.is_none() {
        found(Problem::ask(
            Reason::InvalidSpec,
            format!(
                "spec.dataCenters[{}].mirrorFileShare is missing; Install-CsMirrorDatabase needs it",
                v.to().index
            ),
            "Name a share that both SQL Server service accounts can write to",
        ));
    }
}
