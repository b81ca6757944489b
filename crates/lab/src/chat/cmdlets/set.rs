//! Cmdlets that change the pool's settings in the Central Management store.

use psrp::clixml::Value;
use psrp::message::Command;

use super::super::change;
use super::{Finished, argument, identity, text};
use crate::scenario::Store;
use crate::world::World;

/// `Set-CsPersistentChatState`.
pub(super) fn pool_state(w: &mut World, c: &Command) -> Finished {
    let state = text(c, "PoolState");
    match Store::of_pool_state(&state) {
        Some(store) if text(c, "Identity").eq_ignore_ascii_case(&identity(w)) => {
            change(w, |s| s.pool_state = store.pool_state().into());
            Finished::objects(vec![])
        }
        Some(_) => Finished::error(
            "ItemNotFound,Set-CsPersistentChatState",
            "System.Management.Automation.ItemNotFoundException",
            "Cannot find the identity.",
        ),
        None => Finished::terminating(
            "CannotConvertArgument,Set-CsPersistentChatState",
            "System.Management.Automation.ParameterBindingException",
            "Cannot bind parameter 'PoolState'.",
        ),
    }
}

/// `Set-CsPersistentChatActiveServer`.
pub(super) fn active_servers(w: &mut World, c: &Command) -> Finished {
    let list = argument(c, "ActiveServers");
    let values = |k: &str| {
        list.and_then(|l| l.get(k)).map(|v| v.as_list().iter().map(Value::shown).collect::<Vec<_>>())
    };
    // Null empties the list. A modifier that replaces by nothing leaves it as it is.
    let replaced = match list {
        Some(Value::Null) => Some(vec![]),
        Some(_) | None => values("Replace").filter(|r| !r.is_empty()),
    };
    let mut active = replaced.unwrap_or_else(|| w.chat.master.active.clone());
    active.extend(values("Add").unwrap_or_default());
    let remove = values("Remove").unwrap_or_default();
    active.retain(|h| !remove.contains(h));
    active.sort();
    active.dedup();
    if active.len() > 4 {
        return Finished::error(
            "TooManyActiveServers",
            "System.ArgumentException",
            "A pool can have at most 4 active servers.",
        );
    }
    if let Some(foreign) = active.iter().find(|h| !w.chat.servers.contains_key(*h)) {
        return Finished::error(
            "UnknownServer",
            "System.ArgumentException",
            format!("{foreign} is not a server of the pool."),
        );
    }
    change(w, |s| s.active = active);
    Finished::objects(vec![])
}
