//! Whether a SQL Server is reached from a Management Shell host. Two cmdlets say so: `Test-NetConnection` whether something accepts
//! connections at its port, `Test-CsDatabase` whether the database is to be had. Both answer by properties of their objects; errors
//! count by their numbers. Words are shown and decide nothing.

use psrp::message::ErrorRecord;

use super::read::{clean_output, strange};
use super::{Cmdlet, ShellOutput, diagnostics};
use crate::domain::pool::{ManagementShell, SqlServer};
use crate::domain::problem::{Problem, Reason};
use crate::domain::text::clean;

/// The severity that the driver gives to a connection that could not be made.
const NO_CONNECTION: i32 = 20;

/// What `Test-CsDatabase` says of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DatabaseTest {
    /// `Succeed` is true: the cmdlet was in it.
    Succeeded,
    /// Something accepted the connection, as the error's `Server` shows: that is no silence. Whether the database lives is another
    /// question: the words may be those of a hung server, of a refused login, or of a database that is suspect.
    Accepted(String),
    /// As far as its error says, no connection was made. To which server is not said: it reads the topology from another one first.
    NotConnected(String),
    /// `Succeed` is false: not to be had, not deployed, not allowed, or asked in a wrong way. That is not "not reached".
    NotConfirmed(String),
}

/// Whether something accepts connections at a port, by `Test-NetConnection`.
pub fn port_accepts(out: &ShellOutput, cmdlet: &Cmdlet, shell: &ManagementShell) -> Result<bool, Problem> {
    let tested = |wanted: bool| out.objects.iter().find(|o| o.flag("TcpTestSucceeded") == Some(wanted));
    if tested(true).is_some() {
        return Ok(true);
    }
    // With an error beside it, a test that did not succeed may be one that was not made.
    clean_output(out, cmdlet, shell)?;
    let Some(o) = tested(false) else {
        return Err(strange(format!("{} on {} shows no TcpTestSucceeded", cmdlet.name, clean(&shell.host))));
    };
    let resolved = o.flag("NameResolutionSucceeded");
    match (resolved, o.text("RemoteAddress")) {
        (Some(true), _) | (None, Some(_)) => Ok(false),
        (Some(false), _) | (None, None) => Err(Problem::ask(
            Reason::HostUnreachable,
            format!(
                "{} does not know the address of what it was to test, so it has tried nothing",
                clean(&shell.host)
            ),
            format!("Mend the name resolution of {}", clean(&shell.host)),
        )),
    }
}

/// What `Test-CsDatabase` says of a database on a server.
pub fn database_test(
    out: &ShellOutput,
    cmdlet: &Cmdlet,
    shell: &ManagementShell,
    host: &str,
    database: &str,
) -> Result<DatabaseTest, Problem> {
    let about = |name: Option<String>| name.is_none_or(|n| n.trim().eq_ignore_ascii_case(database));
    let objects = out.objects.iter().filter(|o| about(o.text("DatabaseName")));
    let succeeded: Vec<Option<bool>> = objects.map(|o| o.flag("Succeed")).collect();
    if succeeded.contains(&Some(true)) {
        return Ok(DatabaseTest::Succeeded);
    }
    let said = || match diagnostics::of(out).told() {
        Some(told) => without_guids(&told),
        None => "it said nothing further".into(),
    };
    let signs: Vec<Sign> = out.errors.iter().filter_map(|e| sign(e, host)).collect();
    if signs.contains(&Sign::Accepted) {
        return Ok(DatabaseTest::Accepted(said()));
    }
    if signs.contains(&Sign::NotConnected) {
        return Ok(DatabaseTest::NotConnected(said()));
    }
    clean_output(out, cmdlet, shell)?;
    match succeeded.as_slice() {
        [_, ..] if succeeded.iter().all(Option::is_some) => Ok(DatabaseTest::NotConfirmed(said())),
        _ => Err(strange(format!(
            "{} on {} does not say of {} whether it succeeded: {}",
            cmdlet.name,
            clean(&shell.host),
            clean(database),
            said()
        ))),
    }
}

/// A text without GUIDs. Each run of the cmdlet names a report of its own, and what stands in a status must not change at every look.
fn without_guids(text: &str) -> String {
    let is_guid = |part: &[char]| {
        part.iter().enumerate().all(|(n, c)| match n {
            8 | 13 | 18 | 23 => *c == '-',
            _ => c.is_ascii_hexdigit(),
        })
    };
    let chars: Vec<char> = text.chars().collect();
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    while let Some(c) = chars.get(at) {
        match chars.get(at..at + 36).is_some_and(is_guid) {
            true => {
                out.push('…');
                at += 36;
            }
            false => {
                out.push(*c);
                at += 1;
            }
        }
    }
    out
}

/// What the numbers of one error say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    Accepted,
    NotConnected,
}

/// What an error says of a server, by the numbers of the `SqlException` in it. One about another server says nothing of this one:
/// the topology is read from the Central Management store first.
fn sign(e: &ErrorRecord, host: &str) -> Option<Sign> {
    e.exceptions.iter().find_map(|x| {
        let server = x.server.as_deref()?.trim();
        if server.is_empty() {
            let none = x.class == Some(NO_CONNECTION) || x.number == Some(0);
            return none.then_some(Sign::NotConnected);
        }
        names(server, host).then_some(Sign::Accepted)
    })
}

/// Whether `SqlException.Server` (`tcp:host,port`, `host\instance`) is a host's.
fn names(server: &str, host: &str) -> bool {
    let name = server.split_once(':').map_or(server, |(_, name)| name);
    let name = name.split(['\\', ',']).next().unwrap_or_default().trim();
    let short = |full: &str| full.split('.').next().unwrap_or_default().to_ascii_lowercase();
    // A name without a domain is the same host's; two different domains are not.
    match name.contains('.') && host.contains('.') {
        true => name.eq_ignore_ascii_case(host),
        false => short(name) == short(host),
    }
}

/// Both answers together. Reached is a database that let the cmdlet in; not reached, a port of which a TCP test that was made says so;
/// the rest is not known.
pub fn reached(
    port: Result<bool, Problem>,
    database: Result<DatabaseTest, Problem>,
    server: &SqlServer,
    shell: &ManagementShell,
) -> Result<bool, Problem> {
    let at = format!("{}:{}", clean(&server.host), server.port);
    let seen_from = format!("{} ({})", shell.field, clean(&shell.host));
    let unclear = |what: String| {
        Problem::ask(
            Reason::SourceUnknown,
            what,
            format!("Look at {}: it may hang, or still be starting", server.name()),
        )
    };
    match (port, database) {
        (_, Ok(DatabaseTest::Succeeded)) => Ok(true),
        (Ok(false), Ok(DatabaseTest::Accepted(said))) => Err(unclear(format!(
            "Nothing accepts connections at {at}, as {seen_from} sees it, but {} accepted one there: {said}",
            server.name()
        ))),
        (Ok(false), Ok(DatabaseTest::NotConnected(_) | DatabaseTest::NotConfirmed(_)) | Err(_)) => Ok(false),
        (
            Ok(true),
            Ok(
                DatabaseTest::Accepted(said)
                | DatabaseTest::NotConnected(said)
                | DatabaseTest::NotConfirmed(said),
            ),
        ) => Err(unclear(format!(
            "Something accepts connections at {at}, as {seen_from} sees it; the database there is not confirmed: {said}"
        ))),
        (Ok(true), Err(p)) => Err(unclear(format!(
            "Something accepts connections at {at}, as {seen_from} sees it; the database there is not confirmed: {}",
            p.what
        ))),
        (
            Err(p),
            Ok(
                DatabaseTest::Accepted(said)
                | DatabaseTest::NotConnected(said)
                | DatabaseTest::NotConfirmed(said),
            ),
        ) => Err(Problem { what: format!("{}; Test-CsDatabase: {said}", p.what), ..p }),
        (Err(p), Err(of_database)) => Err(Problem { what: format!("{}; {}", p.what, of_database.what), ..p }),
    }
}

#[cfg(test)]
mod tests {
    use psrp::clixml::Value;

    use super::*;
    use crate::domain::pool::{Authentication, Tls};
    use crate::systems::management_shell::{ShellObject, cmdlets};

    const HOST: &str = "atl-sql-1.litwareinc.com";

    fn shell() -> ManagementShell {
        ManagementShell {
            host: "sea-fe-1.litwareinc.com".into(),
            port: 5985,
            configuration_name: "PersistentChat.Failover".into(),
            authentication: Authentication::Negotiate,
            credentials: "s".into(),
            tls: None,
            field: "spec.dataCenters[1].managementShell".into(),
        }
    }
    fn server() -> SqlServer {
        SqlServer {
            host: HOST.into(),
            instance: Some("CHAT".into()),
            port: 1433,
            credentials: "s".into(),
            tls: Tls::default(),
            field: "spec.dataCenters[0].sqlServer".into(),
        }
    }
    fn gave(members: &[&[(&str, Value)]]) -> ShellOutput {
        let object = |m: &&[(&str, Value)]| ShellObject(Value::object("T", m.to_vec()));
        ShellOutput {
            objects: members.iter().map(object).collect(),
            completed: true,
            ..ShellOutput::default()
        }
    }
    /// An error in French: what its numbers say.
    fn sql(server: &str, number: i32, class: i32) -> ErrorRecord {
        let mut e = ErrorRecord::new(
            "Délai de connexion expiré ; une erreur liée au réseau s'est produite.",
            "X,Test-CsDatabase",
            "System.Data.SqlClient.SqlException",
        );
        (e.exceptions[0].number, e.exceptions[0].class) = (Some(number), Some(class));
        e.exceptions[0].server = Some(server.into());
        e
    }
    fn failed(errors: Vec<ErrorRecord>) -> ShellOutput {
        ShellOutput { errors, completed: true, ..ShellOutput::default() }
    }
    fn port(out: &ShellOutput) -> Result<bool, Problem> {
        port_accepts(out, &cmdlets::test_connection(HOST, 1433), &shell())
    }
    fn database(out: &ShellOutput) -> Result<DatabaseTest, Problem> {
        database_test(out, &cmdlets::test_database(HOST, Some("CHAT")), &shell(), HOST, "mgc")
    }
    fn tcp(succeeded: bool, more: &[(&'static str, Value)]) -> ShellOutput {
        let mut members = vec![("TcpTestSucceeded", Value::Bool(succeeded))];
        members.extend_from_slice(more);
        gave(&[members.as_slice()])
    }
    fn address() -> (&'static str, Value) {
        ("RemoteAddress", Value::text("10.1.0.4"))
    }
    fn not_succeeded() -> ShellOutput {
        let mut out = gave(&[&[("DatabaseName", Value::text("mgc")), ("Succeed", Value::Bool(false))]]);
        out.warnings = vec!["Test-CsDatabase a rencontré des erreurs.".into(), "Rapport : C:\\x.html".into()];
        out
    }
    fn both(p: &ShellOutput, d: &ShellOutput) -> Result<bool, Problem> {
        reached(port(p), database(d), &server(), &shell())
    }

    #[test]
    fn a_dead_server_is_not_reached_and_a_silent_port_is_not_dead() {
        // The object is there in both cases, and no error.
        let dead = tcp(false, &[address(), ("NameResolutionSucceeded", Value::Bool(true))]);
        assert_eq!(both(&dead, &not_succeeded()), Ok(false));
        let silent = tcp(true, &[address()]);
        let p = both(&silent, &not_succeeded()).unwrap_err();
        assert_eq!(p.reason, Reason::SourceUnknown);
        assert!(p.what.contains(&format!("{HOST}:1433")) && p.what.contains("rencontré"), "{}", p.what);
        assert!(p.what.contains("x.html"), "all warnings are shown: {}", p.what);
        // As an error, told in any language: its time ran out after the port had accepted.
        for server in [format!("tcp:{HOST},1433"), format!(r"{HOST}\CHAT"), "atl-sql-1".into()] {
            let hangs = failed(vec![sql(&server, -2, 11)]);
            assert!(matches!(database(&hangs), Ok(DatabaseTest::Accepted(_))), "{server}");
            assert!(both(&silent, &hangs).is_err() && both(&dead, &hangs).is_err(), "never silence");
        }
    }

    #[test]
    fn what_is_said_of_a_server_is_the_same_at_every_look() {
        let report = "\"C:\\Temp\\Test-CsDatabase-b18d488a-8044-4679-bbf2-04d593cce8e6.html\" é";
        assert_eq!(without_guids(report), "\"C:\\Temp\\Test-CsDatabase-….html\" é");
        let mut out = not_succeeded();
        out.warnings.push(report.into());
        let p = both(&tcp(true, &[]), &out).unwrap_err();
        assert!(p.what.contains("Test-CsDatabase-….html"), "{}", p.what);
    }

    #[test]
    fn only_a_tcp_test_that_was_made_says_not_reached() {
        for (out, known) in [
            (tcp(false, &[address()]), true),
            (tcp(false, &[("NameResolutionSucceeded", Value::Bool(true))]), true),
            (tcp(false, &[("NameResolutionSucceeded", Value::Bool(false)), address()]), false),
            (
                tcp(
                    false,
                    &[("NameResolutionSucceeded", Value::Bool(false)), ("RemoteAddress", Value::Null)],
                ),
                false,
            ),
            (tcp(false, &[]), false),
            (gave(&[&[address()]]), false),
            (gave(&[]), false),
            (ShellOutput { errors: vec![ErrorRecord::default()], ..tcp(false, &[address()]) }, false),
            (ShellOutput { completed: false, ..tcp(false, &[address()]) }, false),
        ] {
            assert_eq!(port(&out).is_ok(), known, "{out:?}");
            assert_ne!(port(&out).ok(), Some(true));
            assert_eq!(both(&out, &not_succeeded()).is_ok(), known, "{out:?}");
        }
    }

    #[test]
    fn a_database_that_was_had_is_reached_whatever_the_port_says() {
        let had = gave(&[
            &[("DatabaseName", Value::text("mgccomp")), ("Succeed", Value::Bool(false))],
            &[("DatabaseName", Value::text("MGC")), ("Succeed", Value::Bool(true))],
        ]);
        for p in [tcp(true, &[]), tcp(false, &[address()]), tcp(false, &[]), gave(&[])] {
            assert_eq!(both(&p, &had), Ok(true));
        }
        let another = gave(&[&[("DatabaseName", Value::text("mgccomp")), ("Succeed", Value::Bool(true))]]);
        assert!(database(&another).is_err(), "another database's success says nothing of this one");
        assert!(database(&gave(&[&[("DatabaseName", Value::text("mgc"))]])).is_err());
        assert!(database(&gave(&[])).is_err());
        assert_eq!(
            database(&gave(&[&[("Succeed", Value::Bool(false))]])),
            Ok(DatabaseTest::NotConfirmed("it said nothing further".into()))
        );
    }

    #[test]
    fn an_error_counts_by_its_numbers_and_by_the_server_that_it_is_about() {
        let test = |errors| database(&failed(errors));
        assert!(matches!(test(vec![sql("", 0, 20)]), Ok(DatabaseTest::NotConnected(_))));
        assert!(matches!(test(vec![sql("", 53, 20)]), Ok(DatabaseTest::NotConnected(_))));
        assert!(matches!(test(vec![sql(HOST, 18456, 14)]), Ok(DatabaseTest::Accepted(_))));
        assert!(matches!(test(vec![sql("", 0, 20), sql(HOST, 18456, 14)]), Ok(DatabaseTest::Accepted(_))));
        // The Central Management store's own server is not the one that was asked about.
        assert!(test(vec![sql("tcp:cms-sql.litwareinc.com,1433", -2, 11)]).is_err());
        assert!(test(vec![sql("atl-sql-1.example.com", -2, 11)]).is_err());
        // Words alone say nothing, and neither does an error without numbers.
        let words = "A network-related error occurred. The server was not found or was not accessible. Timeout expired";
        let p = test(vec![
            ErrorRecord::new(words, "X", "System.Data.SqlClient.SqlException"),
            ErrorRecord::new("and another one", "Y", "System.Exception"),
        ])
        .unwrap_err();
        assert!(p.what.contains("Timeout expired") && p.what.contains("and another one"), "{}", p.what);
    }

    #[test]
    fn a_host_that_does_not_offer_the_cmdlet_says_which_one_to_make_visible() {
        let mut e = ErrorRecord::new(
            "Le terme n'est pas reconnu.",
            "CommandNotFoundException",
            "System.Management.Automation.CommandNotFoundException",
        );
        (e.category.number, e.category.target_name) = (Some(13), Some("Test-NetConnection".into()));
        let p = both(&failed(vec![e]), &not_succeeded()).unwrap_err();
        assert!(p.fix.contains(
            "Make Test-NetConnection visible in the session configuration PersistentChat.Failover"
        ));
        assert!(p.fix.contains("PowerShell 4"), "{}", p.fix);
        assert!(p.what.contains("rencontré"), "what the other one said is shown: {}", p.what);
    }
}
