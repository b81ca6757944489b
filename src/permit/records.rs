//! The records of a pool, as they are written and kept equal under its lock.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::domain::pool::Pool;
use crate::domain::problem::{Problem, Reason};
use crate::domain::record::schema_of;
use crate::domain::route::{Procedure, Route};
use crate::domain::side::Seat;
use crate::domain::transition::Transition;
use crate::systems::SqlSession;
use crate::systems::sql_server::{Parameter, Statement, errors, read, statements};

/// Longest wait for a statement that writes but does not restore.
pub(super) const WRITE: Duration = Duration::from_secs(60);
/// Sessions, each of which holds the lock of its server.
pub(super) type Sessions<Q> = BTreeMap<Seat, futures::lock::Mutex<Q>>;

/// That a server did not give its lock.
pub(super) fn not_locked(pool: &Pool) -> Problem {
    Problem::retry(
        Reason::LockHeld,
        format!("The lock {} was not taken there", pool.lock_resource()),
        "It is taken again",
    )
}

/// The statement that writes a record.
pub(super) fn record(pool: &Pool, t: &Transition) -> Result<Statement, Problem> {
    let document = serde_json::to_string(t)
        .map_err(|e| Problem::ask(Reason::InternalError, e.to_string(), "Report this as a defect"))?;
    let parameters = vec![
        pool.lock_resource().into(),
        pool.fqdn.clone().into(),
        t.id.clone().into(),
        schema_of(t.route).into(),
        Parameter::Text(document),
        // A pool does not see two thousand million transitions.
        i32::try_from(t.number).unwrap_or(i32::MAX).into(),
        t.kind().into(),
    ];
    Ok(Statement::write("writing the record", statements::write_record(), parameters))
}

/// The records of a server, read under its lock.
async fn records<Q: SqlSession>(
    sessions: &mut Sessions<Q>,
    pool: &Pool,
    seat: Seat,
) -> Result<Vec<Transition>, Problem> {
    let Some(server) = pool.server(seat) else { return Err(not_locked(pool)) };
    let Some(session) = sessions.get_mut(&seat) else { return Err(not_locked(pool)) };
    let found = read::records(session.get_mut(), server, pool).await;
    let found = found.map_err(|e| errors::problem(&e, server, "reading the record"))?;
    Ok(found.get().map_err(Clone::clone)?.iter().map(|r| r.transition.clone()).collect())
}

/// Whether a record lies on both sides. A switch has two that live, and either may be lost in the middle of it.
pub(super) fn is_kept_on_both_sides(route: Route) -> bool {
    match route.procedure {
        Procedure::Switch => true,
        Procedure::Failover | Procedure::Protect | Procedure::Align => false,
    }
}

/// Gives both partners of a mirror the same records, and those of switches to the other side (`both`) as well: one may have been away when
/// they were written, and it may be all that is left tomorrow. That it cannot be done stops nothing. Which home has.
pub(super) async fn agree<Q: SqlSession>(
    sessions: &mut Sessions<Q>,
    pool: &Pool,
    home: Seat,
    both: bool,
) -> Result<Vec<Transition>, Problem> {
    let here = records(sessions, pool, home).await?;
    let partners: Vec<Seat> =
        sessions.keys().filter(|s| **s != home && (both || s.side == home.side)).copied().collect();
    for partner in partners {
        if let Err(p) = copy_missing(sessions, pool, (home, &here), partner).await {
            tracing::warn!(problem = %p.message(), "the servers do not hold the same records");
        }
    }
    Ok(here)
}

async fn copy_missing<Q: SqlSession>(
    sessions: &mut Sessions<Q>,
    pool: &Pool,
    (home, here): (Seat, &[Transition]),
    partner: Seat,
) -> Result<(), Problem> {
    let there = &records(sessions, pool, partner).await?[..];
    for (seat, held, others) in [(partner, there, here), (home, here, there)] {
        let Some((server, session)) = pool.server(seat).zip(sessions.get_mut(&seat)) else { continue };
        let holds = |t: &Transition| held.iter().any(|x| x.id == t.id && x.revision >= t.revision);
        let belongs = |t: &Transition| home.side == partner.side || is_kept_on_both_sides(t.route);
        for t in others.iter().filter(|t| belongs(t) && !holds(t)) {
            let sent = session.get_mut().send(&record(pool, t)?, Some(WRITE)).await;
            sent.map_err(|e| errors::problem(&e, server, "copying the record"))?;
        }
    }
    Ok(())
}
