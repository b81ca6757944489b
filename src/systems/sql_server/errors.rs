//! Classes of SQL Server's errors, and what they mean to a human.

use super::SqlError;
use crate::domain::pool::SqlServer;
use crate::domain::problem::{Class, Problem, Reason};
use crate::domain::text::clean;

/// What an error number asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorClass {
    /// The goal already holds; the next look will show it.
    AlreadyDone,
    /// It may pass: somebody is in the way, a deadlock, a resource.
    Retry,
    /// The file is damaged or cut off.
    Damaged,
    /// The chain does not fit: gap, other fork, other database.
    Chain,
    /// A right is missing.
    Permission,
    /// A disk is full.
    DiskFull,
    /// A file, share or folder cannot be opened.
    Folder,
    /// A guard of our own batch: the world is not what the decision was made on.
    Guard,
    /// Anything else: a human must look.
    Other,
}

/// The class of an error. Numbers as documented in SQL Server's tables of system errors; 3013, 3119 and 5069 only wrap others.
pub fn classify(number: u32, severity: u8, message: &str) -> ErrorClass {
    match number {
        50000 if message.starts_with("PCF guard") => ErrorClass::Guard,
        50000 if message.starts_with("PCF:") => ErrorClass::Retry,
        // A linked server (the monitor of log shipping) that cannot be reached or logged in to.
        53 | 121 | 258 | 7202 | 7391 | 7399 | 7416 | 7437 | 11001 | 17 | 32052..=32055 => ErrorClass::Retry,
        3153 | 4326 | 3120 | 32014 | 6106 => ErrorClass::AlreadyDone,
        3101 | 924 | 5030 | 5061 | 5064 | 5070 | 3023 | 1205 | 1222 | 1204 | 701 | 802 | 921 | 922 | 952
        | 5059 | 3204 | 3224 | 3229 | 3230 | 3627 | 4319 | 4347 | 596 | 3013 | 3119 | 5069 => {
            ErrorClass::Retry
        }
        // "The specified … does not exist": a job or schedule that somebody removed since it was looked at.
        14262 => ErrorClass::Retry,
        3201..=3203 | 3634 => operating_system(message),
        3182 | 3183 | 3186 | 3189 | 3208 | 3241 | 3242 | 3254 | 3256 | 3266 => ErrorClass::Damaged,
        4305 | 4312 | 4303 | 4330 | 4333 | 4331 | 4349 | 3154 | 3143 => ErrorClass::Chain,
        229 | 230 | 262 | 297 | 300 | 916 | 3110 | 6102 | 15247 | 21089 => ErrorClass::Permission,
        3257 | 3181 | 9002 | 1105 => ErrorClass::DiskFull,
        _ if (17..20).contains(&severity) => ErrorClass::Retry,
        _ => ErrorClass::Other,
    }
}

/// The Windows error code inside of the message decides.
fn operating_system(message: &str) -> ErrorClass {
    match code(message) {
        Some(112 | 39) => ErrorClass::DiskFull,
        Some(38 | 23 | 1117 | 1392) => ErrorClass::Damaged,
        Some(32 | 33 | 170 | 21 | 995 | 1450) => ErrorClass::Retry,
        Some(_) | None => ErrorClass::Folder,
    }
}

fn code(message: &str) -> Option<u32> {
    let at = message
        .find("Operating system error ")
        .map(|i| i + 23)
        .or_else(|| message.find("failed: ").map(|i| i + 8))?;
    message.get(at..)?.chars().take_while(char::is_ascii_digit).collect::<String>().parse().ok()
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
        SqlError::Tls(why) => Problem::ask(
            Reason::CertificateInvalid,
            format!("The certificate of {at} is not trusted or names another host: {}", clean(why)),
            format!("Give the CA in {}.tls.caRef, and a certificate for that host name", server.field),
        ),
        SqlError::Login { number, message } => Problem::ask(
            Reason::LoginRefused,
            format!("{at} refused the login of {secret}: {} (error {number})", clean(message)),
            format!("Correct {secret} ({}.credentialsSecretRef), or the login on the server", server.field),
        ),
        SqlError::Server { number, class, message, .. } => {
            let what = format!("{doing} on {at}: {} (error {number})", clean(message));
            match classify(*number, *class, message) {
                ErrorClass::AlreadyDone | ErrorClass::Guard => {
                    Problem::retry(Reason::EffectFailed, what, "It is looked at again")
                }
                ErrorClass::Retry => Problem::retry(Reason::EffectFailed, what, "It is tried again"),
                ErrorClass::Damaged => {
                    Problem::ask(Reason::BackupDamaged, what, "Replace the file by an undamaged copy")
                }
                ErrorClass::Chain => Problem::ask(
                    Reason::LogChainGap,
                    what,
                    "Find the log backup that is missing, or whose fork fits",
                ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_windows_codes_have_their_class() {
        let cannot_open = |n| format!("Cannot open backup device 'E:\\x'. Operating system error {n}(text).");
        for (number, severity, message, class) in [
            (3101, 16, String::new(), ErrorClass::Retry),
            (4305, 16, String::new(), ErrorClass::Chain),
            (3201, 16, cannot_open(2), ErrorClass::Folder),
            (3201, 16, cannot_open(32), ErrorClass::Retry),
            (3203, 16, "Read on \"x\" failed: 38(Reached the end of the file.)".into(), ErrorClass::Damaged),
            (3257, 16, String::new(), ErrorClass::DiskFull),
            (50000, 16, "PCF guard: moved".into(), ErrorClass::Guard),
            (777, 18, String::new(), ErrorClass::Retry),
            (777, 16, String::new(), ErrorClass::Other),
        ] {
            assert_eq!(classify(number, severity, &message), class, "{number} {message}");
        }
    }
}
