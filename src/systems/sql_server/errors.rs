//! Classes of SQL Server's errors, and what they mean to a human.

use super::numbers::{ErrorClass, Known, known};
use super::{ServerError, SqlError, statements};
use crate::domain::pool::SqlServer;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::text::clean;

/// Numbers that only wrap another error of the same statement.
fn wraps(number: u32) -> bool {
    matches!(number, 3013 | 3119 | 5069)
}

/// The class of an error. Of a statement that failed with several, the first need not be the cause: what fails while the database is
/// started comes after 3013. Both that are known are looked at, and the one that asks for more decides.
pub fn classify(e: &ServerError) -> ErrorClass {
    let first = of_number(e.number, e);
    match e.last {
        None => first,
        Some(last) if wraps(last) => first,
        Some(last) if wraps(e.number) => of_number(last, e),
        Some(last) => [first, of_number(last, e)].into_iter().max_by_key(|c| weight(*c)).unwrap_or(first),
    }
}

/// How much a class asks for.
fn weight(class: ErrorClass) -> u8 {
    match class {
        ErrorClass::AlreadyDone => 0,
        ErrorClass::Guard => 1,
        ErrorClass::Retry => 2,
        ErrorClass::DiskFull => 3,
        ErrorClass::Folder => 4,
        ErrorClass::Other => 5,
        ErrorClass::Permission => 6,
        ErrorClass::Refused => 7,
        ErrorClass::Chain => 8,
        ErrorClass::Damaged => 9,
        ErrorClass::Unusable => 10,
    }
}

/// The class of a number. The table says it; where it stands for several things, its message or state does.
fn of_number(number: u32, e: &ServerError) -> ErrorClass {
    match known(number) {
        Some(Known { class: ErrorClass::Folder, .. }) => operating_system(number, &e.message),
        Some(Known { class: ErrorClass::Guard, .. }) if !statements::GUARDS.contains(&e.state) => {
            ErrorClass::Other
        }
        Some(known) => known.class,
        None if (17..20).contains(&e.class) && number == e.number => ErrorClass::Retry,
        None => ErrorClass::Other,
    }
}

/// The Windows error code inside of the message decides.
fn operating_system(number: u32, message: &str) -> ErrorClass {
    match code(message) {
        Some(112 | 39) => ErrorClass::DiskFull,
        Some(38 | 23 | 483 | 1117 | 1392) => ErrorClass::Damaged,
        // "The data is invalid.", as a backup that was cut off or changed is read.
        Some(13) if number == 3203 => ErrorClass::Damaged,
        Some(32 | 33 | 170 | 21 | 995 | 1450) => ErrorClass::Retry,
        Some(_) | None => ErrorClass::Folder,
    }
}

/// The code stands before the text that Windows has for it, `38(…)`, in every language of the server. Names of files are quoted, and may
/// hold anything.
fn code(message: &str) -> Option<u32> {
    let (mut quote, mut digits, mut found) = (None, String::new(), None);
    for c in message.chars() {
        match (quote, c) {
            (Some(q), _) if c == q => quote = None,
            (Some(_), _) => {}
            (None, '\'' | '"' | '»' | '›') => quote = Some(closing(c)),
            (None, '«' | '“' | '„' | '‚') => quote = Some(closing(c)),
            (None, '0'..='9') => {
                digits.push(c);
                continue;
            }
            // The first one: what is in its parentheses is the text.
            (None, '(') if !digits.is_empty() => found = found.or(digits.parse().ok()),
            (None, _) => {}
        }
        digits.clear();
    }
    found
}

/// What ends a quotation.
fn closing(opening: char) -> char {
    match opening {
        '«' => '»',
        '»' => '«',
        '›' => '‹',
        '“' => '”',
        '„' => '“',
        '‚' => '‘',
        other => other,
    }
}

/// What to do by hand about a log backup that is sound and is refused: by the error that says why.
fn by_hand(e: &ServerError) -> String {
    let why = [Some(e.number), e.last].into_iter().flatten().filter_map(known);
    why.into_iter().map(|k| k.by_hand).find(|fix| !fix.is_empty()).unwrap_or_default().to_string()
}

/// An error as a problem: where it happened, while doing what, and what to do.
pub fn problem(error: &SqlError, server: &SqlServer, doing: &str) -> Problem {
    let at = format!("{} ({}:{})", server.field, clean(&server.host), server.port);
    let secret = format!("the Secret {}", clean(&server.credentials));
    match error {
        SqlError::Unreachable(why) => Problem::retry(
            Reason::HostUnreachable,
            format!("{at} cannot be reached: {}", clean(why)),
            "Check the host, the port and the network",
        ),
        SqlError::Unanswered(why) => Problem::retry(
            Reason::HostUnresponsive,
            format!("{at} accepts connections, but does not answer: {}", clean(why)),
            "Something is there: look whether SQL Server on that host is starved of workers, or what else listens on that port. If it must \
             not live, switch it off",
        ),
        SqlError::Tls(why) => Problem::ask(
            Reason::CertificateInvalid,
            format!(
                "{at} and the operator do not agree on TLS; the certificate is not trusted or names another host, or the server is too \
                 old for TLS 1.2: {}",
                clean(why)
            ),
            format!(
                "Give the CA in {}.tls.caRef, and a certificate for that host name; SQL Server 2014 and older need the update of KB 3135244",
                server.field
            ),
        ),
        SqlError::Login { number, message } => Problem::ask(
            Reason::LoginRefused,
            format!("{at} refused the login of {secret}: {} (error {number})", clean(message)),
            format!("Correct {secret} ({}.credentialsSecretRef), or the login on the server", server.field),
        ),
        SqlError::Server(e) => refused(e, &at, &secret, doing),
        SqlError::Returned(ending) => Problem::retry(
            Reason::EffectFailed,
            format!(
                "{doing} on {at} failed without a word: it returned {} (@@ERROR {})",
                ending.returned, ending.error
            ),
            "It is looked at again, and tried again; if that does not help, run it by hand there, and look into the history of its job",
        ),
        SqlError::Lost(why) => Problem::retry(
            Reason::OutcomeUnknown,
            format!("The answer of {at} was lost while {doing}: {}", clean(why)),
            "It is looked at again before anything else is done",
        ),
        SqlError::Protocol(why) => Problem::ask(
            Reason::UnexpectedAnswer,
            format!("{at} answered something unexpected while {doing}: {}", clean(why)),
            "Report this as a defect, with the version of the server",
        ),
        SqlError::NotAsked(p) => p.clone(),
    }
}

/// An error of the server's as a problem.
fn refused(e: &ServerError, at: &str, secret: &str, doing: &str) -> Problem {
    if e.class >= 20 {
        return Problem::retry(
            Reason::OutcomeUnknown,
            format!("{at} ended the session while {doing}: {} (error {})", clean(&e.message), e.number),
            "It is looked at again before anything else is done",
        );
    }
    let then = e.last.map(|last| format!(", and then error {last}")).unwrap_or_default();
    let what = format!("{doing} on {at}: {} (error {}{then})", clean(&e.message), e.number);
    match classify(e) {
        ErrorClass::AlreadyDone | ErrorClass::Guard => {
            Problem::retry(Reason::EffectFailed, what, "It is looked at again")
        }
        ErrorClass::Retry => Problem::retry(Reason::EffectFailed, what, "It is tried again"),
        ErrorClass::Damaged => {
            Problem::ask(Reason::BackupDamaged, what, "Replace the file by an undamaged copy")
        }
        ErrorClass::Refused => Problem::ask(Reason::BackupRefused, what, by_hand(e)),
        ErrorClass::Unusable => Problem::ask(
            Reason::DatabaseState,
            what,
            "The database cannot be brought up as its files stand, and trying again does not help. Restore it anew: its last full backup, WITH NORECOVERY; the log backups after that are applied by the operator",
        ),
        ErrorClass::Chain => {
            Problem::ask(Reason::LogChainGap, what, "Find the log backup that is missing, or whose fork fits")
        }
        ErrorClass::Permission => Problem::ask(
            Reason::PermissionDenied,
            what,
            format!("Give the login of {secret} the right that is missing"),
        ),
        ErrorClass::DiskFull => Problem {
            class: Class::Retry,
            ..Problem::ask(Reason::DiskFull, what, "Make room on the disks of the SQL Server")
        },
        ErrorClass::Folder => Problem::ask(
            Reason::FolderUnusable,
            what,
            "The service account of SQL Server must be able to read the folder; check logShipping of its data centre",
        ),
        ErrorClass::Other => Problem::ask(
            Reason::EffectFailed,
            what,
            "Look the error number up, and into the server's error log",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(number: u32, class: u8, message: &str) -> ServerError {
        ServerError { number, state: 1, class, message: message.into(), last: None }
    }

    #[test]
    fn numbers_and_windows_codes_have_their_class() {
        let cannot_open =
            |n| format!("Cannot open backup device 'E:\\38(x'. Operating system error {n}(text 7(8)).");
        for (number, class, message, expected) in [
            (3101, 16, String::new(), ErrorClass::Retry),
            (4305, 16, String::new(), ErrorClass::Chain),
            (3201, 16, cannot_open(2), ErrorClass::Folder),
            (3201, 16, cannot_open(32), ErrorClass::Retry),
            (3201, 16, cannot_open(13), ErrorClass::Folder),
            (3203, 16, "Read on \"x\" failed: 38(Reached the end of the file.)".into(), ErrorClass::Damaged),
            (3203, 16, "Read on \"x\" failed: 13(The data is invalid.)".into(), ErrorClass::Damaged),
            (3203, 16, "Fehler beim Lesen von '5(x': 38(Dateiende erreicht.)".into(), ErrorClass::Damaged),
            (3201, 16, "Unité « 5(x » : erreur 32(Le processus...)".into(), ErrorClass::Retry),
            (3287, 16, String::new(), ErrorClass::Damaged),
            (3441, 17, String::new(), ErrorClass::Unusable),
            (5011, 14, String::new(), ErrorClass::Permission),
            (5052, 16, String::new(), ErrorClass::Retry),
            (3257, 16, String::new(), ErrorClass::DiskFull),
            (777, 18, String::new(), ErrorClass::Retry),
            (777, 16, String::new(), ErrorClass::Other),
            // Somebody's trigger, whatever it says.
            (50000, 16, "PCF guard: moved".into(), ErrorClass::Other),
        ] {
            assert_eq!(classify(&error(number, class, &message)), expected, "{number} {message}");
        }
        let guard = ServerError { state: *statements::GUARDS.start(), ..error(50000, 16, "") };
        assert_eq!(classify(&guard), ErrorClass::Guard);
    }

    #[test]
    fn of_two_errors_the_one_decides_that_asks_for_more() {
        for (first, last, expected) in [
            (3013, 3441, ErrorClass::Unusable),
            (41316, 3414, ErrorClass::Unusable),
            (5069, 5064, ErrorClass::Retry),
            (3013, 777, ErrorClass::Other),
            (4305, 3013, ErrorClass::Chain),
            (3101, 3013, ErrorClass::Retry),
            (3153, 3013, ErrorClass::AlreadyDone),
            (3153, 3441, ErrorClass::Unusable),
        ] {
            let e = ServerError { last: Some(last), ..error(first, 16, "") };
            assert_eq!(classify(&e), expected, "{first}, {last}");
        }
    }
}
