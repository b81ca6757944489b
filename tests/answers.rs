//! Answers that end too early, that say something else, or too much: the operator's own client over a real socket, with every statement
//! that the operator sends. What is not proven is not believed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "answers/decoders.rs"]
mod decoders;
#[path = "common/product.rs"]
mod product;
#[path = "answers/server.rs"]
mod server;

use std::sync::Arc;
use std::time::Duration;

use lab::tsql::{ColumnType, Done, Ends, Event, Kind};
use lab::world::answers::{Answered, End};
use product::{
    Cell, Ending, ErrorClass, Proof, Rows, ServerError, SqlError, SqlSession as _, Statement, TdsSession,
    errors, statements,
};
use server::{Server, error, info};

/// No answer of these tests takes longer, however loaded the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

/// A statement of the list, with something for each of its parameters: what it means is not looked at here.
fn statement(listed: &statements::Listed) -> Statement {
    let parameters = (1..).take_while(|n| listed.text.contains(&format!("@P{n}")));
    Statement {
        text: listed.text.clone(),
        parameters: parameters.map(|_| "mgc".into()).collect(),
        doing: "asking",
        long: false,
        proof: proof(listed),
    }
}

/// Without what its answer says nothing.
fn proof(listed: &statements::Listed) -> Proof {
    if listed.looks { Proof::ResultSet } else { Proof::Ending }
}

/// The statements that can be sent in a session; the one that sets it up is sent by opening one.
fn in_a_session() -> Vec<statements::Listed> {
    statements::listed().into_iter().filter(|l| l.text != statements::session()).collect()
}

fn done(failed: bool) -> Event {
    let ends = Ends::Statement;
    Event::Done(Done { ends, command: 193, count: None, failed, rows: false, nocount: false })
}

/// The row that a batch ends in.
fn ending_with(error: u32, returned: i64) -> Event {
    let int = ColumnType { kind: Kind::Int(4), nullable: true };
    Event::Rows {
        columns: vec![("error".into(), int), ("returned".into(), int)],
        rows: vec![vec![lab::tsql::Cell::Int(error.into()), lab::tsql::Cell::Int(returned)]],
        order: vec![],
    }
}

fn ending(error: u32) -> Event {
    ending_with(error, 0)
}

/// Two rows of two columns.
fn rows() -> Event {
    let text = ColumnType { kind: Kind::NVarChar(0), nullable: true };
    let row = |t: &str| vec![lab::tsql::Cell::Text(t.into()), lab::tsql::Cell::Null];
    Event::Rows {
        columns: vec![("one".into(), text), ("two".into(), text)],
        rows: vec![row("a"), row("b")],
        order: vec![1],
    }
}

/// A whole answer: something told, what was asked for, and the row that it ends in.
fn whole(proof: Proof) -> Vec<Event> {
    let told = [info(3014), done(false)];
    let asked = match proof {
        Proof::ResultSet => vec![rows(), done(false)],
        Proof::Ending => vec![],
    };
    told.into_iter().chain(asked).chain([ending(0), done(false)]).collect()
}

/// How many tokens events are.
fn tokens(events: &[Event]) -> usize {
    let of = |e: &Event| match e {
        Event::Rows { rows, order, .. } => 1 + usize::from(!order.is_empty()) + rows.len(),
        _ => 1,
    };
    events.iter().map(of).sum()
}

/// Of every statement, what is not as it should be.
async fn every<F, R>(server: &Arc<Server>, check: F) -> Vec<String>
where
    F: Fn(Arc<Server>, statements::Listed) -> R,
    R: Future<Output = Vec<String>> + Send + 'static,
{
    let mut all = tokio::task::JoinSet::new();
    let mut wrong = Vec::new();
    for listed in in_a_session() {
        // Some at once: each has its own session, and its own answers.
        if all.len() >= 4 {
            wrong.extend(all.join_next().await.unwrap().unwrap());
        }
        all.spawn(check(server.clone(), listed));
    }
    wrong.extend(all.join_all().await.into_iter().flatten());
    wrong
}

/// What is believed of a lost answer is nothing, and for all that is known the statement was carried out.
fn is_lost<T>(answer: &Result<T, SqlError>) -> bool {
    matches!(answer, Err(e @ (SqlError::Lost(_) | SqlError::Protocol(_))) if e.outcome_unknown() && e.ends_the_session())
}

/// How an answer to a statement can end too early: all of it for one statement of each form, and the worst of it for every one, in which
/// nothing has come, or everything but the row that proves it.
fn early_ends(listed: &statements::Listed, tokens: usize) -> Vec<End> {
    let at = |n| [End::GivenUp(n), End::Acknowledged(n), End::CutOff(n)];
    // A look as a batch and as a call, and an effect.
    if ["IDENTITY", "DATABASE", "write_record"].contains(&listed.name.as_str()) {
        return (0..=tokens).flat_map(at).collect();
    }
    vec![End::GivenUp(0), End::Acknowledged(0), End::GivenUp(tokens - 2), End::CutOff(tokens - 2)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_ends_before_its_proof_is_lost_whoever_ended_it() {
    let server = Arc::new(Server::start().await);
    let wrong = every(&server, |server, listed| async move {
        let (mut wrong, answer) = (vec![], whole(proof(&listed)));
        // Up to the row that it ends in, which stands before its own end.
        let proven = tokens(&answer) - 1;
        for end in early_ends(&listed, tokens(&answer)) {
            server.answer(&listed.text, Answered { instead: Some(answer.clone()), end });
            let got = server.open().await.send(&statement(&listed), Some(PATIENCE)).await;
            let proves = match end {
                End::GivenUp(n) | End::Acknowledged(n) => n >= proven,
                End::CutOff(_) | End::Usual => false,
            };
            if if proves { got.is_err() } else { !is_lost(&got) } {
                wrong.push(format!("{}, {end:?}: {got:?}", listed.name));
            }
        }
        wrong
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{} of them\n{}", wrong.len(), wrong.join("\n"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_whose_set_up_is_not_proven_is_none() {
    let server = Server::start().await;
    let answer = whole(Proof::Ending);
    for n in 0..tokens(&answer) {
        for end in [End::GivenUp(n), End::Acknowledged(n), End::CutOff(n)] {
            let proves = n + 1 == tokens(&answer) && !matches!(end, End::CutOff(_));
            server.answer(&statements::session(), Answered { instead: Some(answer.clone()), end });
            let got = server.try_open().await.map(|_| ());
            assert!(if proves { got.is_ok() } else { is_lost(&got) }, "{end:?}: {got:?}");
        }
    }
}

/// The errors that were recorded of real servers, with numbers that are only in the operator's table.
fn recorded() -> Vec<(u32, u8, u8)> {
    let facts = include_str!("../crates/lab/tests/recorded/facts.json");
    let facts: Vec<serde_json::Value> = serde_json::from_str(facts).unwrap();
    let said = facts.iter().flat_map(|f| f["said"].as_array().cloned().unwrap_or_default());
    let number = |v: &serde_json::Value| u32::try_from(v.as_u64().unwrap()).unwrap();
    let small = |v: &serde_json::Value| u8::try_from(v.as_u64().unwrap()).unwrap();
    let mut all: Vec<(u32, u8, u8)> = said
        .filter(|m| m[0] == "error")
        .map(|m| (number(&m[1]), small(&m[2]), small(&m[3])))
        .chain([(3203, 16, 1), (3441, 17, 1), (3414, 21, 1), (11801, 16, 1), (3241, 16, 0), (1205, 13, 51)])
        .chain([(1222, 16, 51), (41316, 16, 0), (3167, 16, 1), (266, 16, 2)])
        .collect();
    all.sort_unstable();
    all.dedup();
    assert!(all.len() > 50);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_error_that_was_recorded_is_told_at_every_statement_and_never_believed() {
    let server = Arc::new(Server::start().await);
    let wrong = every(&server, |server, listed| async move {
        let mut session = server.open().await;
        let mut wrong = after_3013(&server, &listed, &mut session).await;
        wrong.extend(a_code_only(&server, &listed, &mut session).await);
        for (number, class, state) in recorded() {
            let mut answer = vec![error(number, class, state), error(3013, 16, 1), done(true)];
            // What is refused ends its statement, and the batch goes on; what ends the session ends everything.
            if class < 20 {
                answer.extend([ending(3013), done(false)]);
            }
            server.answer(&listed.text, Answered { instead: Some(answer), end: End::Usual });
            let got = session.send(&statement(&listed), Some(PATIENCE)).await;
            let told = matches!(&got, Err(SqlError::Server(e)) if e.number == number && e.class == class);
            let unknown = got.as_ref().is_err_and(SqlError::outcome_unknown);
            let shown = got
                .as_ref()
                .map_or_else(|e| errors::problem(e, &server.at, "asking").message(), |_| String::new());
            if !told || unknown != (class >= 20) || !shown.contains(&number.to_string()) {
                wrong.push(format!("{}, {number}: {got:?}, {shown}", listed.name));
            }
            if got.as_ref().is_err_and(SqlError::ends_the_session) {
                session = server.open().await;
            }
        }
        wrong
    });
    let wrong = wrong.await;
    assert!(wrong.is_empty(), "{} of them\n{}", wrong.len(), wrong.join("\n"));
}

/// An answer that fails when the database is started: what tells why comes behind 3013 (recorded).
async fn after_3013(server: &Server, listed: &statements::Listed, session: &mut TdsSession) -> Vec<String> {
    let answer = vec![error(3013, 16, 1), error(3441, 17, 1), done(true), ending(3441), done(false)];
    server.answer(&listed.text, Answered { instead: Some(answer), end: End::Usual });
    match session.send(&statement(listed), Some(PATIENCE)).await {
        Err(SqlError::Server(e @ ServerError { number: 3013, last: Some(3441), .. }))
            if errors::classify(&e) == ErrorClass::Unusable =>
        {
            vec![]
        }
        other => vec![format!("{}: {other:?}", listed.name)],
    }
}

/// A procedure that fails with an information and a code only (recorded of sp_getapplock).
async fn a_code_only(server: &Server, listed: &statements::Listed, session: &mut TdsSession) -> Vec<String> {
    let answer = vec![info(15625), done(false), rows(), ending_with(0, -999), done(false)];
    server.answer(&listed.text, Answered { instead: Some(answer), end: End::Usual });
    match session.send(&statement(listed), Some(PATIENCE)).await {
        Err(SqlError::Returned(Ending { error: 0, returned: -999 })) => vec![],
        other => vec![format!("{}: {other:?}", listed.name)],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_messages_before_an_answer_change_nothing_about_it() {
    let server = Server::start().await;
    let told = |rest: Vec<Event>| std::iter::repeat_n(info(3211), 10_000).chain(rest).collect::<Vec<_>>();
    // One session for all: what was believed leaves it as it was.
    let mut session = server.open().await;
    for listed in in_a_session() {
        let answer = Answered { instead: Some(told(whole(proof(&listed)))), end: End::Usual };
        server.answer(&listed.text, answer);
        let got = session.send(&statement(&listed), Some(PATIENCE)).await;
        let expected = match proof(&listed) {
            Proof::ResultSet => 2,
            Proof::Ending => 0,
        };
        assert!(matches!(&got, Ok(rows) if rows.rows.len() == expected), "{}: {got:?}", listed.name);
    }
    for listed in [in_a_session().remove(0), in_a_session().pop().unwrap()] {
        server.answer(&listed.text, Answered { instead: Some(told(vec![])), end: End::GivenUp(10_000) });
        let got = server.open().await.send(&statement(&listed), Some(PATIENCE)).await;
        assert!(is_lost(&got), "{}: {got:?}", listed.name);
    }
}

/// Values of every type, as columns announce them, with what each is read as.
fn values() -> Vec<(Kind, lab::tsql::Cell, Cell)> {
    use lab::tsql::Cell as Is;
    let at = |t: &str| Cell::DateTime(t.parse().unwrap());
    let time = || Is::Time("2026-03-01T12:34:56.500".into());
    let text = |t: &str| Cell::Text(t.into());
    let bytes = |b: &[u8]| Cell::Bytes(b.to_vec());
    let guid = "6F9619FF-8B86-D011-B42D-00C04FC964FF";
    let mut all = vec![
        (Kind::Bit, Is::Bit(true), Cell::Bool(true)),
        (Kind::Numeric(25, 0), Is::Lsn(10i128.pow(22)), Cell::Numeric(10i128.pow(22))),
        (Kind::Numeric(38, 0), Is::Lsn(-7), Cell::Numeric(-7)),
        (Kind::Numeric(25, 2), Is::Lsn(7), Cell::Numeric(7)),
        (Kind::Float(8), Is::Float(1.5), Cell::Float(1.5)),
        (Kind::Float(4), Is::Float(1.5), Cell::Float(1.5)),
        (Kind::NVarChar(0), Is::Text("ä\u{1F986}".into()), text("ä\u{1F986}")),
        (Kind::NVarChar(40), Is::Text("abc".into()), text("abc")),
        (Kind::VarChar(0), Is::Text("abc".into()), text("abc")),
        (Kind::VarChar(40), Is::Text("abc".into()), text("abc")),
        (Kind::NChar(4), Is::Text("abc".into()), text("abc ")),
        (Kind::Char(4), Is::Text("abc".into()), text("abc ")),
        (Kind::VarBinary(8), Is::Text("abc".into()), bytes(b"abc")),
        (Kind::Binary(4), Is::Text("abc".into()), bytes(b"abc\0")),
        (Kind::Guid, Is::Guid(guid.into()), Cell::Guid(guid.into())),
        (Kind::DateTime, time(), at("2026-03-01T12:34:56.500")),
        (Kind::DateTime2(3), time(), at("2026-03-01T12:34:56.500")),
        (Kind::DateTime2(7), time(), at("2026-03-01T12:34:56.500")),
        (Kind::DateTime2(0), time(), at("2026-03-01T12:34:56")),
        (Kind::Variant, Is::Text("abc".into()), text("abc")),
    ];
    all.extend([1, 2, 4, 8].map(|width| (Kind::Int(width), Is::Int(7), Cell::Int(7))));
    let kinds: Vec<Kind> = all.iter().map(|(kind, ..)| *kind).collect();
    all.extend(kinds.into_iter().map(|kind| (kind, Is::Null, Cell::Null)));
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_any_type_is_read_as_what_it_is_or_not_at_all() {
    let server = Server::start().await;
    let mut wrong = Vec::new();
    let asked = Statement::read(statements::HELD, vec!["x".into()]);
    let mut session = server.open().await;
    for (kind, value, read) in values() {
        for nullable in [true, false] {
            if !nullable && value == lab::tsql::Cell::Null {
                continue;
            }
            let set = Event::Rows {
                columns: vec![("value".into(), ColumnType { kind, nullable })],
                rows: vec![vec![value.clone()]],
                order: vec![],
            };
            let answer = vec![set, done(false), ending(0), done(false)];
            server.answer(&asked.text, Answered { instead: Some(answer), end: End::Usual });
            let got = session.send(&asked, Some(PATIENCE)).await;
            if !matches!(&got, Ok(Rows { rows, .. }) if rows == &vec![vec![read.clone()]]) {
                wrong.push(format!("{kind:?} nullable {nullable} {value:?}: {got:?}, expected {read:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
