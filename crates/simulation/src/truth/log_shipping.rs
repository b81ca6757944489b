//! Log shipping runs from the side where chat is to the other one, and nothing is shipped over a database that lives.

use super::{Truth, Write, is_live};

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let (w, e) = (write.world, write.entry);
    let key = w.scenario.database.to_lowercase();
    let copy = w.sql.get(&e.server).and_then(|i| i.databases.get(&key));
    let told = || write.told();
    match e.name.as_str() {
        "EXEC sp_add_log_shipping_primary_database" | "EXEC sp_add_log_shipping_primary_secondary" => {
            let holds = copy.is_some_and(is_live) && write.side == write.active;
            truth.check("a log is shipped from the live database of the active side", holds, told);
        }
        "EXEC sp_add_log_shipping_secondary_primary" | "EXEC sp_add_log_shipping_secondary_database" => {
            let waits = copy.is_some_and(|d| !is_live(d) && d.mirroring.is_none());
            let other = write.active.is_some_and(|active| write.side == Some(active.other()));
            truth.check(
                "a log is shipped to a copy that waits for it, on the other side",
                waits && other,
                told,
            );
        }
        _ => {}
    }
}
