//! Whether a human has agreed to what is lost or not certain now.

use super::chain::Chain;
use super::consent::{Consent, Terms};
use super::fencing::Verdict;
use super::pool::ConsentPolicy;
use super::problem::{Problem, Reason};
use super::site::{Answer, Source};
use super::sql_server::Database;
use super::text::clean;
use super::transition::Transition;

/// What a human would have to agree to now.
pub fn terms(
    chain: Option<&Chain>,
    verdict: &Verdict,
    source: &Source,
    policy: ConsentPolicy,
    adopt: Option<&str>,
) -> Terms {
    let mut s = Terms { policy: policy == ConsentPolicy::BeforeRecovery, ..Terms::default() };
    if let Some(chain) = chain.filter(|c| !c.stuck.is_empty()) {
        s.losses = chain.stuck.iter().map(|x| (x.file.clone(), x.problem.reason)).collect();
        s.chain_end = chain.end.as_ref().map(|e| e.lsn.to_string());
        s.gap_to = chain.gap.map(|(_, to)| to.to_string());
        s.why.extend(chain.stuck.iter().map(|x| x.problem.what.clone()));
    }
    match verdict {
        Verdict::DatabaseUnusable(p) | Verdict::Unknown(p) => {
            s.fence = true;
            s.signs_of_life = signs_of_life(source);
            s.why.push(format!("{} (agreeing means: the primary is fenced, nobody writes to it)", p.what));
        }
        Verdict::Alive(_) | Verdict::Dead | Verdict::SilentSoFar(_) => {}
    }
    if let Some(fork) = adopt {
        s.adopt = Some(fork.to_string());
        s.why.push(format!(
            "The database was recovered by somebody else (fork {}); the failover goes on with it as it is",
            clean(fork)
        ));
    }
    if s.policy && s.why.is_empty() {
        s.why.push("spec.policy.consent is BeforeRecovery".into());
    }
    s
}

/// What contradicts that nothing writes to the old primary any more.
fn signs_of_life(source: &Source) -> Vec<String> {
    let unusable = source.partners.iter().filter_map(|p| match &p.answer {
        Answer::Speaks(i) => {
            let state = i.database.as_ref().map_or("missing", Database::state_text);
            Some(format!("{}: {state}", p.server))
        }
        Answer::TurnsAway(_) | Answer::Silent(_) | Answer::NotAsked(_) => None,
    });
    let newer = source.newer_backup.iter().map(|file| format!("newer backup: {file}"));
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

    use super::*;
    use crate::domain::consent::AcceptedConsent;

    fn fence(signs: &[&str]) -> Terms {
        Terms {
            fence: true,
            signs_of_life: signs.iter().map(ToString::to_string).collect(),
            ..Terms::default()
        }
    }
    fn transition(accepted: Option<&Terms>) -> Transition {
        let mut t = Transition::begin("p", "a", "b", "f", 0, Timestamp::UNIX_EPOCH);
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
}
