//! What comes before what.

use super::{Truth, Write};

/// Judges a write of an operator.
pub(super) fn judge(truth: &mut Truth, write: &Write<'_>) {
    let told = || write.told();
    // Beside a live side that chat has not left, only that one is given what it should have.
    let aligns = write.active == Some(write.there.other());
    let shipping = write.instance.is_some_and(|i| !i.log_shipping.is_empty());
    match write.entry.name.as_str() {
        "RESTORE LOG" => {
            truth.check("logs are applied after log shipping was removed", !shipping, told);
        }
        "RESTORE DATABASE WITH RECOVERY" if !write.is_return() => {
            truth.check("recovery comes after log shipping was removed", !shipping, told);
        }
        "Set-CsPersistentChatState" => {
            truth.check("the pool's state comes after recovery", write.recovered, told);
        }
        "Install-CsMirrorDatabase" if !aligns => {
            truth.check("the mirror comes after recovery", write.recovered, told);
            truth.check("the mirror comes after the pool's state", write.pool_state_is_set(), told);
        }
        "Set-CsPersistentChatActiveServer" if !aligns => {
            // A switch lets chat end before: what was lost since the look that this was decided on, nobody could know.
            let ends = write.switch().is_some_and(|route| truth.has_just_lost(route.from, write.entry.time));
            let ready = (write.pool_state_is_set() && write.recovered) || ends;
            truth.check("active servers come after the pool's state", ready, told);
        }
        _ => {}
    }
}
