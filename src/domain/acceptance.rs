//! Whether a human has agreed to what is lost or not certain now.

use super::chain::Chain;
use super::consent::{Consent, Terms};
use super::fencing::Verdict;
use super::pool::ConsentPolicy;
use super::problem::{Problem, Reason};
use super::site::Site;
use super::sql_server::Database;
use super::text::clean;
use super::transition::Transition;

/// What the terms of a failover are made from.
pub struct Asked<'a> {
    /// The log chain, if it can be followed.
    pub chain: Option<&'a Chain>,
    /// What is known about the side that is left.
    pub verdict: &'a Verdict,
    /// That side.
    pub site: &'a Site,
    /// When a human must agree.
    pub policy: ConsentPolicy,
    /// Whether somebody has asked for it against the world as it is.
    pub is_uttered: bool,
    /// The fork of a database that somebody else recovered and that is to be taken over.
    pub adopt: Option<&'a str>,
    /// Databases that a seed overwrites or closes.
    pub overwrites: Vec<String>,
}

/// What a human would have to agree to now.
pub fn terms(a: &Asked<'_>) -> Terms {
    let policy = a.policy == ConsentPolicy::BeforeRecovery;
    let mut t = Terms { policy, unuttered: !a.is_uttered, ..Terms::default() };
    if let Some(chain) = a.chain.filter(|c| !c.stuck.is_empty()) {
        t.losses = chain.stuck.iter().map(|x| (x.file.clone(), x.problem.reason)).collect();
        t.chain_end = chain.end.as_ref().map(|e| e.lsn.to_string());
        t.gap_to = chain.gap.map(|(_, to)| to.to_string());
        t.why.extend(chain.stuck.iter().map(|x| x.problem.what.clone()));
    }
    match a.verdict {
        Verdict::DatabaseUnusable(p) | Verdict::Unknown(p) => {
            t.fence = true;
            t.signs_of_life = signs_of_life(a.site);
            t.why.push(format!(
                "{} (agreeing means: the side that is left is fenced, nobody writes to it)",
                p.what
            ));
        }
        Verdict::Alive(_) | Verdict::Dead | Verdict::SilentSoFar(_) => {}
    }
    if let Some(fork) = a.adopt {
        t.adopt = Some(fork.to_string());
        t.why.push(format!(
            "The database that stands there (fork {}) is taken as it is: what was written anywhere else since is lost",
            clean(fork)
        ));
    }
    t.overwrites.clone_from(&a.overwrites);
    t.why.extend(a.overwrites.iter().cloned());
    if t.unuttered {
        t.why.push(
            "Nobody has asked for this switch since the active side fell silent: the resource was first seen with this wish, or it was \
             spent on a side that lived"
                .into(),
        );
    }
    if t.policy && t.why.is_empty() {
        t.why.push("spec.policy.consent is BeforeRecovery".into());
    }
    t
}

/// What contradicts that nothing writes to the side that is left any more.
fn signs_of_life(site: &Site) -> Vec<String> {
    let unusable = site.instances().filter_map(|(place, i)| {
        let state = i.database.as_ref().map_or("missing", Database::state_text);
        Some(format!("{}: {state}", site.partner(place)?.server))
    });
    let newer = site.silence.newer_backup.iter().map(|file| format!("newer backup: {file}"));
    unusable.chain(newer).collect()
}

/// Terms together with whether a human has agreed to it.
#[derive(Clone, Debug)]
pub struct Acceptance {
    terms: Terms,
    transition: String,
    given: Option<Given>,
}

#[derive(Clone, Debug)]
enum Given {
    Fits(Consent),
    Stale,
}

impl Acceptance {
    /// Compares what a resource carries (and what the record remembers) with what is there now.
    pub fn of(terms: Terms, t: &Transition, consent: Option<&Consent>) -> Self {
        let remembered = t.consents.iter().find(|c| terms.is_covered_by(&c.terms));
        let given = match (remembered, consent) {
            (Some(c), _) => Some(Given::Fits(Consent {
                transition: t.id.clone(),
                situation: c.situation.clone(),
                by: c.by.clone(),
            })),
            (None, Some(c)) if c.transition == t.id && terms.is_meant_by(&c.situation) => {
                Some(Given::Fits(c.clone()))
            }
            (None, Some(_)) => Some(Given::Stale),
            (None, None) => None,
        };
        Acceptance { terms, transition: t.id.clone(), given }
    }
    /// What a human would agree to.
    pub fn terms(&self) -> &Terms {
        &self.terms
    }
    /// The consent that fits, for the record.
    pub fn accepted(&self) -> Option<&Consent> {
        match &self.given {
            Some(Given::Fits(c)) => Some(c),
            Some(Given::Stale) | None => None,
        }
    }
    /// Ok if nothing needs a consent, or a fitting one is there.
    pub fn require(&self) -> Result<(), Problem> {
        if self.terms.is_needed() { self.require_always() } else { Ok(()) }
    }
    /// Like [`Acceptance::require`], and also if only the policy asks.
    pub fn require_before_recovery(&self) -> Result<(), Problem> {
        if self.terms.policy { self.require_always() } else { self.require() }
    }
    fn require_always(&self) -> Result<(), Problem> {
        match &self.given {
            Some(Given::Fits(_)) => Ok(()),
            Some(Given::Stale) => Err(self.ask(
                Reason::ConsentDoesNotFit,
                "The consent in the resource was given for another situation. Now",
            )),
            None => Err(self.ask(Reason::ConsentRequired, "A human must agree")),
        }
    }
    fn ask(&self, reason: Reason, lead: &str) -> Problem {
        Problem::ask(
            reason,
            format!("{lead}: {}", self.terms.why.join("; ")),
            format!(
                "Mend it, or agree with spec.consent: {{transition: {}, situation: {}, by: <your name>}}",
                self.transition,
                self.terms.digest()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;

    use super::super::consent::AcceptedConsent;
    use super::super::route::Route;
    use super::super::side::Side;
    use super::*;

    fn fence(signs: &[&str]) -> Terms {
        Terms {
            fence: true,
            signs_of_life: signs.iter().map(ToString::to_string).collect(),
            ..Terms::default()
        }
    }
    fn transition(accepted: Option<&Terms>) -> Transition {
        let mut t = Transition::begin("p", Route::failover(Side::Backup), "f", 0, Timestamp::UNIX_EPOCH);
        t.consents.extend(accepted.map(|s| AcceptedConsent {
            situation: s.digest(),
            by: "Ann".into(),
            at: Timestamp::UNIX_EPOCH,
            why: vec![],
            terms: s.clone(),
        }));
        t
    }
    fn agreed(now: Terms, t: &Transition, given: Option<&Terms>) -> bool {
        let consent =
            given.map(|s| Consent { transition: t.id.clone(), situation: s.digest(), by: "Ann".into() });
        Acceptance::of(now, t, consent.as_ref()).require().is_ok()
    }

    #[test]
    fn a_word_about_fencing_does_not_cover_a_sign_of_life_that_came_later() {
        let (shown, later) = (fence(&[]), fence(&["newer backup: x.trn"]));
        let t = transition(Some(&shown));
        assert!(agreed(shown.clone(), &t, None), "remembered");
        assert!(!agreed(later.clone(), &t, None) && !agreed(later.clone(), &t, Some(&shown)));
        assert!(agreed(later.clone(), &t, Some(&later)));
        // What was shown and is gone again asks for nothing new.
        assert!(agreed(shown, &transition(Some(&later)), None));
    }

    #[test]
    fn a_larger_loss_voids_a_consent_and_another_transition_never_had_one() {
        let lost = |files: &[&str]| Terms {
            losses: files.iter().map(|f| ((*f).to_string(), Reason::BackupDamaged)).collect(),
            ..Terms::default()
        };
        let t = transition(None);
        assert!(agreed(lost(&["a"]), &t, Some(&lost(&["a"]))));
        assert!(!agreed(lost(&["a", "b"]), &t, Some(&lost(&["a"]))));
        assert!(!agreed(lost(&["a", "b"]), &transition(Some(&lost(&["a"]))), None));
        let other = Consent { transition: "0".into(), situation: lost(&["a"]).digest(), by: "Ann".into() };
        assert!(Acceptance::of(lost(&["a"]), &t, Some(&other)).require().is_err());
    }

    #[test]
    fn what_nobody_asked_for_needs_a_yes_and_a_yes_to_more_covers_it() {
        let unuttered = Terms { unuttered: true, ..Terms::default() };
        let t = transition(None);
        assert!(!agreed(unuttered.clone(), &t, None));
        assert!(agreed(unuttered.clone(), &t, Some(&unuttered)));
        assert!(agreed(Terms::default(), &t, None));
        assert!(!agreed(Terms { unuttered: true, ..fence(&[]) }, &t, Some(&unuttered)));
        // What a human agreed to once, the wish included, is remembered.
        assert!(agreed(unuttered.clone(), &transition(Some(&unuttered)), None));
    }
}
