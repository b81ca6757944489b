//! Application locks, as recorded: they are counted, belong to a database, and know names of 255 characters, in which case counts.

use jiff::SignedDuration;

use super::super::Seat;
use super::super::values::SqlMessage;
use super::{Arguments, Returned};
use crate::sql::{AppLock, LockMode, lock_name};

/// Who says what is wrong with a lock.
const SAYS: &str = "sys.xp_userlock";

/// What a bad call answers: told, with a code, and no error (recorded).
fn told(number: u32, line: u32, what: String) -> Returned {
    let message = SqlMessage::info(number, what).of("sp_getapplock", line);
    Returned { said: vec![message], ..Returned::code(-999) }
}

/// An error of the procedure that it is carried out by: the calling procedure goes on, and returns -999 (recorded).
fn failed(error: SqlMessage) -> Returned {
    Returned { said: vec![error.of(SAYS, 1)], ..Returned::code(-999) }
}

/// The name and the owner of a lock, or what a call without them is told.
fn of_session(seat: &Seat<'_>, a: &Arguments) -> Result<String, Returned> {
    let owner = a.text("@LockOwner");
    if owner.is_empty() || owner.eq_ignore_ascii_case("Transaction") {
        if seat.session().is_some_and(|s| s.transaction.is_some()) {
            return Err(failed(SqlMessage::simulator("knows no locks of a transaction")));
        }
        let what = "You attempted to acquire a transactional application lock without an active transaction.";
        return Err(told(15626, 52, what.into()));
    }
    if !owner.eq_ignore_ascii_case("Session") {
        let what = format!("Option '{owner}' not recognized for '@LockOwner' parameter.");
        return Err(told(15625, 39, what));
    }
    if a.is_null("@Resource") {
        let what = "An invalid application lock resource was passed to xp_userlock.";
        return Err(failed(SqlMessage::refusal(1224, what).in_state(5)));
    }
    let principal = a.text("@DbPrincipal");
    if !principal.is_empty() && !["public", "dbo"].iter().any(|p| principal.eq_ignore_ascii_case(p)) {
        let what = format!("The database principal '{principal}' does not exist, or user is not a member.");
        return Err(failed(SqlMessage::refusal(1202, what)));
    }
    Ok(lock_name(&a.text("@Resource")))
}

pub(super) fn get(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let given = a.text("@LockMode");
    let Some(mode) = LockMode::named(&given) else {
        let what = format!("Option '{given}' not recognized for '@LockMode' parameter.");
        return Ok(told(15625, 26, what));
    };
    let resource = match of_session(seat, a) {
        Ok(resource) => resource,
        Err(returned) => return Ok(returned),
    };
    let timeout = a.number("@LockTimeout")?.unwrap_or(-1);
    if timeout < -1 {
        let what = "An invalid application lock time-out was passed to xp_userlock.";
        return Ok(failed(SqlMessage::refusal(1227, what).in_state(2)));
    }
    let (id, now) = (seat.id, seat.world.now);
    let database = seat.session().map(|s| s.database.clone()).unwrap_or_default();
    let i = seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let same = |l: &AppLock| l.database == database && l.resource == resource;
    if i.locks.iter().any(|l| same(l) && l.holder != id && !l.mode.allows(mode)) {
        if timeout == 0 {
            return Ok(Returned::code(-1));
        }
        // Nobody waits longer than this without a time-out of his own: the lab would never end.
        let longest = if timeout < 0 { 600_000 } else { timeout };
        return Ok(Returned {
            waits: Some(now + SignedDuration::from_millis(longest)),
            ..Returned::code(-1)
        });
    }
    match i.locks.iter_mut().find(|l| same(l) && l.holder == id) {
        Some(held) => {
            held.count += 1;
            held.mode = held.mode.max(mode);
        }
        None => i.locks.push(AppLock { database, resource, holder: id, mode, count: 1 }),
    }
    Ok(Returned::code(0))
}

pub(super) fn release(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let resource = match of_session(seat, a) {
        Ok(resource) => resource,
        Err(returned) => return Ok(returned),
    };
    let id = seat.id;
    let database = seat.session().map(|s| s.database.clone()).unwrap_or_default();
    let i = seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let held = |l: &AppLock| l.database == database && l.resource == resource && l.holder == id;
    let Some(lock) = i.locks.iter_mut().find(|l| held(l)) else {
        let what = format!(
            "Cannot release the application lock (Database Principal: 'public', Resource: '{resource}') because it is not currently held."
        );
        return Ok(failed(SqlMessage::refusal(1223, what)));
    };
    lock.count -= 1;
    if lock.count == 0 {
        i.locks.retain(|l| !held(l));
    }
    Ok(Returned::code(0))
}
