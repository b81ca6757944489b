//! The list of all texts, for whoever checks them.

use super::*;

/// A text that the operator sends, for whoever checks all of them.
pub struct Listed {
    /// The item of the module that makes it, with what tells its variants apart.
    pub name: String,
    /// The text.
    pub text: String,
    /// Whether it only looks.
    pub looks: bool,
}

/// Every text of [`super`], in every variant and as it is sent; those that quote names with names that need it.
pub fn listed() -> Vec<Listed> {
    let constants = [
        ("IDENTITY", IDENTITY),
        ("DATABASE", DATABASE),
        ("REDO", REDO),
        ("SECONDARY_HALF", SECONDARY_HALF),
        ("PRIMARY_HALF", PRIMARY_HALF),
        ("PRIMARY_SECONDARIES", PRIMARY_SECONDARIES),
        ("JOBS", JOBS),
        ("SCHEDULES", SCHEDULES),
        ("HEADERS", HEADERS),
        ("LABEL", LABEL),
        ("FILE_LIST", FILE_LIST),
        ("INSTANCE_FILES", INSTANCE_FILES),
        ("FOLDER_LISTING", FOLDER_LISTING),
        ("SESSIONS", SESSIONS),
        ("RUNNING", RUNNING),
        ("RESTORE_HISTORY", RESTORE_HISTORY),
        ("OWN_BACKUPS", OWN_BACKUPS),
        ("LOCK", LOCK),
        ("HELD", HELD),
        ("LOCK_HOLDER", LOCK_HOLDER),
        ("RECORD_TABLE", RECORD_TABLE),
        ("RECORDS", RECORDS),
    ];
    let made = [
        ("session", session()),
        ("write_record", write_record()),
        ("enable_job(true)", enable_job(true)),
        ("enable_job(false)", enable_job(false)),
        ("start_job", start_job()),
        ("stop_job", stop_job()),
        ("run_job", run_job()),
        ("delete_job", delete_job()),
        ("add_schedule", add_schedule()),
        ("add_primary_half", add_primary_half()),
        ("add_primary_secondary", add_primary_secondary()),
        ("add_secondary_half", add_secondary_half()),
        ("remove_log_shipping(true)", remove_log_shipping(true)),
        ("remove_log_shipping(false)", remove_log_shipping(false)),
        ("leave_standby", leave_standby()),
        ("restore_log(true, 1, 0)", restore_log(true, 1, 0)),
        ("restore_log(false, 3, 0)", restore_log(false, 3, 0)),
        ("restore_log(true, 3, 2)", restore_log(true, 3, 2)),
        ("recover", recover()),
        ("take_tail", take_tail()),
        ("bring_back_online", bring_back_online()),
    ];
    let looks = constants.map(|(name, text)| (name.to_string(), text.to_string()));
    let looks = looks.into_iter().chain(quoted().flat_map(looks_inside));
    let looks = looks.map(|(name, text)| Listed { name, text: ended(text), looks: true });
    let made = made.map(|(name, text)| (name.to_string(), text));
    let writes = made.into_iter().chain(quoted().flat_map(writes_inside));
    looks.chain(writes.map(|(name, text)| Listed { name, text, looks: false })).collect()
}

/// Names that need quoting, beside one that does not.
fn quoted() -> impl Iterator<Item = &'static str> {
    ["mgc", "it's [the] \"chat\"; --", "SELECT"].into_iter()
}

/// The texts that look into a database.
fn looks_inside(name: &str) -> [(String, String); 5] {
    [
        (format!("orphaned_users({name})"), orphaned_users(name)),
        (format!("server_identities({name})"), server_identities(name)),
        (format!("newest_message({name})"), newest_message(name)),
        (format!("messages_since({name})"), messages_since(name, 1000)),
        (format!("messages_of_a_channel({name})"), messages_of_a_channel(name, 1000)),
    ]
}

/// The texts that change something in a database.
fn writes_inside(name: &str) -> [(String, String); 3] {
    [
        (format!("remove_mirroring({name})"), remove_mirroring(name)),
        (format!("set_multi_user({name})"), set_multi_user(name)),
        (format!("map_user({name})"), map_user(name, name)),
    ]
}
