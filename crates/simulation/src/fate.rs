//! What can happen to one call of an operator to the outside, how likely each of it is, and to which calls.

use persistent_chat_failover::systems::sql_server::{Proof, ServerError, Statement};
use serde::{Deserialize, Serialize};

/// What happens to one call of an operator to the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fate {
    /// It is carried out and answered.
    Ok,
    /// It never arrives.
    FailBefore,
    /// It is carried out, its answer is lost.
    AnswerLost,
    /// It is carried out, no answer ever comes.
    Hang,
    /// The process is killed before it is sent.
    KillBefore,
    /// The process is killed while it is carried out.
    KillDuring,
    /// The process is killed when the answer is there.
    KillAfter,
    /// Something that only a SQL Server does.
    Sql(SqlFate),
}

/// What a SQL Server does to a statement, as real ones were recorded to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SqlFate {
    /// It gives it up before it is carried out, a RESTORE in its middle: the answer ends without any error and without its row, and the
    /// session lives on.
    GivenUpBefore,
    /// The same when it has been carried out: of the rows of a look half have come.
    GivenUpAfter,
    /// An administrator has ended the session while it was idle: its lock is free, and the connection closed without a word.
    EndedIdle,
    /// An administrator ends the session while the statement runs: it is rolled back, a RESTORE cut off. Error 596.
    EndedRunning,
    /// The same when what it does is done, and only the rest of its answer is to come.
    EndedDone,
    /// It refuses it with two errors.
    Refused(Cause, Order),
}

/// Why a statement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Cause {
    /// The database, or the file, is in use.
    InUse,
    /// The file cannot be opened.
    Denied,
    /// The file is damaged.
    Damaged,
    /// It is done already. That need not be so.
    Superfluous,
    /// The database cannot be brought up as its files stand.
    Unusable,
}

/// Where the cause stands beside the error that wraps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Order {
    /// Before it, as most causes do.
    CauseFirst,
    /// After it, as what fails while a database is started does.
    CauseLast,
}

/// What a call is, as far as that decides what can befall it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// No statement at all: a login, a cmdlet, a folder, the API server.
    Other,
    /// A statement.
    Statement,
    /// `RESTORE HEADERONLY`.
    Headers,
    /// `RESTORE LOG`.
    RestoreLog,
    /// `RESTORE DATABASE`.
    RestoreDatabase,
    /// `ALTER DATABASE`.
    AlterDatabase,
}

impl Call {
    /// What a statement is. A look may speak of a RESTORE, and is none.
    pub fn of(statement: &Statement) -> Call {
        let kinds: &[(&str, Call)] = match statement.proof {
            Proof::ResultSet => &[("RESTORE HEADERONLY", Call::Headers)],
            Proof::Ending => &[
                ("RESTORE LOG", Call::RestoreLog),
                ("RESTORE DATABASE", Call::RestoreDatabase),
                ("ALTER DATABASE", Call::AlterDatabase),
            ],
        };
        kinds
            .iter()
            .find(|(word, _)| statement.text.contains(word))
            .map_or(Call::Statement, |(_, call)| *call)
    }

    /// Whether it takes its time, so that it can be cut off in its middle.
    pub fn is_long(self) -> bool {
        match self {
            Call::RestoreLog | Call::RestoreDatabase => true,
            Call::Other | Call::Statement | Call::Headers | Call::AlterDatabase => false,
        }
    }

    /// The error that wraps the cause where this fails.
    fn wrapper(self) -> Option<ServerError> {
        let abnormal = |verb: &str| error(3013, 16, 1, &format!("{verb} is terminating abnormally."));
        match self {
            Call::Other | Call::Statement => None,
            Call::Headers => Some(abnormal("RESTORE HEADERONLY")),
            Call::RestoreLog => Some(abnormal("RESTORE LOG")),
            Call::RestoreDatabase => Some(abnormal("RESTORE DATABASE")),
            Call::AlterDatabase => Some(error(5069, 16, 1, "ALTER DATABASE statement failed.")),
        }
    }
}

impl Cause {
    /// The error that a call is refused with for this; none: it is never refused for that. Numbers, classes and states as recorded.
    fn of(self, call: Call) -> Option<ServerError> {
        let device = "Cannot open backup device 'D:\\copy\\mgc.trn'. Operating system error";
        match (self, call) {
            (Cause::InUse, Call::RestoreLog | Call::Headers) => {
                let why =
                    "32(The process cannot access the file because it is being used by another process.)";
                Some(error(3201, 16, 2, &format!("{device} {why}.")))
            }
            (Cause::InUse, Call::RestoreDatabase) => {
                let what = "Exclusive access could not be obtained because the database is in use.";
                Some(error(3101, 16, 1, what))
            }
            (Cause::InUse, Call::AlterDatabase) => {
                let what = "Database state cannot be changed while other users are using the database 'mgc'";
                Some(error(5070, 16, 2, what))
            }
            (Cause::Denied, Call::RestoreLog | Call::Headers) => {
                Some(error(3201, 16, 2, &format!("{device} 5(Access is denied.).")))
            }
            (Cause::Damaged, Call::RestoreLog) => {
                Some(error(3203, 16, 1, "Read on \"D:\\copy\\mgc.trn\" failed: 13(The data is invalid.)"))
            }
            (Cause::Damaged, Call::Headers) => {
                let what = "The media family on device 'D:\\copy\\mgc.trn' is incorrectly formed. SQL Server cannot process this media family.";
                Some(error(3241, 16, 0, what))
            }
            (Cause::Superfluous, Call::RestoreLog) => {
                let what = "The log in this backup set terminates at LSN 1, which is too early to apply to the database.";
                Some(error(4326, 16, 1, what))
            }
            (Cause::Superfluous, Call::RestoreDatabase) => {
                Some(error(3153, 16, 2, "The database is already fully recovered."))
            }
            (Cause::Unusable, Call::RestoreDatabase) => {
                let what = "During startup of warm standby database 'mgc' (database ID 5), its standby file ('E:\\mgc.tuf') was inaccessible to the RESTORE statement.";
                Some(error(3441, 17, 1, what))
            }
            (
                Cause::InUse | Cause::Denied | Cause::Damaged | Cause::Superfluous | Cause::Unusable,
                Call::Other
                | Call::Statement
                | Call::Headers
                | Call::RestoreLog
                | Call::RestoreDatabase
                | Call::AlterDatabase,
            ) => None,
        }
    }

    /// The errors that a call is refused with for this, in their order; none: it is never refused for that.
    pub fn errors(self, order: Order, call: Call) -> Option<[ServerError; 2]> {
        let (cause, wrapper) = (self.of(call)?, call.wrapper()?);
        Some(match order {
            Order::CauseFirst => [cause, wrapper],
            Order::CauseLast => [wrapper, cause],
        })
    }
}

/// What a running statement says when its session is ended.
pub fn ended() -> ServerError {
    error(596, 21, 1, "Cannot continue the execution because the session is in the kill state.")
}

fn error(number: u32, class: u8, state: u8, message: &str) -> ServerError {
    ServerError { number, state, class, message: message.into(), last: None }
}

/// A refusal, as a fate.
const fn refused(cause: Cause, order: Order) -> Fate {
    Fate::Sql(SqlFate::Refused(cause, order))
}

/// Every fate but the good one, and how often it is dealt beside the others that the same call can have.
const BAD: [(Fate, u64); 21] = [
    (Fate::FailBefore, 4),
    (Fate::AnswerLost, 4),
    (Fate::Hang, 5),
    (Fate::KillBefore, 4),
    (Fate::KillDuring, 5),
    (Fate::KillAfter, 5),
    (Fate::Sql(SqlFate::GivenUpBefore), 8),
    (Fate::Sql(SqlFate::GivenUpAfter), 3),
    (Fate::Sql(SqlFate::EndedIdle), 2),
    (Fate::Sql(SqlFate::EndedRunning), 5),
    (Fate::Sql(SqlFate::EndedDone), 2),
    (refused(Cause::InUse, Order::CauseFirst), 2),
    (refused(Cause::InUse, Order::CauseLast), 2),
    (refused(Cause::Denied, Order::CauseFirst), 2),
    (refused(Cause::Denied, Order::CauseLast), 2),
    (refused(Cause::Damaged, Order::CauseFirst), 3),
    (refused(Cause::Damaged, Order::CauseLast), 3),
    (refused(Cause::Superfluous, Order::CauseFirst), 3),
    (refused(Cause::Superfluous, Order::CauseLast), 3),
    (refused(Cause::Unusable, Order::CauseFirst), 2),
    (refused(Cause::Unusable, Order::CauseLast), 5),
];

impl Fate {
    /// The bad ones that a call can have.
    pub fn bad(call: Call) -> impl Iterator<Item = Fate> {
        BAD.into_iter().map(|(fate, _)| fate).filter(move |fate| fate.fits(call))
    }

    /// A bad one that a call can have, by weight; every number stands for one.
    pub fn drawn(call: Call, number: u64) -> Fate {
        let fitting = || BAD.into_iter().filter(|(fate, _)| fate.fits(call));
        let mut left = number % fitting().map(|(_, weight)| weight).sum::<u64>().max(1);
        for (fate, weight) in fitting() {
            match left.checked_sub(weight) {
                Some(rest) => left = rest,
                None => return fate,
            }
        }
        Fate::Ok
    }

    /// Whether a call can have it.
    pub fn fits(self, call: Call) -> bool {
        match self {
            Fate::Ok
            | Fate::FailBefore
            | Fate::AnswerLost
            | Fate::Hang
            | Fate::KillBefore
            | Fate::KillDuring
            | Fate::KillAfter => true,
            Fate::Sql(SqlFate::Refused(cause, order)) => cause.errors(order, call).is_some(),
            Fate::Sql(
                SqlFate::GivenUpBefore
                | SqlFate::GivenUpAfter
                | SqlFate::EndedIdle
                | SqlFate::EndedRunning
                | SqlFate::EndedDone,
            ) => call != Call::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use persistent_chat_failover::systems::sql_server::statements::{Listed, listed};
    use std::collections::BTreeMap;

    #[test]
    fn every_fate_is_dealt_as_often_as_it_weighs_to_the_calls_that_can_have_it() {
        let calls = [
            Call::Other,
            Call::Statement,
            Call::Headers,
            Call::RestoreLog,
            Call::RestoreDatabase,
            Call::AlterDatabase,
        ];
        for call in calls {
            let fitting: BTreeMap<Fate, u64> = BAD.into_iter().filter(|(f, _)| f.fits(call)).collect();
            let mut dealt: BTreeMap<Fate, u64> = BTreeMap::new();
            for number in 0..fitting.values().sum() {
                *dealt.entry(Fate::drawn(call, number)).or_default() += 1;
            }
            assert_eq!(dealt, fitting, "{call:?}");
            assert_eq!(Fate::bad(call).count(), fitting.len());
        }
        assert!(BAD.into_iter().all(|(fate, _)| calls.into_iter().any(|call| fate.fits(call))));
        assert_eq!(Fate::bad(Call::Other).count(), 6);
    }

    #[test]
    fn a_statement_is_what_it_does_and_not_what_it_speaks_of() {
        for Listed { name, text, looks } in listed() {
            let statement = match looks {
                true => Statement::read(text, vec![]),
                false => Statement::write("", text, vec![]),
            };
            let expected = match name.split('(').next() {
                Some("HEADERS") => Call::Headers,
                Some("restore_log") => Call::RestoreLog,
                Some("leave_standby" | "recover" | "bring_back_online") => Call::RestoreDatabase,
                Some("set_multi_user" | "remove_mirroring") => Call::AlterDatabase,
                _ => Call::Statement,
            };
            assert_eq!(Call::of(&statement), expected, "{name}");
        }
    }

    #[test]
    fn two_errors_come_in_the_order_that_is_asked_for() {
        let numbers = |order, call| Cause::Unusable.errors(order, call).map(|e| e.map(|e| e.number));
        assert_eq!(numbers(Order::CauseLast, Call::RestoreDatabase), Some([3013, 3441]));
        assert_eq!(numbers(Order::CauseFirst, Call::RestoreDatabase), Some([3441, 3013]));
        assert_eq!(numbers(Order::CauseLast, Call::Statement), None);
    }
}
