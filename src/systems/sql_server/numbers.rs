//! The one table of SQL Server's error numbers that mean something here: as documented in its tables of system errors, and as recorded.
//! `docs/errors.md` is made from it.

/// What an error number asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// The goal already holds; the next look will show it.
    AlreadyDone,
    /// It may pass: somebody is in the way, a deadlock, a resource.
    Retry,
    /// The file is damaged or cut off.
    Damaged,
    /// The backup is sound, and cannot be restored as things stand.
    Refused,
    /// The chain does not fit: gap, other fork, other database.
    Chain,
    /// A right is missing.
    Permission,
    /// A disk is full.
    DiskFull,
    /// A file, share or folder cannot be opened.
    Folder,
    /// The database cannot be brought up as its files stand: only a new full restore helps.
    Unusable,
    /// A guard of our own batch: the world is not what the decision was made on.
    Guard,
    /// Anything else: a human must look.
    Other,
}

/// Numbers that mean the same here.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The numbers.
    pub numbers: &'static [u32],
    /// What they ask for. Of [`ErrorClass::Folder`] the code of the operating system inside of the message decides.
    pub class: ErrorClass,
    /// What they mean.
    pub meaning: &'static str,
    /// What is to be done by hand; empty: nothing, or what is always done about that class.
    pub by_hand: &'static str,
}

const fn known_as(numbers: &'static [u32], class: ErrorClass, meaning: &'static str) -> Known {
    Known { numbers, class, meaning, by_hand: "" }
}

/// What a number means, if it is one that means something here.
pub fn known(number: u32) -> Option<&'static Known> {
    ALL.iter().find(|k| k.numbers.contains(&number))
}

/// All of them.
pub const ALL: &[Known] = &[
    known_as(
        &[50000],
        ErrorClass::Guard,
        "A guard of the operator's own batch, if its state is one of theirs",
    ),
    known_as(
        // The last two are -1 and 65535, as the driver shows them.
        &[
            2,
            17,
            53,
            64,
            121,
            258,
            1225,
            1326,
            7202,
            7391,
            7399,
            7416,
            7437,
            10054,
            10060,
            10061,
            11001,
            18456,
            32052,
            32053,
            32054,
            32055,
            65535,
            4_294_967_295,
        ],
        ErrorClass::Retry,
        "A linked server (the monitor of log shipping) cannot be reached or logged in to",
    ),
    known_as(&[3153, 3120, 4326], ErrorClass::AlreadyDone, "It has been restored already"),
    known_as(&[1416, 32014, 6106], ErrorClass::AlreadyDone, "What was to be removed or ended is gone"),
    known_as(&[3101, 924, 5030, 5061, 5064, 5070], ErrorClass::Retry, "Somebody else uses the database"),
    known_as(
        &[5052, 921, 922, 952, 5059, 3023],
        ErrorClass::Retry,
        "The database is between two states, or something else is done to it",
    ),
    known_as(
        &[1205, 1222, 1204, 701, 802, 3224, 3627],
        ErrorClass::Retry,
        "A deadlock, a lock, memory or threads",
    ),
    known_as(
        &[3204, 3229, 3230, 596],
        ErrorClass::Retry,
        "It was cut off, or a device did not answer in time",
    ),
    known_as(&[4319, 4347], ErrorClass::Retry, "An earlier restore was cut off; the same one goes on"),
    known_as(&[3013, 3119, 5069], ErrorClass::Retry, "It failed; another error says why"),
    known_as(
        &[22022],
        ErrorClass::Retry,
        "The Agent does not run, or the job has ended by itself since it was looked at",
    ),
    known_as(&[14262], ErrorClass::Retry, "A job or schedule was removed since it was looked at"),
    known_as(
        &[32009, 32010, 32011],
        ErrorClass::Retry,
        "The primary half of log shipping was added, removed or named anew since it was looked at",
    ),
    known_as(
        &[3201, 3202, 3203, 3634],
        ErrorClass::Folder,
        "A file cannot be opened, read or written: the code of the operating system says why (112, 39: disk full; 38, 23, 483, 1117, 1392: \
         damaged; 32, 33, 170, 21, 995, 1450: somebody is in the way)",
    ),
    known_as(
        &[3182, 3183, 3186, 3189, 3208, 3256, 3266, 3287, 11801],
        ErrorClass::Damaged,
        "The backup is damaged or cut off (3182: its database was damaged when it was taken)",
    ),
    known_as(
        &[3143, 3241, 3242, 3254],
        ErrorClass::Damaged,
        "The file holds no backup, or its beginning is damaged",
    ),
    Known {
        numbers: &[3132, 3231, 3258],
        class: ErrorClass::Refused,
        meaning: "The backup is striped over several files, and not all of them were given",
        by_hand: "Put the other files of the media set into the backup share, under any name: they are restored together",
    },
    Known {
        numbers: &[5133, 5105, 3156, 3176, 1834, 4328],
        class: ErrorClass::Refused,
        meaning: "The log adds a data file whose path does not exist on this server, or is taken: it is restored at once with that file \
                  beside the copy's own (WITH MOVE), and that was refused as well",
        by_hand: "Make that folder on the server, or restore this backup by hand (RESTORE LOG ... WITH MOVE 'logical name' TO 'path', \
                  NORECOVERY; RESTORE FILELISTONLY shows the names): the operator goes on behind it",
    },
    Known {
        numbers: &[33111],
        class: ErrorClass::Refused,
        meaning: "The backup is encrypted, and its certificate is not on this server",
        by_hand: "Restore the certificate, with its private key, into master of this server (CREATE CERTIFICATE ... FROM FILE)",
    },
    Known {
        numbers: &[3168, 3169, 3243, 3255],
        class: ErrorClass::Refused,
        meaning: "The backup was taken by a version that this server cannot restore",
        by_hand: "A server restores backups of its own version and of older ones: bring this one to the version of the other side",
    },
    Known {
        numbers: &[3279],
        class: ErrorClass::Refused,
        meaning: "The backup has a password",
        by_hand: "Restore it by hand (RESTORE LOG ... WITH PASSWORD, NORECOVERY): the operator goes on behind it",
    },
    Known {
        numbers: &[3187],
        class: ErrorClass::Refused,
        meaning: "The backup has no checksums",
        by_hand: "Restore it by hand (RESTORE LOG ... WITH NORECOVERY): the operator goes on behind it",
    },
    known_as(
        &[3167, 3414, 3441, 41316],
        ErrorClass::Unusable,
        "The database cannot be started as its files stand (3441: the undo file of a STANDBY copy is gone)",
    ),
    known_as(
        &[4303, 4305, 4312, 4331, 4333, 4349],
        ErrorClass::Chain,
        "A log backup is missing before this one, or behind it",
    ),
    known_as(&[4330, 3154], ErrorClass::Chain, "The backup is of another recovery path or another database"),
    known_as(
        &[229, 230, 262, 297, 300, 916, 3110, 5011, 6102, 15247, 21089],
        ErrorClass::Permission,
        "A right is missing (5011 also: no such database, or one in a state that allows no look at rights)",
    ),
    known_as(&[3257, 3181, 9002, 1105], ErrorClass::DiskFull, "A disk, a file or the log is full"),
];

/// What the operator does about a class, and what an administrator does.
const fn done(class: ErrorClass) -> (&'static str, &'static str) {
    match class {
        ErrorClass::AlreadyDone => ("Looks again: the goal holds", "Nothing"),
        ErrorClass::Retry => ("Looks again, and tries again", "Nothing"),
        ErrorClass::Guard => ("Looks again: the world is not what was decided on", "Nothing"),
        ErrorClass::Damaged => (
            "Fetches the file from the share once more, then takes it for lost, by consent only",
            "Replace the file by an undamaged copy, under any name",
        ),
        ErrorClass::Refused => {
            ("Tries again every five minutes; until then it is lost, by consent only", "See the message")
        }
        ErrorClass::Chain => (
            "Of a log backup: tries again every five minutes; until then it is lost, by consent only",
            "Find the log backup that is missing, or whose fork fits",
        ),
        ErrorClass::Permission => ("Waits for a human", "Give the login the right"),
        ErrorClass::DiskFull => ("Looks again, and tries again", "Make room"),
        ErrorClass::Folder => (
            "By the code: tries again, or takes the file for lost, by consent only",
            "Let the service account of SQL Server read the folder",
        ),
        ErrorClass::Unusable => (
            "Waits for a human: trying again does not help",
            "Restore the database anew from its last full backup, WITH NORECOVERY; the operator applies the log backups after that",
        ),
        ErrorClass::Other => ("Waits for a human", "Look the number up, and into the server's error log"),
    }
}

/// `docs/errors.md`.
pub fn page() -> String {
    let mut out = String::from(
        "# Error numbers of SQL Server\n\n\
         Made from the one table that decides (`systems::sql_server::numbers`); `PCF_WRITE=1 cargo test --lib numbers` writes it anew.\n\
         Words decide nothing: a server's texts come in its login's language. A number that is not here: severity 17 to 19 is tried again;\n\
         a session that ended (20 and more) is looked at again before anything else is done; everything else waits for a human, and a log\n\
         backup that it is about is lost by consent only.\n\n\
         | Numbers | Meaning | What the operator does | What you do |\n| --- | --- | --- | --- |\n",
    );
    for k in ALL {
        let numbers: Vec<String> = k.numbers.iter().map(u32::to_string).collect();
        let (we, you) = done(k.class);
        let you = if k.by_hand.is_empty() { you } else { k.by_hand };
        out += &format!("| {} | {} | {we} | {you} |\n", numbers.join(", "), k.meaning);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn no_number_stands_twice() {
        let mut all: Vec<u32> = ALL.iter().flat_map(|k| k.numbers).copied().collect();
        let many = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), many);
    }

    #[test]
    fn what_is_refused_says_what_to_do_by_hand() {
        for k in ALL.iter().filter(|k| k.class == ErrorClass::Refused) {
            assert!(!k.by_hand.is_empty(), "{:?}", k.numbers);
        }
    }

    #[test]
    fn the_page_is_made_from_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors.md");
        if std::env::var_os("PCF_WRITE").is_some() {
            std::fs::write(path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page(), "PCF_WRITE=1 cargo test --lib numbers");
    }
}
