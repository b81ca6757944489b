//! Survey: what a real pool shows of what is believed of the products. Read-only: a look, and a few questions that no decision needs.

use super::observe::{Observer, lync, site};
use super::{Clock, World};
use crate::domain::belief::Asked;
use crate::domain::pool::{Folder, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::side::{Place, Side};
use crate::domain::situation::Situation;
use crate::domain::sql_server::Instance;
use crate::steps::Reads;
use crate::systems::management_shell::reached::DatabaseTest;
use crate::systems::sql_server::content::{self, Content};
use crate::systems::sql_server::{SqlError, errors, read};
use crate::systems::{Folders as _, Systems, folders::Kind};

/// A file that nobody has: what SQL Server says of it is what is asked.
const NO_FILE: &str = "pcf-survey-no-such-file.trn";

/// Looks at a pool, and asks what only a survey needs.
pub async fn survey<S: Systems, C: Clock>(world: &World<'_, S, C>) -> (Situation, Asked) {
    let mut observer = Observer::default();
    // The first look finds out which side is active; the second one knows which copy to look at.
    observer.look(world, Reads::ALL, None).await;
    let s = observer.look(world, Reads::ALL, None).await;
    let live = Side::BOTH.into_iter().find(|side| s.sites[*side].live().is_some());
    let copy = live.map(Side::other);
    let (missing_file, mirror_test, master_answers, newest_message, listings) = futures::join!(
        missing_file(world, &s, copy),
        mirror_test(world, &s),
        master_answers(world, &s),
        newest_message(world, &s, live),
        listings(world, &s, copy)
    );
    (s, Asked { missing_file, mirror_test, master_answers, newest_message, listings })
}

/// The server that speaks at a place of a side.
fn speaking<'w, S: Systems, C>(
    world: &World<'w, S, C>,
    s: &'w Situation,
    side: Side,
    place: Place,
) -> Option<(&'w SqlServer, &'w Instance)> {
    let i = s.sites[side].partner(place)?.answer.instance().ok()?;
    Some((world.pool.sites[side].server(place)?, i))
}

async fn missing_file<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    s: &Situation,
    copy: Option<Side>,
) -> Option<Reading<(u32, Option<u32>)>> {
    let side = copy?;
    let (server, _) = speaking(world, s, side, Place::Store)?;
    let path = world.pool.sites[side].log_shipping.as_ref()?.copy_folder.file(NO_FILE);
    let numbers = async {
        let mut session = world.systems.sql(server).await?;
        read::missing_file(&mut session, &path).await
    };
    Some(numbers.await.map_err(|e| errors::problem(&e, server, "surveying")).into())
}

/// Of the first mirror that speaks to us.
async fn mirror_test<S: Systems, C: Clock>(world: &World<'_, S, C>, s: &Situation) -> Option<Reading<bool>> {
    let places =
        Side::BOTH.into_iter().flat_map(|side| [Place::Store, Place::Mirror].map(|place| (side, place)));
    let is_mirror = |i: &Instance| {
        let mirroring = i.database.as_ref().and_then(|d| d.mirroring.as_ref());
        mirroring.is_some_and(|m| !m.is_principal())
    };
    let (side, server) = places.into_iter().find_map(|(side, place)| {
        let (server, _) = speaking(world, s, side, place).filter(|(_, i)| is_mirror(i))?;
        Some((side, server))
    })?;
    let shell = &world.pool.sites[side].management_shell;
    let tested = site::test_database(world.systems, shell, server, &world.pool.database).await;
    let asked_itself = tested.and_then(|tested| match tested {
        DatabaseTest::Accepted(_) => Ok(true),
        // Nobody gets into a database that is a mirror (error 954): it was in that of the partner.
        DatabaseTest::Succeeded => Ok(false),
        DatabaseTest::NotConnected(why) | DatabaseTest::NotConfirmed(why) => {
            Err(Problem::retry(Reason::HostUnreachable, why, ""))
        }
    });
    Some(asked_itself.into())
}

/// Of a Management Shell host that is not the master itself.
async fn master_answers<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    s: &Situation,
) -> Option<Reading<bool>> {
    let master = &s.lync.central_management.known()?.active_master;
    let shells = Side::BOTH.map(|side| &world.pool.sites[side].management_shell);
    let away = shells.into_iter().rfind(|shell| !shell.host.eq_ignore_ascii_case(master))?;
    lync::master_answers(world.systems, away, master).await
}

async fn newest_message<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    s: &Situation,
    live: Option<Side>,
) -> Option<Reading<Option<jiff::Timestamp>>> {
    let side = live?;
    let (server, i) = speaking(world, s, side, s.sites[side].main_place())?;
    match world.systems.sql(server).await {
        Ok(mut session) => {
            let (what, mut i) = (Content { reports: false, newest_message: true }, i.clone());
            content::read(&mut session, server, world.pool, what, &mut i).await;
            Some(i.newest_message)
        }
        Err(e) => Some(Reading::Unknown(errors::problem(&e, server, "surveying"))),
    }
}

/// Both folders of the copy, as the mount and SQL Server list them.
async fn listings<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    s: &Situation,
    copy: Option<Side>,
) -> Vec<Reading<(usize, usize)>> {
    let Some((side, (server, _))) =
        copy.and_then(|side| Some((side, speaking(world, s, side, Place::Store)?)))
    else {
        return vec![];
    };
    let shipping = world.pool.sites[side].log_shipping.iter();
    let folders =
        shipping.flat_map(|x| [(Kind::BackupShare, &x.backup_share), (Kind::CopyFolder, &x.copy_folder)]);
    let asked = folders.map(|(kind, folder)| listing(world, side, server, kind, folder));
    futures::future::join_all(asked).await.into_iter().map(Reading::from).collect()
}

async fn listing<S: Systems, C: Clock>(
    world: &World<'_, S, C>,
    side: Side,
    server: &SqlServer,
    kind: Kind,
    folder: &Folder,
) -> Result<(usize, usize), Problem> {
    let told = |e: SqlError| errors::problem(&e, server, "surveying");
    let mounted = world.systems.folders().list(side, kind).await?;
    let mut session = world.systems.sql(server).await.map_err(told)?;
    let theirs = read::folder(&mut session, server, &folder.path).await.map_err(told)?;
    let theirs = theirs.get().map_err(Clone::clone)?;
    let both = mounted.files.iter().filter(|f| theirs.iter().any(|name| name.eq_ignore_ascii_case(&f.name)));
    Ok((mounted.files.len(), both.count()))
}
