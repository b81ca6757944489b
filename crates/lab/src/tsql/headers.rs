//! RESTORE HEADERONLY, LABELONLY, FILELISTONLY: what a file of backups says of itself.

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::lexer::Token;
use super::restore::abnormal;
use super::values::{Cell, ColumnType, Errors, Event, SqlMessage};
use crate::sql::backup::BackupHeader;
use crate::sql::{backup, catalog};
use crate::world::files::Files;
use crate::world::journal::Effect;

impl Batch {
    /// `RESTORE LABELONLY`. How its ends are told is not recorded: as those of HEADERONLY.
    pub(super) fn label(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let set = self.read(seat, t, "RESTORE LABELONLY", backup::read)?;
        let rows = catalog::label(seat, &set);
        Ok(self.told(seat, rows, out))
    }

    /// `RESTORE FILELISTONLY`. How its ends are told is not recorded: as those of HEADERONLY.
    pub(super) fn file_list(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let position = self.number_of_option(t, "FILE").unwrap_or(1);
        let set =
            self.read(seat, t, "RESTORE FILELISTONLY", |files, path| backup::set_at(files, path, position))?;
        let rows = catalog::file_list(seat, &set);
        Ok(self.told(seat, rows, out))
    }

    /// `RESTORE HEADERONLY`
    pub(super) fn headers(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let wanted = self.number_of_option(t, "FILE");
        let sets = self.read(seat, t, "RESTORE HEADERONLY", backup::sets)?;
        let sets: Vec<(usize, BackupHeader)> =
            (1..).zip(sets).filter(|(position, _)| wanted.is_none_or(|w| w == *position)).collect();
        let rows = catalog::headers(seat, &sets);
        Ok(self.told(seat, rows, out))
    }

    /// What is read of the file that a statement names; the journal keeps how that ended.
    fn read<T>(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        name: &str,
        read: impl FnOnce(&dyn Files, &str) -> Result<T, SqlMessage>,
    ) -> Result<T, Errors> {
        let path = self.disk(t).unwrap_or_default();
        let entry = self.journal(seat, Effect::Read, name, Some(path.clone()));
        let result = read(seat.world.files.as_ref(), &path);
        seat.finish(entry, result).map_err(|e| vec![e, abnormal(name)])
    }

    /// Two ends, of the rows and of the statement (recorded).
    fn told(
        &mut self,
        seat: &Seat<'_>,
        (columns, rows): (Vec<(String, ColumnType)>, Vec<Vec<Cell>>),
        out: &mut Vec<Event>,
    ) -> Said {
        let count = rows.len() as u64;
        out.push(Event::Rows { columns, rows, order: Vec::new() });
        self.say(seat, Said::Rows(command::HEADERS, count), out);
        Said::Plain(command::HEADERS_ENDED)
    }
}
