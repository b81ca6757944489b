//! LOGIN7: who logs in, to which database.

use super::request::utf16;
use crate::scenario::SqlServerVersion;
use crate::sql;
use crate::tsql::SqlMessage;
use crate::tsql::transactions::entrance;
use crate::world::SharedWorld;

/// What a login has asked for.
pub(super) struct Login {
    /// The version of TDS that the client speaks.
    pub(super) tds_version: u32,
    /// The database, as it is stored.
    pub(super) database: String,
    /// The same as it was written: it is echoed (recorded).
    pub(super) spelt: String,
}

/// The newest version of TDS that a server speaks: 7.4; of 2008 R2 7.3.
pub(super) fn tds_version(version: SqlServerVersion) -> u32 {
    if version == SqlServerVersion::V2008R2 { 0x730b_0003 } else { 0x7400_0004 }
}

/// Checks a LOGIN7: the session's id, or the errors by which it is refused.
pub(super) fn log_in(world: &SharedWorld, host: &str, login: &[u8]) -> Result<(u32, Login), Vec<SqlMessage>> {
    let word = |i: usize| login.get(i..i + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])));
    let field = |at: usize| login.get(word(at)..word(at) + word(at + 2) * 2).unwrap_or_default();
    let (client, user, program) = (utf16(field(36)), utf16(field(40)), utf16(field(48)));
    let plain: Vec<u8> = field(44).iter().map(|b| (b ^ 0xa5).rotate_left(4)).collect();
    let tds_version = login.get(4..8).and_then(|b| b.try_into().ok()).map_or(0x7400_0004, u32::from_le_bytes);
    let mut world = world.now();
    // The password is looked at before the database (recorded).
    let id = sql::login(&mut world, host, &user, &utf16(&plain), &client, &program)
        .map_err(|(number, text)| vec![SqlMessage::error(number, 14, text)])?;
    let asked = utf16(field(68));
    let spelt = if asked.is_empty() { "master".to_string() } else { asked };
    let entered = match world.sql.get(host) {
        Some(i) => entrance(i, &spelt, id),
        None => Err(SqlMessage::simulator("no instance")),
    };
    let Ok(database) = entered else {
        sql::logout(&mut world, host, id);
        let closed = format!("Cannot open database \"{spelt}\" requested by the login. The login failed.");
        return Err(vec![
            SqlMessage::error(4060, 11, closed),
            SqlMessage::error(18456, 14, sql::login_failed(&user)),
        ]);
    };
    if let Some(s) = world.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id)) {
        s.database = database.to_lowercase();
    }
    Ok((id, Login { tds_version, database, spelt }))
}
