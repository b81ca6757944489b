//! Lync, through a Management Shell.

use std::collections::{BTreeMap, BTreeSet};

use super::super::World;
use super::site::{FRONT_END_PORT, said, test_port};
use crate::domain::lync::{CentralManagement, Lync, PoolState};
use crate::domain::pool::{ManagementShell, Pool};
use crate::domain::problem::Problem;
use crate::domain::reading::Reading;
use crate::domain::route::Procedure;
use crate::domain::side::Side;
use crate::domain::transition::Transition;
use crate::systems::management_shell::{Cmdlet, ShellObject, cmdlets, read as shell};
use crate::systems::{Shell, Systems};

/// Whom to ask: the shell of the side that is at work, or would be; where no transition runs, the other one's if that is silent.
pub async fn look_at_lync<S: Systems, C>(
    world: &World<'_, S, C>,
    first: Side,
    t: Option<&Transition>,
) -> Lync {
    let (systems, pool) = (world.systems, world.pool);
    let (used, state, shell_trouble) = pool_state(systems, pool, first, t.is_none()).await;
    let used = &pool.sites[used].management_shell;
    // Beside each other: each takes seconds on a real host, and chat may stand still meanwhile.
    let (service, central, replicas) = futures::join!(
        async {
            ask(systems, used, &cmdlets::get_service())
                .await
                .and_then(|o| shell::chat_service(&o, &pool.fqdn))
        },
        central_management(systems, used, t),
        async { ask(systems, used, &cmdlets::replicas()).await.map(|o| shell::replicas(&o)) },
    );
    // The servers that are to serve now: of the target while a transition runs, else of the side that the pool uses.
    let said = state.as_ref().ok().and_then(PoolState::side);
    let here = t.map(|t| t.route.home()).or(said).unwrap_or(first);
    let (services, service_names) = services(systems, used, asked_for_services(pool, here, t)).await;
    let mirror_job = match t.and_then(|t| Some((t.open_job()?, t.route.to))) {
        Some((job, side)) => {
            let host = &pool.sites[side].management_shell;
            let told = |e| shell::problem(&e, host, "looking after Install-CsMirrorDatabase");
            Some(systems.shell().state_of(host, job).await.map_err(told).into())
        }
        None => None,
    };
    Lync {
        state: state.into(),
        service: service.into(),
        central_management: central.into(),
        replicas: replicas.into(),
        services,
        service_names,
        mirror_job,
        shell_trouble,
    }
}

/// The Central Management store, and whether its master answers where a transition leaves a side.
async fn central_management<S: Systems>(
    systems: &S,
    used: &ManagementShell,
    t: Option<&Transition>,
) -> Result<CentralManagement, Problem> {
    let said = ask(systems, used, &cmdlets::central_management()).await;
    let mut central = said.and_then(|o| shell::central_management(&o))?;
    if t.is_some_and(|t| t.route.from != t.route.to) {
        central.master_answers = master_answers(systems, used, &central.active_master).await;
    }
    Ok(central)
}

/// Whose chat services are looked at: the servers that are to serve; while chat is to end on a side, its servers too.
fn asked_for_services<'p>(pool: &'p Pool, here: Side, t: Option<&Transition>) -> BTreeSet<&'p String> {
    let ends =
        t.filter(|t| t.route.procedure == Procedure::Switch).map(|t| &pool.sites[t.route.from].servers);
    pool.sites[here].active_servers.iter().chain(ends.into_iter().flatten()).collect()
}

/// Whether the chat service of each of these servers runs, and how it is called there. All at once: a host that is slow to say that it is
/// not there holds up no other.
async fn services<S: Systems>(
    systems: &S,
    used: &ManagementShell,
    servers: BTreeSet<&String>,
) -> (BTreeMap<String, Reading<Option<bool>>>, BTreeMap<String, String>) {
    let asked = servers.into_iter().map(|server| async move {
        (server.clone(), ask(systems, used, &cmdlets::windows_service(server)).await)
    });
    let (mut services, mut names) = (BTreeMap::new(), BTreeMap::new());
    for (server, listed) in futures::future::join_all(asked).await {
        if let Some(name) = listed.as_ref().ok().and_then(|o| shell::service_name(o)) {
            names.insert(server.clone(), name);
        }
        services.insert(server, listed.map(|o| shell::service_runs(&o)).into());
    }
    (services, names)
}

/// Whether the master of the Central Management store can be reached, if it is another host than the one that is asked.
pub async fn master_answers<S: Systems>(
    systems: &S,
    used: &ManagementShell,
    master: &str,
) -> Option<Reading<bool>> {
    if master.is_empty() || master.eq_ignore_ascii_case(&used.host) {
        return None;
    }
    Some(test_port(systems, used, master, FRONT_END_PORT).await.into())
}

/// The pool's state, which side's shell told it, and why the first one did not.
async fn pool_state<S: Systems>(
    systems: &S,
    pool: &Pool,
    first: Side,
    ask_the_other: bool,
) -> (Side, Result<PoolState, Problem>, Option<Problem>) {
    let from = |side: Side, cmdlet: Cmdlet| async move {
        let said = ask(systems, &pool.sites[side].management_shell, &cmdlet).await;
        said.and_then(|o| shell::pool_state(&o, &pool.fqdn))
    };
    let of = |side: Side| async move {
        let problem = match from(side, cmdlets::get_state()).await {
            Ok(state) => return Ok(state),
            Err(problem) => problem,
        };
        // While the Central Management store is down, the replica on the host itself still knows.
        let local = from(side, cmdlets::get_state_local()).await;
        local.map(|state| PoolState { of_replica: true, ..state }).map_err(|_| problem)
    };
    let problem = match of(first).await {
        Ok(state) => return (first, Ok(state), None),
        Err(problem) => problem,
    };
    if ask_the_other && let Ok(state) = of(first.other()).await {
        return (first.other(), Ok(state), Some(problem));
    }
    (first, Err(problem), None)
}

async fn ask<S: Systems>(
    systems: &S,
    at: &ManagementShell,
    cmdlet: &Cmdlet,
) -> Result<Vec<ShellObject>, Problem> {
    let out = said(systems, at, cmdlet).await?;
    shell::clean_output(&out, cmdlet, at).map(<[ShellObject]>::to_vec)
}
