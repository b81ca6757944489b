//! `Install-CsMirrorDatabase`.

use psrp::clixml::Value;
use psrp::message::Command;

use super::{Finished, argument, text};
use crate::world::World;

pub(super) fn install(w: &mut World, c: &Command) -> Finished {
    let principal = text(c, "SqlServerFqdn").to_lowercase();
    let store = w.chat.stores.values().find(|s| s.sql_server.eq_ignore_ascii_case(&principal));
    let Some(mirror) = store.and_then(|s| s.mirror.clone()) else {
        return Finished::error(
            "NoMirror",
            "System.InvalidOperationException",
            format!("The topology defines no mirror for {principal}."),
        );
    };
    if w.chat.mirror_warns > 0 {
        w.chat.mirror_warns -= 1;
        return Finished::objects(vec![]).reported(w, "Install-CsMirrorDatabase", 1);
    }
    let drop_existing =
        argument(c, "DropExistingDatabasesOnMirror").and_then(Value::as_bool).unwrap_or(false);
    let database = w.scenario.database.clone();
    match crate::sql::mirror_check(w, &principal, &mirror, &database, drop_existing) {
        Ok(()) => {
            crate::sql::mirror_establish(w, &principal, &mirror, &database);
            Finished::objects(vec![])
        }
        Err(e) => Finished::error("InstallMirrorFailed", "System.InvalidOperationException", e),
    }
}
