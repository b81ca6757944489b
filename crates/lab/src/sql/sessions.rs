//! Sessions: who logs in, what ends with them.

use crate::scenario::Language;
use crate::tsql::Batch;
use crate::world::World;
use crate::world::journal::Outcome;

use super::agent::{self, AGENT};
use super::messages::LENGTH;
use super::{Instance, Options, Running, SQL_PASSWORD, SQL_USER, Session, is_up};

/// Ends the sessions of a lost data centre. Its databases keep what they had; mirroring is disconnected.
pub fn data_center_lost(world: &mut World, data_center: &str) {
    let hosts: Vec<String> =
        world.sql.keys().filter(|h| world.scenario.data_center_of(h) == Some(data_center)).cloned().collect();
    for host in hosts {
        let sessions: Vec<u32> =
            world.sql.get(&host).map(|i| i.sessions.keys().copied().collect()).unwrap_or_default();
        for id in sessions {
            logout(world, &host, id);
        }
        agent::lost(world, &host);
    }
}

/// Checks a login: error number and text if it is refused.
pub fn login(
    world: &mut World,
    host: &str,
    user: &str,
    password: &str,
    client: &str,
    program: &str,
) -> Result<u32, (u32, String)> {
    let language = world.scenario.dialect.language;
    let Some(i) = world.sql.get_mut(host) else { return Err((17187, "SQL Server is not ready".into())) };
    if !user.eq_ignore_ascii_case(SQL_USER)
        || password != SQL_PASSWORD
        || i.refused.contains(&user.to_lowercase())
    {
        return Err((18456, login_failed(user)));
    }
    Ok(open_session(i, language, &From { login: user, host: client, program }, "master"))
}

/// The words of error 18456, which writes a quote in a name so (recorded).
pub fn login_failed(user: &str) -> String {
    format!("Login failed for user '{}'.", user.replace('\'', "\\'"))
}

/// Who opens a session, as it says itself.
struct From<'a> {
    login: &'a str,
    host: &'a str,
    program: &'a str,
}

fn open_session(i: &mut Instance, language: Language, from: &From<'_>, database: &str) -> u32 {
    let id = i.next_session;
    i.next_session += 1;
    i.sessions.insert(
        id,
        Session {
            login: from.login.into(),
            host: from.host.into(),
            program: from.program.into(),
            database: database.into(),
            running: None,
            batch: None,
            options: Options { language, ..Options::default() },
            transaction: None,
            transactions: 0,
        },
    );
    id
}

/// Opens a session of the Agent's, which stands on the server itself.
pub(super) fn open_for_agent(world: &mut World, host: &str, program: &str, database: &str) -> Option<u32> {
    let language = world.scenario.dialect.language;
    let i = world.sql.get_mut(host)?;
    let client = i.server_name.clone();
    let from = From { login: AGENT, host: &client, program };
    Some(open_session(i, language, &from, &database.to_lowercase()))
}

/// Ends a session: its RESTORE is cut off, its locks are free.
pub fn logout(world: &mut World, host: &str, id: u32) {
    world.touch();
    let Some(i) = world.sql.get_mut(host) else { return };
    let Some(session) = i.sessions.remove(&id) else { return };
    i.locks.retain(|l| l.holder != id);
    break_off(world, host, session.batch, session.running);
}

/// Gives up what a session is at: an attention. The session lives on.
pub fn cancel(world: &mut World, host: &str, id: u32) {
    world.touch();
    let Some(session) = world.sql.get_mut(host).and_then(|i| i.sessions.get_mut(&id)) else { return };
    let (batch, running) = (session.batch.take(), session.running.take());
    break_off(world, host, batch, running);
}

/// Makes a session like new, as a pool of connections asks for: its locks are free, its database is the one that it has logged in to.
/// What it resets besides is nowhere recorded.
pub fn reset(world: &mut World, host: &str, id: u32, database: &str) {
    world.touch();
    let language = world.scenario.dialect.language;
    let Some(i) = world.sql.get_mut(host) else { return };
    i.locks.retain(|l| l.holder != id);
    if let Some(s) = i.sessions.get_mut(&id) {
        s.options = Options { language, ..Options::default() };
        s.transaction = None;
        s.database = database.to_lowercase();
    }
}

/// What a session was at is not carried out any more.
fn break_off(world: &mut World, host: &str, batch: Option<Batch>, running: Option<Running>) {
    let now = world.now;
    if let Some(hold) = batch.as_ref().and_then(Batch::hold) {
        world.breakpoints.release(hold);
    }
    let Some(i) = world.sql.get_mut(host) else { return };
    if let Some(running) = running {
        if let (Some(db), Some(file)) = (i.databases.get_mut(&running.database), running.file) {
            // What was rolled forward so far is not undone: only the same set can go on (error 4319 for any other).
            db.interrupted = Some(file);
        }
        world.journal.end(running.journal, now, Outcome::Aborted);
    }
}

/// A chat server connects to the content database.
pub fn chat_connect(
    world: &mut World,
    sql_host: &str,
    database: &str,
    client: &str,
    program: &str,
) -> Result<u32, String> {
    if !is_up(world, sql_host) {
        return Err(format!("{sql_host} does not answer"));
    }
    let language = world.scenario.dialect.language;
    let i = world.sql.get_mut(sql_host).ok_or("no such server")?;
    let key = database.to_lowercase();
    match i.databases.get(&key) {
        Some(db) if db.is_live() && db.user_access == 0 => {
            let from = From { login: "LITWARE\\RTCComponentService", host: &net_bios(client), program };
            Ok(open_session(i, language, &from, &key))
        }
        Some(_) | None => {
            Err(format!("Cannot open database \"{database}\" requested by the login. The login failed."))
        }
    }
}

/// The name that a Windows machine gives itself: NetBIOS cuts it at fifteen characters, in capitals.
pub(super) fn net_bios(host: &str) -> String {
    host.split('.').next().unwrap_or(host).chars().take(15).collect::<String>().to_uppercase()
}

/// Whether a chat server's session still lives.
pub fn session_alive(world: &World, sql_host: &str, id: u32) -> bool {
    is_up(world, sql_host) && world.sql.get(sql_host).and_then(|i| i.sessions.get(&id)).is_some()
}

/// A chat server says that it is alive, and somebody writes a message.
pub fn chat_ping(world: &mut World, sql_host: &str, database: &str, client: &str) {
    let now = world.now;
    if let Some(db) = world.sql.get_mut(sql_host).and_then(|i| i.databases.get_mut(&database.to_lowercase()))
    {
        db.identities.insert(client.into(), now);
        world.messages.commit(&db.fork, db.log_end, now);
        db.log_end += LENGTH;
    }
}
