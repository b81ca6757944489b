//! Application locks.

use super::super::Seat;
use super::super::values::SqlMessage;
use super::{Arguments, Returned};

pub(super) fn get(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let id = seat.id;
    let i = seat.instance_mut().ok_or_else(|| SqlMessage::simulator("no instance"))?;
    let resource = a.text("@Resource");
    match i.locks.get(&resource) {
        Some(holder) if *holder != id => Ok(Returned::code(-1)),
        Some(_) | None => {
            i.locks.insert(resource, id);
            Ok(Returned::code(0))
        }
    }
}

pub(super) fn release(seat: &mut Seat<'_>, a: &Arguments) -> Result<Returned, SqlMessage> {
    let (id, resource) = (seat.id, a.text("@Resource"));
    if let Some(i) = seat.instance_mut() {
        i.locks.retain(|r, holder| !(*r == resource && *holder == id));
    }
    Ok(Returned::code(0))
}
