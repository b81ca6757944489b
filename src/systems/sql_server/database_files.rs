//! What is asked of a server when a log backup is refused: which files it is of, and which files the instance has.

use super::read::{READ, facts};
use super::{SqlError, SqlSession, Statement, statements};
use crate::domain::database_files::{Holds, Listed, Placed};
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::reading::Reading;

/// The files of the database that a set is of, as SQL Server reads them from it.
///
/// The page of RESTORE FILELISTONLY speaks of any backup set. That a log backup lists every file of its database is public code's
/// (dbatools reads the list of each, and restores each log WITH MOVE by it), and nowhere documented: what is refused without a MOVE is
/// restored with one, or is refused as before.
pub async fn listed<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    path: &str,
    position: i32,
) -> Result<Reading<Vec<Listed>>, SqlError> {
    let statement = Statement::read(statements::FILE_LIST, vec![path.into(), position.into()]);
    let rows = session.send(&statement, Some(READ)).await?;
    Ok(facts(&rows, server, "reading the list of files of a log backup", |r, row| {
        let holds = match r.must(row, "Type")?.trim() {
            "D" => Holds::Data,
            "L" => Holds::Log,
            _ => Holds::Other,
        };
        Ok(Listed {
            id: r.number(row, "FileId")?,
            holds,
            name: r.must(row, "LogicalName")?,
            path: r.must(row, "PhysicalName")?,
            // NULL by its page, and 0 as recorded of a file that is there.
            dropped: r.lsn(row, "DropLSN")?.is_some_and(|lsn| lsn.0 > 0),
        })
    }))
}

/// The files of the instance (`sys.master_files`: type 0 rows, 1 log).
pub async fn placed<S: SqlSession>(
    session: &mut S,
    server: &SqlServer,
    pool: &Pool,
) -> Result<Reading<Vec<Placed>>, SqlError> {
    let statement = Statement::read(statements::INSTANCE_FILES, vec![pool.database.as_str().into()]);
    let rows = session.send(&statement, Some(READ)).await?;
    Ok(facts(&rows, server, "reading the files of the instance", |r, row| {
        let holds = match r.number(row, "type")? {
            0 => Holds::Data,
            1 => Holds::Log,
            _ => Holds::Other,
        };
        Ok(Placed {
            own: r.flag(row, "own")?,
            id: r.number(row, "file_id")?,
            holds,
            path: r.must(row, "physical_name")?,
        })
    }))
}
