//! One side: both partners, and whether others see it too.

use std::time::Duration;

use super::super::World;
use crate::domain::pool::{DataCenter, ManagementShell, Pool, SqlServer};
use crate::domain::problem::Problem;
use crate::domain::reading::{Reading, not_looked};
use crate::domain::side::{Place, Side};
use crate::domain::site::{Answer, Partner, Silence, Site};
use crate::domain::sql_server::Database;
use crate::systems::management_shell::reached::DatabaseTest;
use crate::systems::management_shell::{Cmdlet, ShellOutput, cmdlets, reached, read as read_shell};
use crate::systems::sql_server::content::{self, Content};
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Shell, Systems};

/// Longest wait for a cmdlet that only reads.
const CMDLET: Duration = Duration::from_secs(60);
/// Ports that are tried: SIP of a Front End, and Persistent Chat's own (documented defaults).
pub(super) const FRONT_END_PORT: u16 = 5061;
const CHAT_PORT: u16 = 5041;

/// A side that was not looked at.
pub fn unseen(d: &DataCenter) -> Site {
    let partner =
        |server: &SqlServer| Partner { server: server.name(), answer: Answer::NotAsked(not_looked()) };
    Site {
        store: partner(&d.sql_server),
        mirror: d.mirror.as_ref().map(partner),
        from_the_other_shell: vec![],
        ports: vec![(d.name.clone(), Reading::not_looked())],
        silence: Silence::default(),
    }
}

/// What one server says. What its database holds of the product's is asked on a session of its own.
pub async fn look_at_partner<S: Systems, C>(
    world: &World<'_, S, C>,
    server: &SqlServer,
    content: Content,
) -> Answer {
    let seen = async {
        let mut session = world.systems.sql(server).await?;
        read::instance(&mut session, server, world.pool).await
    };
    match seen.await {
        Ok(mut i) => {
            let is_live = i.database.as_ref().is_some_and(Database::is_live);
            if is_live
                && content != Content::default()
                && let Ok(mut session) = world.systems.sql(server).await
            {
                content::read(&mut session, server, world.pool, content, &mut i).await;
            }
            Answer::Speaks(Box::new(i))
        }
        Err(e) => {
            let p = errors::problem(&e, server, "looking");
            match e {
                SqlError::Unreachable(_) => Answer::Silent(p),
                SqlError::Unanswered(_)
                | SqlError::Tls(_)
                | SqlError::Login { .. }
                | SqlError::Server(_)
                | SqlError::Returned(_)
                | SqlError::Lost(_)
                | SqlError::Protocol(_) => Answer::TurnsAway(p),
                SqlError::NotAsked(_) => Answer::NotAsked(p),
            }
        }
    }
}

/// The partners of a side at some places, each in its place; what is not looked at stays as it was.
pub async fn look_at_partners<S: Systems, C>(
    world: &World<'_, S, C>,
    side: Side,
    places: &[Place],
    content: Content,
    site: &mut Site,
) {
    let d = &world.pool.sites[side];
    let asked = places.iter().filter_map(|place| Some((*place, d.server(*place)?)));
    let answers = asked.map(|(place, server)| async move {
        (place, Partner { server: server.name(), answer: look_at_partner(world, server, content).await })
    });
    for (place, partner) in futures::future::join_all(answers).await {
        match place {
            Place::Store => site.store = partner,
            Place::Mirror => site.mirror = Some(partner),
        }
    }
}

/// Whether others see a side: the Management Shell across, its Front End, its chat servers.
pub async fn look_from_elsewhere<S: Systems, C>(
    world: &World<'_, S, C>,
    side: Side,
) -> (Vec<(String, Reading<bool>)>, Vec<(String, Reading<bool>)>) {
    let d = &world.pool.sites[side];
    let targets = std::iter::once((d.management_shell.host.as_str(), FRONT_END_PORT, "the Front End"))
        .chain(d.servers.iter().map(|s| (s.as_str(), CHAT_PORT, "the chat server")));
    let ports = targets.map(|(host, port, what)| async move {
        (format!("{what} {host}:{port}"), Reading::from(world.systems.listens(host, port).await))
    });
    futures::join!(from_the_other_shell(world.systems, world.pool, side), futures::future::join_all(ports))
}

/// How the Management Shell of the other side sees the SQL Servers of a side: all at once, each by both cmdlets at once. One that is
/// slow makes only itself unknown.
async fn from_the_other_shell<S: Systems>(
    systems: &S,
    pool: &Pool,
    side: Side,
) -> Vec<(String, Reading<bool>)> {
    let (d, shell) = (&pool.sites[side], &pool.sites[side.other()].management_shell);
    let asked = std::iter::once(&d.sql_server).chain(&d.mirror).map(|server| async move {
        let (port, database) = futures::join!(
            test_port(systems, shell, &server.host, server.port),
            test_database(systems, shell, server, &pool.database)
        );
        (server.name(), reached::reached(port, database, server, shell).into())
    });
    futures::future::join_all(asked).await
}

/// Whether something accepts connections at a port, as a Management Shell host sees it.
pub(super) async fn test_port<S: Systems>(
    systems: &S,
    shell: &ManagementShell,
    host: &str,
    port: u16,
) -> Result<bool, Problem> {
    let test = cmdlets::test_connection(host, port);
    let out = said(systems, shell, &test).await?;
    reached::port_accepts(&out, &test, shell)
}

/// What `Test-CsDatabase` says of the database on a server.
pub async fn test_database<S: Systems>(
    systems: &S,
    shell: &ManagementShell,
    server: &SqlServer,
    database: &str,
) -> Result<DatabaseTest, Problem> {
    let test = cmdlets::test_database(&server.host, server.instance.as_deref());
    let out = said(systems, shell, &test).await?;
    reached::database_test(&out, &test, shell, &server.host, database)
}

/// What a cmdlet says that only reads.
pub(super) async fn said<S: Systems>(
    systems: &S,
    shell: &ManagementShell,
    cmdlet: &Cmdlet,
) -> Result<ShellOutput, Problem> {
    systems
        .shell()
        .invoke(shell, cmdlet, CMDLET)
        .await
        .map_err(|e| read_shell::problem(&e, shell, cmdlet.name))
}
