//! What every server holds, for a reader outside.

use serde_json::{Value, json};

use crate::world::World;

use super::{Database, Instance, is_up};

/// What every server holds, by the FQDN of its host.
pub fn state(world: &World) -> Value {
    Value::Object(world.sql.values().map(|i| (i.host.clone(), server(world, i))).collect())
}

fn server(world: &World, i: &Instance) -> Value {
    let databases: Vec<_> = i.databases.values().map(|d| database(world, i, d)).collect();
    let jobs: Vec<_> = i
        .jobs
        .iter()
        .map(|j| json!({"name": j.name, "enabled": j.enabled, "category": j.category.name()}))
        .collect();
    let primary: Vec<_> = i
        .log_shipping_primary
        .iter()
        .map(|p| {
            json!({
                "database": p.database,
                "backupDirectory": p.directory,
                "lastBackup": p.last_backup.as_ref().map(|f| &f.path),
            })
        })
        .collect();
    json!({
        "serverName": i.server_name,
        "up": is_up(world, &i.host),
        "databases": databases,
        "jobs": jobs,
        "logShipping": secondaries(i),
        "logShippingPrimary": primary,
    })
}

/// Up to where a database holds what was committed: while it restores, up to where it was rolled forward; a mirror what its principal holds.
fn log_end(world: &World, d: &Database) -> i128 {
    let key = d.name.to_lowercase();
    let partner = d.mirroring.as_ref().filter(|m| m.role == 2).map(|m| &m.partner);
    let principal = partner.and_then(|p| world.sql.get(p)).and_then(|i| i.databases.get(&key));
    match principal.filter(|p| p.is_live() && p.family == d.family && p.fork == d.fork) {
        Some(principal) => principal.log_end,
        None => d.redo.as_ref().map_or(d.log_end, |redo| redo.0),
    }
}

fn database(world: &World, i: &Instance, d: &Database) -> Value {
    let state = match (d.state, d.standby) {
        (0, true) => "STANDBY",
        (0, false) => "ONLINE",
        (1, _) => "RESTORING",
        _ => "OTHER",
    };
    let mirroring = d.mirroring.as_ref().map(|m| {
        json!({
            "role": if m.role == 1 { "PRINCIPAL" } else { "MIRROR" },
            "state": if m.state == 4 { "SYNCHRONIZED" } else { "DISCONNECTED" },
            "partner": m.partner,
        })
    });
    let inside = i.sessions.values().filter(|s| s.database == d.name.to_lowercase());
    json!({
        "name": d.name,
        "state": state,
        "readOnly": d.read_only,
        "redoStartLsn": d.redo.as_ref().map(|r| r.0.to_string()),
        "logEnd": log_end(world, d).to_string(),
        "recoveryFork": d.fork,
        "mirroring": mirroring,
        "sessions": inside.map(|s| s.host.clone()).collect::<Vec<_>>(),
    })
}

/// The secondary half: one entry for each database.
fn secondaries(i: &Instance) -> Vec<Value> {
    let rows = i.log_shipping.iter().flat_map(|s| s.databases.iter().map(move |d| (s, d)));
    rows.map(|(s, d)| {
        json!({
            "database": d.database,
            "source": s.source,
            "destination": s.destination,
            "lastCopied": s.last_copied.as_ref().map(|f| &f.path),
            "lastRestored": d.last_restored.as_ref().map(|f| &f.path),
        })
    })
    .collect()
}
