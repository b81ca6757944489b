//! RESTORE HEADERONLY, LABELONLY, FILELISTONLY: what a file of backups says of itself.

use super::Seat;
use super::batch::Batch;
use super::ends::{Said, command};
use super::lexer::Token;
use super::restore::abnormal;
use super::values::{Errors, Event};
use crate::sql::backup::BackupHeader;
use crate::sql::{backup, catalog};
use crate::world::journal::Effect;

impl Batch {
    /// `RESTORE LABELONLY`. How its ends are told is not recorded: as those of HEADERONLY.
    pub(super) fn label(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let path = self.disk(t).unwrap_or_default();
        let entry = self.journal(seat, Effect::Read, "RESTORE LABELONLY", Some(path.clone()));
        let result = backup::read(seat.world.files.as_ref(), &path);
        let set = seat.finish(entry, result).map_err(|e| vec![e, abnormal("RESTORE LABELONLY")])?;
        let (columns, rows) = catalog::label(seat, &set);
        out.push(Event::Rows { columns, rows, order: Vec::new() });
        self.say(seat, Said::Rows(command::HEADERS, 1), out);
        Ok(Said::Plain(command::HEADERS_ENDED))
    }

    /// `RESTORE FILELISTONLY`. How its ends are told is not recorded: as those of HEADERONLY.
    pub(super) fn file_list(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let path = self.disk(t).unwrap_or_default();
        let entry = self.journal(seat, Effect::Read, "RESTORE FILELISTONLY", Some(path.clone()));
        let position = self.number_of_option(t, "FILE").unwrap_or(1);
        let result = backup::set_at(seat.world.files.as_ref(), &path, position);
        let set = seat.finish(entry, result).map_err(|e| vec![e, abnormal("RESTORE FILELISTONLY")])?;
        let (columns, rows) = catalog::file_list(seat, &set);
        let count = rows.len() as u64;
        out.push(Event::Rows { columns, rows, order: Vec::new() });
        self.say(seat, Said::Rows(command::HEADERS, count), out);
        Ok(Said::Plain(command::HEADERS_ENDED))
    }

    /// `RESTORE HEADERONLY`
    pub(super) fn headers(
        &mut self,
        seat: &mut Seat<'_>,
        t: &[Token],
        out: &mut Vec<Event>,
    ) -> Result<Said, Errors> {
        let path = self.disk(t).unwrap_or_default();
        let entry = self.journal(seat, Effect::Read, "RESTORE HEADERONLY", Some(path.clone()));
        let wanted = self.number_of_option(t, "FILE");
        let result = backup::sets(seat.world.files.as_ref(), &path);
        let sets = seat.finish(entry, result).map_err(|e| vec![e, abnormal("RESTORE HEADERONLY")])?;
        let sets: Vec<(usize, BackupHeader)> =
            (1..).zip(sets).filter(|(position, _)| wanted.is_none_or(|w| w == *position)).collect();
        let (columns, rows) = catalog::headers(seat, &sets);
        let count = rows.len() as u64;
        out.push(Event::Rows { columns, rows, order: Vec::new() });
        // Two ends, of the rows and of the statement (recorded).
        self.say(seat, Said::Rows(command::HEADERS, count), out);
        Ok(Said::Plain(command::HEADERS_ENDED))
    }
}
