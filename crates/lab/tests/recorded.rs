//! The simulated SQL Server against what real ones were recorded to answer: `recorded/facts.json`, one fact a line, made from public
//! captures and transcripts. What the lab does not have is listed there with the reason.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod wire;

use std::collections::BTreeMap;
use std::time::Duration;

use lab::scenario::{Dialect, Scenario, SqlServerVersion};
use lab::serve::Lab;
use lab::sql::{SQL_PASSWORD, SQL_USER};
use serde::Deserialize;
use wire::{Answer, Client, Value};

/// What a server was recorded to do.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Fact {
    id: String,
    /// Why it is not asked of the lab.
    left_out: Option<String>,
    /// It is no text that is sent, but something of a session's life: tested by name.
    #[serde(default)]
    special: bool,
    #[serde(default)]
    sql: String,
    /// The procedure that carries it out; absent: it is a batch.
    call: Option<String>,
    /// Parameters of it that give something back.
    #[serde(default)]
    output: Vec<String>,
    /// Facts with one name here are asked in one session, in their order.
    on: Option<String>,
    /// What was sent before in the same session, and in another one, and after it.
    #[serde(default)]
    before: Vec<String>,
    #[serde(default)]
    other: Vec<String>,
    #[serde(default)]
    after: Vec<String>,
    #[serde(default)]
    after_other: Vec<String>,
    /// Milliseconds after which the other session ends.
    leaves: Option<u64>,
    /// What the other session sends half a second later.
    other_later: Option<String>,
    /// Which server: the live one if absent.
    #[serde(default)]
    server: String,
    /// Only some of its columns were kept.
    #[serde(default)]
    some: bool,
    /// The columns of the last result set: name, type, whether it can be NULL.
    columns: Option<Vec<(String, String, bool)>>,
    /// The messages in their order: kind, number, class, state, and where it is recorded procedure and line.
    #[serde(default)]
    said: Vec<serde_json::Value>,
    rows: Option<Vec<Vec<Option<String>>>>,
    /// What a call returns; `null`: nothing.
    #[serde(default, deserialize_with = "given")]
    returned: Option<Option<i32>>,
    /// The tokens in their order.
    tokens: Option<Vec<String>>,
    /// Only the ends were kept.
    #[serde(default)]
    only_ends: bool,
}

/// Tells null from absent.
fn given<'de, D: serde::Deserializer<'de>>(d: D) -> Result<Option<Option<i32>>, D::Error> {
    Option::<i32>::deserialize(d).map(Some)
}

/// What stands for the names of files in a lab, one with two sets among them.
fn files(lab: &Lab) -> Vec<(&'static str, String)> {
    let d = lab.scenario().data_centers[1].clone();
    let mut w = lab.world().now();
    let files: Vec<String> = w.files.list(&d.copy_folder).unwrap().into_iter().map(|(n, _)| n).collect();
    let at = |n: usize| format!(r"{}\{}", d.copy_folder, files[n]);
    let sets = [0, 1].map(|n| w.files.read(&at(n)).unwrap());
    let two = format!(r"{}\two.bak", d.copy_folder);
    w.files.write(&two, &lab::sql::backup::append(&sets[0], &sets[1])).unwrap();
    vec![
        ("{two}", two),
        ("{first}", at(0)),
        ("{next}", at(6)),
        ("{last}", at(7)),
        ("{folder}", d.copy_folder.clone()),
        ("{own-file}", format!(r"{}\own.bak", d.backup_share)),
    ]
}

/// A lab, and what its texts have to be filled with.
struct Bench {
    ports: BTreeMap<&'static str, u16>,
    /// Names of files by server.
    names: BTreeMap<&'static str, Vec<(&'static str, String)>>,
    _labs: Vec<(Lab, tempfile::TempDir)>,
}

impl Bench {
    async fn new() -> Bench {
        let dialect = Dialect { sql_server: SqlServerVersion::V2022, ..Dialect::default() };
        let (mut ports, mut names, mut labs) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for standby in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            // Nobody is in the database: what was recorded had one user at a time.
            let mut scenario =
                Scenario { dialect, standby, backup_bytes: 100, restore_ms: 20, ..Scenario::default() };
            scenario.data_centers.iter_mut().for_each(|d| d.servers.clear());
            let lab = Lab::start(scenario, directory.path()).await.unwrap();
            let description = lab.description(None, directory.path(), &lab.operator_env());
            let port = |side: &str| {
                u16::try_from(description["dataCenters"][side]["sqlServer"]["port"].as_u64().unwrap())
                    .unwrap()
            };
            let of_lab = files(&lab);
            if standby {
                ports.insert("copy-standby", port("seattle"));
                names.insert("copy-standby", of_lab);
            } else {
                ports.insert("", port("atlanta"));
                ports.insert("copy", port("seattle"));
                names.insert("", of_lab.clone());
                names.insert("copy", of_lab);
            }
            labs.push((lab, directory));
        }
        Bench { ports, names, _labs: labs }
    }

    fn log_in(&self, server: &str) -> Client {
        Client::log_in(self.ports[server], SQL_USER, SQL_PASSWORD, "").0.unwrap()
    }

    fn filled(&self, server: &str, text: &str) -> String {
        self.names[server].iter().fold(text.to_string(), |t, (name, value)| t.replace(name, value))
    }

    /// What the lab answers.
    fn ask(&self, f: &Fact, kept: &mut BTreeMap<String, Client>) -> Answer {
        let mut client =
            f.on.as_ref().and_then(|on| kept.remove(on)).unwrap_or_else(|| self.log_in(&f.server));
        let mut other = self.log_in(&f.server);
        f.other.iter().for_each(|t| drop(other.batch(t)));
        f.before.iter().for_each(|t| drop(client.batch(t)));
        let own = client.batch("SELECT @@SPID AS own").rows[0][0].clone().unwrap();
        let text = self.filled(&f.server, &f.sql).replace("{own}", &own);
        let later = f.other_later.clone();
        let leaves = f.leaves;
        let waits = std::thread::spawn(move || {
            if leaves.is_some() || later.is_some() {
                std::thread::sleep(Duration::from_millis(500));
            }
            later.iter().for_each(|t| drop(other.batch(t)));
            leaves.is_none().then_some(other)
        });
        let mut other =
            if leaves.is_none() && f.other_later.is_none() { waits.join().unwrap() } else { None };
        let answer = sent(&mut client, f, &text);
        f.after.iter().for_each(|t| drop(client.batch(t)));
        if let Some(other) = &mut other {
            f.after_other.iter().for_each(|t| drop(other.batch(t)));
        }
        if let Some(on) = &f.on {
            kept.insert(on.clone(), client);
        }
        answer
    }
}

fn sent(client: &mut Client, f: &Fact, text: &str) -> Answer {
    let t = |t: &str| Value::Text(t.into());
    let declared = "@x int OUTPUT, @y int";
    match (f.call.as_deref(), f.id.as_str()) {
        (None, _) => client.batch(text),
        (Some("own"), "executesql-missing-value") => {
            let all =
                [("", t("SET @x = @y + 1"), false), ("", t(declared), false), ("@x", Value::Int(3), true)];
            client.call("sp_executesql", &all)
        }
        (Some("own"), "executesql-conversion") => {
            let all = [
                ("", t("SET @x = 1"), false),
                ("", t(declared), false),
                ("@x", Value::Int(3), true),
                ("@y", t("abc"), false),
            ];
            client.call("sp_executesql", &all)
        }
        (Some("own"), _) => {
            let all = [
                ("", Value::Narrow("SET @x = 1".into()), false),
                ("", t("@x int OUTPUT"), false),
                ("@x", Value::Int(3), true),
            ];
            client.call("sp_executesql", &all)
        }
        (Some("sp_prepexec"), _) => {
            client.call("sp_prepexec", &[("", Value::Int(0), true), ("", t(""), false), ("", t(text), false)])
        }
        (Some("procedure"), id) => {
            let name = if id == "rpc-getapplock" { "sp_getapplock" } else { "sp_releaseapplock" };
            let mut all = vec![("@Resource", t("probe"), false)];
            if id == "rpc-getapplock" {
                all.push(("@LockMode", t("Exclusive"), false));
            }
            all.push(("@LockOwner", t("Session"), false));
            client.call(name, &all)
        }
        (Some("sp_executesql"), _) if !f.output.is_empty() => {
            let all = [("", t(text), false), ("", t("@x int OUTPUT"), false), ("@x", Value::Int(0), true)];
            client.call("sp_executesql", &all)
        }
        (Some("sp_executesql"), _) => client.call("sp_executesql", &[("", t(text), false)]),
        (Some(name), _) => client.call(name, &[]),
    }
}

/// What of an answer is not as it was recorded.
fn differences(f: &Fact, a: &Answer) -> Vec<String> {
    let mut wrong = Vec::new();
    let said: Vec<serde_json::Value> = a
        .said
        .iter()
        .zip(f.said.iter().map(Some).chain(std::iter::repeat(None)))
        .map(|(s, should)| {
            let kind = if s.error { "error" } else { "info" };
            let all =
                serde_json::json!([kind, s.number, s.class, s.state, s.procedure.to_lowercase(), s.line]);
            let length = should.and_then(|v| v.as_array()).map_or(6, Vec::len);
            all.as_array().unwrap()[..length].to_vec().into()
        })
        .collect();
    if said != f.said {
        wrong.push(format!("said {said:?} ({:?}), recorded {:?}", a.said.last().map(|s| &s.text), f.said));
    }
    if let Some(columns) = &f.columns {
        let shown: Vec<_> = a.sets.last().cloned().unwrap_or_default();
        let kept = |name: &String| !f.some || columns.iter().any(|(n, ..)| n == name);
        let own: Vec<_> = shown
            .iter()
            .filter(|c| kept(&c.name))
            .map(|c| (c.name.clone(), c.kind.clone(), c.nullable))
            .collect();
        for (own, recorded) in own.iter().zip(columns).filter(|(o, r)| o != r).take(6) {
            wrong.push(format!("column {own:?}, recorded {recorded:?}"));
        }
        if own.len() != columns.len() {
            wrong.push(format!("{} columns, recorded {}", own.len(), columns.len()));
        }
        let has_fixed = ["tinyint", "smallint", "int", "bigint", "bit", "datetime", "float"];
        for c in shown.iter().filter(|c| has_fixed.contains(&c.kind.as_str()) && c.fixed == c.nullable) {
            wrong.push(format!("{} has the wrong form of its type", c.name));
        }
    }
    if let Some(rows) = f.rows.as_ref().filter(|rows| **rows != a.rows) {
        wrong.push(format!("rows {:?}, recorded {rows:?}", a.rows));
    }
    if let Some(returned) = f.returned.filter(|r| *r != a.returned) {
        wrong.push(format!("returned {:?}, recorded {returned:?}", a.returned));
    }
    if let Some(tokens) = &f.tokens {
        let kept = |t: &&String| !f.only_ends || t.starts_with("done");
        let own: Vec<&String> = a.tokens.iter().filter(kept).collect();
        if own != tokens.iter().collect::<Vec<_>>() {
            wrong.push(format!("tokens {own:?}\n      recorded {tokens:?}"));
        }
    }
    wrong
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_as_it_was_recorded() {
    let facts: Vec<Fact> = serde_json::from_str(include_str!("recorded/facts.json")).unwrap();
    let bench = Bench::new().await;
    tokio::task::block_in_place(|| {
        let (mut kept, mut wrong, mut as_recorded, mut left_out) = (BTreeMap::new(), Vec::new(), 0, 0);
        for f in &facts {
            if f.left_out.is_some() {
                left_out += 1;
                continue;
            }
            let different = if f.special {
                special::differences(&bench, &f.id)
            } else {
                differences(f, &bench.ask(f, &mut kept))
            };
            if different.is_empty() {
                as_recorded += 1;
            } else {
                wrong.push(format!("{}: {}\n    {}", f.id, f.sql, different.join("\n    ")));
            }
        }
        println!("{as_recorded} answered as recorded, {left_out} left out");
        let told = format!("{as_recorded} answered as recorded, {} differ, {left_out} left out", wrong.len());
        psrp::engine::driven_and_told("recorded", as_recorded, &told).unwrap();
        assert!(wrong.is_empty(), "{} differ\n{}", wrong.len(), wrong.join("\n"));
    });
}

/// What is no text that is sent: logging in, attention, being killed.
mod special {
    use std::time::Instant;

    use super::*;

    const HOLDS: &str = "ALTER DATABASE mgc SET SINGLE_USER WITH ROLLBACK IMMEDIATE";
    const FREES: &str = "ALTER DATABASE mgc SET MULTI_USER";

    fn expect<T: PartialEq + std::fmt::Debug>(is: T, should: T) -> Vec<String> {
        if is == should { vec![] } else { vec![format!("{is:?}, recorded {should:?}")] }
    }

    fn words(tokens: &[&str]) -> Vec<String> {
        tokens.iter().map(ToString::to_string).collect()
    }

    pub fn differences(bench: &Bench, id: &str) -> Vec<String> {
        match id {
            "login-master" | "login-empty-database" | "login-case" => login(bench, id),
            "login-unknown-database" => refused(bench, "nowhere", SQL_PASSWORD, &[(4060, 11), (18456, 14)]),
            "login-wrong-password" => refused(bench, "nowhere", "wrong", &[(18456, 14)]),
            "login/single-user-held" | "login-single-user" => {
                let mut holder = bench.log_in("");
                holder.batch(HOLDS);
                let wrong = refused(bench, "mgc", SQL_PASSWORD, &[(4060, 11), (18456, 14)]);
                holder.batch(FREES);
                wrong
            }
            "ignore-bit" => {
                let mut c = bench.log_in("");
                c.send(1, 3, &[]);
                expect(c.answer().unwrap().tokens, words(&["done 2 0 0"]))
            }
            "attention-idle" => {
                let mut c = bench.log_in("");
                c.send(6, 1, &[]);
                let mut wrong = expect(c.answer().unwrap().tokens, words(&["done 32 253 0"]));
                wrong.extend(expect(c.batch("SELECT 1").rows.len(), 1));
                wrong
            }
            "attention-batch" | "attention-rpc" | "attention-rpc-try" => attention(bench, id),
            _ => killed(bench, id),
        }
    }

    fn login(bench: &Bench, id: &str) -> Vec<String> {
        let database = match id {
            "login-master" => "master",
            "login-case" => "MASTER",
            _ => "",
        };
        let (_, a) = Client::log_in(bench.ports[""], SQL_USER, SQL_PASSWORD, database);
        let recorded = [
            "environment 1",
            "info",
            "environment 7",
            "environment 2",
            "info",
            "logged in",
            "environment 4",
            "done 0 0 0",
        ];
        let mut wrong = expect(a.tokens, words(&recorded));
        let said: Vec<_> = a.said.iter().map(|s| (s.number, s.class, s.state)).collect();
        wrong.extend(expect(said, vec![(5701, 0, 2), (5703, 0, 1)]));
        let spelt = if database.is_empty() { "master" } else { database };
        wrong.extend(expect(a.said[0].text.contains(&format!("'{spelt}'")), true));
        wrong
    }

    fn refused(bench: &Bench, database: &str, password: &str, recorded: &[(u32, u8)]) -> Vec<String> {
        let (client, a) = Client::log_in(bench.ports[""], SQL_USER, password, database);
        let said: Vec<_> = a.said.iter().map(|s| (s.number, s.class)).collect();
        let mut wrong = expect(said, recorded.to_vec());
        wrong.extend(expect((client.is_none(), a.tokens.last().cloned()), (true, Some("done 2 0 0".into()))));
        wrong
    }

    /// What was done before stays, and nobody says a word about what was given up. Which statement it was is told of a batch as the
    /// last condition in what was recorded; here it is none of the numbered ones.
    fn attention(bench: &Bench, id: &str) -> Vec<String> {
        let mut c = bench.log_in("");
        c.batch("IF OBJECT_ID(N't9') IS NULL CREATE TABLE t9 (id int)");
        let text = "INSERT INTO t9 VALUES (1); IF 1 = 1 WAITFOR DELAY '00:00:45'; SELECT 1 AS never";
        let text = if id == "attention-rpc-try" {
            format!("BEGIN TRY {text} END TRY BEGIN CATCH SELECT 2 AS caught END CATCH")
        } else {
            text.to_string()
        };
        if id == "attention-batch" {
            c.begin_batch(&text);
        } else {
            c.begin_call(&text);
        }
        std::thread::sleep(Duration::from_millis(300));
        c.send(6, 1, &[]);
        let (first, second) = (c.answer().unwrap(), c.answer().unwrap());
        let end = if id == "attention-batch" { "done 2 253 0" } else { "done-procedure 2 224 0" };
        let mut wrong = expect(first.tokens.last().cloned(), Some(end.to_string()));
        wrong.extend(expect(first.said.len(), 0));
        wrong.extend(expect(first.returned, None));
        wrong.extend(expect(second.tokens, words(&["done 32 253 0"])));
        wrong.extend(expect(c.batch("SELECT 1").rows.len(), 1));
        wrong
    }

    fn killed(bench: &Bench, id: &str) -> Vec<String> {
        let (mut c, mut other) = (bench.log_in(""), bench.log_in(""));
        let own = c.batch("SELECT @@SPID AS own").rows[0][0].clone().unwrap();
        c.batch("EXEC sp_getapplock N'killed', 'Exclusive', 'Session', 0");
        let running = id.ends_with("running-request") || id.ends_with("while-running");
        if running {
            c.begin_batch("WAITFOR DELAY '00:00:20'; SELECT 1 AS finished");
            std::thread::sleep(Duration::from_millis(300));
        }
        let began = Instant::now();
        other.batch(&format!("KILL {own}"));
        let free = other.batch("DECLARE @rc int; EXEC @rc = sp_getapplock N'killed', 'Exclusive', 'Session', 0; SELECT @rc AS rc");
        let mut wrong = expect(free.rows, vec![vec![Some("0".to_string())]]);
        if running {
            let a = c.answer().unwrap();
            wrong.extend(expect(a.tokens, words(&["error", "done 258 253 0"])));
            let said: Vec<_> = a.said.iter().map(|s| (s.number, s.class, s.state, s.line)).collect();
            wrong.extend(expect(said, vec![(596, 21, 1, 0)]));
        }
        wrong.extend(expect(c.answer(), None));
        wrong.extend(expect(began.elapsed() < Duration::from_secs(2), true));
        wrong
    }
}
