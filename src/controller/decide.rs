//! What a reconcile does: decided here, a pure function, and carried out by whoever has a cluster, real or simulated.

use crate::domain::problem::{Class, Problem, Reason};

/// What is known of the object that a reconcile is for.
pub struct Seen<'a> {
    /// `metadata.uid`
    pub uid: &'a str,
    /// It is gone, or is being deleted.
    pub is_gone: bool,
    /// What is wrong with its spec.
    pub problems: &'a [Problem],
    /// Another object that describes the same pool and has a worker, `namespace/name`.
    pub other: Option<&'a str>,
    /// Whether this replica holds the lease.
    pub leads: bool,
}

/// What is known of the worker that stands for the object's name.
pub struct Standing<'a> {
    /// Uid of the object that it works for.
    pub uid: &'a str,
    /// It has ended, by whatever it ended.
    pub is_over: bool,
}

/// What a reconcile does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reconciled {
    /// The worker that stands, if one does, stops before its next effect. Nothing is undone.
    Retire,
    /// The same, and the status says why nothing is done.
    Refuse(Problem),
    /// The status says why nothing is done beside another object's worker.
    RefuseBesideAnother(Problem),
    /// A new worker begins; one that stands works for an object that is gone, or has ended: it retires.
    Start,
    /// The worker is told what the object says now.
    Tell,
    /// Nothing is started, and no status is written: another replica holds the lease. It is looked at again when that changes.
    StandBy,
}

/// Decides a reconcile.
pub fn next(seen: &Seen<'_>, worker: Option<&Standing<'_>>) -> Reconciled {
    if seen.is_gone {
        return Reconciled::Retire;
    }
    if !seen.leads {
        return match worker {
            // It finishes what it has begun, and hears meanwhile what is asked for.
            Some(w) if w.uid == seen.uid && !w.is_over && seen.problems.is_empty() => Reconciled::Tell,
            Some(_) => Reconciled::Retire,
            None => Reconciled::StandBy,
        };
    }
    if let Some(problem) = together(seen.problems) {
        return Reconciled::Refuse(problem);
    }
    if let Some(other) = seen.other {
        return Reconciled::RefuseBesideAnother(Problem::ask(
            Reason::PoolAlreadyDescribed,
            format!("spec.pool is already described by {other}"),
            "Delete one of the two",
        ));
    }
    match worker {
        Some(w) if w.uid == seen.uid && !w.is_over => Reconciled::Tell,
        Some(_) | None => Reconciled::Start,
    }
}

/// One problem out of several: what a human must mend leads, all are told.
fn together(problems: &[Problem]) -> Option<Problem> {
    let lead = problems.iter().find(|p| p.class == Class::AskHuman).or(problems.first())?;
    let what: Vec<&str> = problems.iter().map(|p| p.what.as_str()).collect();
    let mut fixes: Vec<&str> = problems.iter().map(|p| p.fix.as_str()).collect();
    fixes.dedup();
    Some(Problem::ask(lead.reason, what.join("; "), fixes.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen<'a>(uid: &'a str, problems: &'a [Problem]) -> Seen<'a> {
        Seen { uid, is_gone: false, problems, other: None, leads: true }
    }

    #[test]
    fn a_worker_is_told_replaced_or_retired() {
        let standing = |uid, is_over| Standing { uid, is_over };
        let wrong = [Problem::ask(Reason::InvalidSpec, "spec.pool", "mend it")];
        assert_eq!(next(&seen("a", &[]), Some(&standing("a", false))), Reconciled::Tell);
        assert_eq!(next(&seen("a", &[]), Some(&standing("b", false))), Reconciled::Start);
        assert_eq!(next(&seen("a", &[]), Some(&standing("a", true))), Reconciled::Start);
        assert_eq!(next(&seen("a", &[]), None), Reconciled::Start);
        assert_eq!(next(&Seen { is_gone: true, ..seen("a", &wrong) }, None), Reconciled::Retire);
        assert!(matches!(next(&seen("a", &wrong), None), Reconciled::Refuse(_)));
        let beside = Seen { other: Some("x/y"), ..seen("a", &[]) };
        assert!(matches!(next(&beside, None), Reconciled::RefuseBesideAnother(_)));
        let standby = |problems| Seen { leads: false, ..seen("a", problems) };
        assert_eq!(next(&standby(&[]), None), Reconciled::StandBy);
        assert_eq!(next(&standby(&wrong), None), Reconciled::StandBy);
        assert_eq!(next(&standby(&[]), Some(&standing("a", false))), Reconciled::Tell);
        assert_eq!(next(&standby(&[]), Some(&standing("a", true))), Reconciled::Retire);
        assert_eq!(next(&standby(&[]), Some(&standing("b", false))), Reconciled::Retire);
        assert_eq!(next(&standby(&wrong), Some(&standing("a", false))), Reconciled::Retire);
    }
}
