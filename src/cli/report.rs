//! What a failover lost, how long it took, and what remains to be done.

use std::fmt::Write as _;

use super::status::seconds;
use crate::api::v1alpha1::{LossStatus, PersistentChatFailover};
use crate::domain::step::StepId;
use crate::domain::text::clean;

/// The report of the last transition; an error if there is none.
pub fn report(r: &PersistentChatFailover) -> Result<String, String> {
    let status = r.status.clone().unwrap_or_default();
    let t = status.transition.ok_or("there has been no transition that the status knows of")?;
    let mut out = String::new();
    let ended = t.ended.as_ref().map_or_else(|| "not yet".to_string(), |e| e.0.to_string());
    let _ = writeln!(
        out,
        "{} of {} from {} to {} (transition {})",
        t.procedure,
        clean(&r.spec.pool),
        clean(&t.from),
        clean(&t.to),
        t.id
    );
    let _ = writeln!(out, "began {}, ended {ended}", t.started.0);
    let _ = writeln!(out, "\nWhat was lost");
    match &t.loss {
        Some(l) => loss(&mut out, l),
        None => {
            let _ = writeln!(out, "  Not known yet: the database has not been recovered.");
        }
    }
    let _ = writeln!(
        out,
        "\nHow long each step took, what it waited for, and what was not this operator's doing"
    );
    for s in &t.steps {
        let title =
            StepId::ALL.iter().find(|id| id.as_str() == s.name).map_or(s.name.as_str(), |id| id.title());
        let took = match (&s.started, &s.ended) {
            (Some(a), Some(b)) => seconds(b.0.duration_since(a.0).as_secs()),
            (Some(_), None) => "at work".into(),
            (None, _) => "-".into(),
        };
        let mut waited: Vec<String> =
            s.waited.iter().filter(|(_, n)| **n > 0).map(|(k, n)| format!("{k} {}", seconds(*n))).collect();
        if s.already_done {
            waited.insert(0, "not by this operator, or nothing was left to do".into());
        }
        let _ = writeln!(out, "  {title:26} {took:>12}  {}", waited.join(", "));
    }
    let _ = writeln!(out, "\nWhat remains to be done by hand");
    let _ = writeln!(
        out,
        "  - Compliance (mgccomp) was not touched. Events that no adapter had processed are lost with the old side: save the"
    );
    let _ = writeln!(
        out,
        "    adapter's output of {} if it can be reached, and check that AdapterOutputDirectory is valid in {}.",
        clean(&t.from),
        clean(&t.to)
    );
    let _ = writeln!(out, "    Do not purge the message queues of the old chat servers.");
    let _ = writeln!(
        out,
        "  - Log shipping is gone. Schedule full and log backups of {} now, or its log fills the disk.",
        clean(&r.spec.database)
    );
    let _ = writeln!(
        out,
        "  - Keep the old primary off the network until it is rebuilt: it still believes that it is live."
    );
    if let Some(c) =
        status.conditions.iter().find(|c| c.type_ == "DatabaseOnline" && c.message.contains("no login"))
    {
        let _ = writeln!(out, "  - {}", clean(&c.message));
    }
    Ok(out)
}

fn loss(out: &mut String, l: &LossStatus) {
    match &l.kept_until {
        Some(t) => {
            let _ = writeln!(
                out,
                "  Kept for certain: everything until {} (start of the last applied log backup)",
                t.0
            );
        }
        None => {
            let _ =
                writeln!(out, "  Kept for certain: not known, because the time zone of the backups is not");
        }
    }
    match (&l.kept_until, &l.lost_at_most_until) {
        (Some(from), Some(to)) if to.0 > from.0 => {
            let _ = writeln!(
                out,
                "  Lost at most: what was written from then until {} ({})",
                to.0,
                seconds(to.0.duration_since(from.0).as_secs())
            );
        }
        (_, Some(_)) => {
            let _ = writeln!(out, "  Lost at most: nothing that was there when the primary was last seen");
        }
        (_, None) => {
            let _ = writeln!(out, "  Lost at most: not known; this operator had not seen the primary alive");
        }
    }
    if let Some(b) = &l.last_backup {
        let _ =
            writeln!(out, "  Last applied: {}, up to LSN {}", clean(b), l.last_lsn.as_deref().unwrap_or("?"));
    }
    if let Some(t) = &l.newest_message {
        let _ = writeln!(out, "  Newest message kept: {}", t.0);
    }
    for x in &l.not_applied {
        let _ = writeln!(out, "  Not applied: {}", clean(x));
    }
    if let Some(by) = &l.accepted_by {
        let _ = writeln!(out, "  Accepted by {}", clean(by));
    }
}
