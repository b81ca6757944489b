//! Counts the messages that a database holds and the live one lacks, before it is overwritten.
//!
//! By key, which is `<channelId, chatId>` (page `tblChat`, Lync Server 2013), and by date: both databases have given numbers since they parted,
//! and nothing says that they are not the same ones. What an old database holds is looked for only from the moment on up to which everything
//! was kept for certain; in the live one, which chat uses, only in the range of each channel's own numbers. Both only read, each on a session
//! of its own, in a bounded time. Nothing is decided by what comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::content::{DateUnit, table};
use super::{Parameter, SqlSession, Statement, statements};
use crate::domain::pool::{Pool, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::reading::Reading;
use crate::domain::seed::Lost;

/// Longest wait for an answer of the old database, of whose largest table all is read: nobody uses it any more.
const OLD: Duration = Duration::from_secs(120);
/// Longest wait for an answer of the live one.
const LIVE: Duration = Duration::from_secs(5);
/// Longest wait for all of it: the locks of the pool are held meanwhile.
const ALL: Duration = Duration::from_mins(5);
/// What can be done where they are not counted.
const BY_HAND: &str = "Compare the databases by hand after the saved one was restored under another name";
/// How many messages are compared at most, of the old database and of each channel of the live one.
const MOST: usize = 100_000;
/// How far the clocks of servers may differ: Kerberos lets no more than five minutes pass (the default of "Maximum tolerance for computer
/// clock synchronization"), to either side.
const CLOCKS: SignedDuration = SignedDuration::from_mins(10);

/// The texts that count them, for whoever is to read what would be done.
pub fn shown(pool: &Pool) -> Vec<String> {
    let database = &pool.database;
    vec![
        statements::newest_message(database),
        statements::messages_since(database, MOST + 1),
        statements::messages_of_a_channel(database, MOST + 1),
    ]
}

/// A session, and the server that it is on.
pub struct Asked<'a, S> {
    /// The session: it serves nothing else.
    pub session: S,
    /// Its server.
    pub server: &'a SqlServer,
}

/// A message within its channel: `chatId` and `chatDate`.
type Message = (i64, i64);

/// Counts them. An error: what was in the way.
pub async fn count<S: SqlSession>(
    old: &mut Asked<'_, S>,
    live: &mut Asked<'_, S>,
    pool: &Pool,
    kept_until: Timestamp,
) -> Result<Lost, Problem> {
    let counted = tokio::time::timeout(ALL, compare(old, live, pool, kept_until)).await;
    counted.unwrap_or_else(|_| {
        Err(Problem::retry(
            Reason::HostUnresponsive,
            format!("The messages were not compared within {} minutes", ALL.as_secs() / 60),
            BY_HAND,
        ))
    })
}

async fn compare<S: SqlSession>(
    old: &mut Asked<'_, S>,
    live: &mut Asked<'_, S>,
    pool: &Pool,
    kept_until: Timestamp,
) -> Result<Lost, Problem> {
    const NEWEST: &str = "reading the newest message";
    let text = statements::newest_message(&pool.database);
    let newest = old.ask((NEWEST, &text), vec![], OLD, |r, row| r.big(row, "newest")).await?;
    let Some(newest) = newest.into_iter().next().flatten() else {
        return Ok(Lost::Counted { messages: 0, more: false });
    };
    let Some((from, unit)) = kept_until.checked_sub(CLOCKS).ok().zip(DateUnit::of(newest)) else {
        return Err(Problem::retry(
            Reason::UnexpectedAnswer,
            format!("chatDate {newest} of tblChat is a date in a unit that is not known"),
            BY_HAND,
        ));
    };
    let text = statements::messages_since(&pool.database, MOST + 1);
    let since = vec![unit.number(from).into()];
    let rows = old
        .ask(("reading the messages of the old database", &text), since, OLD, |r, row| {
            Ok((r.number(row, "channelId")?, (r.must_big(row, "chatId")?, r.must_big(row, "chatDate")?)))
        })
        .await?;
    let more = rows.len() > MOST;
    let mut channels: BTreeMap<i32, BTreeSet<Message>> = BTreeMap::new();
    for (channel, message) in rows {
        channels.entry(channel).or_default().insert(message);
    }
    let text = statements::messages_of_a_channel(&pool.database, MOST + 1);
    let mut messages = 0;
    for (channel, there) in channels {
        let (Some(first), Some(last)) = (there.first(), there.last()) else { continue };
        let range = vec![channel.into(), first.0.into(), last.0.into()];
        let here = live
            .ask(("reading the messages of the live database", &text), range, LIVE, |r, row| {
                Ok((r.must_big(row, "chatId")?, r.must_big(row, "chatDate")?))
            })
            .await?;
        if here.len() > MOST {
            return Err(Problem::retry(
                Reason::UnexpectedAnswer,
                format!(
                    "Channel {channel} of the live database holds more messages in that range than are compared"
                ),
                BY_HAND,
            ));
        }
        let here: BTreeSet<Message> = here.into_iter().collect();
        messages += there.difference(&here).count() as u64;
    }
    Ok(Lost::Counted { messages, more })
}

impl<S: SqlSession> Asked<'_, S> {
    async fn ask<T>(
        &mut self,
        (doing, text): (&'static str, &str),
        parameters: Vec<Parameter>,
        deadline: Duration,
        read: impl Fn(&super::Rows, &[super::Cell]) -> Result<T, String>,
    ) -> Result<Vec<T>, Problem> {
        let statement = Statement::read(text, parameters);
        match table(&mut self.session, self.server, (doing, &statement), deadline, read).await {
            Reading::Known(rows) => Ok(rows),
            Reading::Unknown(problem) => Err(problem),
        }
    }
}
