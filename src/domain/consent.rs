//! A human's yes, bound to what was shown: the transition, and everything that is lost or not certain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::Chain;
use super::pool::ConsentPolicy;
use super::primary::Verdict;
use super::problem::{Problem, Reason};
use super::situation::{Answer, Database, Source};
use super::text::clean;
use super::transition::{Transition, short};

/// What the resource carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consent {
    /// The transition that is meant.
    pub transition: String,
    /// Digest of what was shown.
    pub situation: String,
    /// Who says yes.
    pub by: String,
}

/// A consent that took part in a transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcceptedConsent {
    /// Digest of what was shown.
    pub situation: String,
    /// Who said yes.
    pub by: String,
    /// When it was first used.
    pub at: Timestamp,
    /// What was accepted.
    pub why: Vec<String>,
    /// The same, to be compared with what is there later.
    pub statement: Statement,
}

/// What a human would have to agree to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement {
    /// Things that are lost, or may be: file or folder, and the word for what is wrong with it.
    pub losses: Vec<(String, Reason)>,
    /// Where the chain ends if something is lost: more backups or fewer make another statement.
    pub chain_end: Option<String>,
    /// The next backup after a gap.
    pub gap_to: Option<String>,
    /// Whether a human must vouch that the primary is fenced.
    pub fence: bool,
    /// What speaks against that: a server whose database is not usable, a log backup that appeared after the silence. More of it
    /// than a human was shown is another statement. What merely cannot be asked comes and goes, and is not part of it.
    pub signs_of_life: Vec<String>,
    /// The fork of a database that somebody else recovered and that is to be taken over.
    pub adopt: Option<String>,
    /// The same for humans, one line each. Not part of the digest: texts of servers vary.
    #[serde(skip)]
    pub why: Vec<String>,
    /// The policy asks for a yes although nothing is lost.
    #[serde(skip)]
    pub policy: bool,
}

impl Statement {
    /// Puts the statement together.
    pub fn new(
        chain: Option<&Chain>,
        verdict: &Verdict,
        source: &Source,
        policy: ConsentPolicy,
        adopt: Option<&str>,
    ) -> Self {
        let mut s = Statement { policy: policy == ConsentPolicy::BeforeRecovery, ..Statement::default() };
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
                s.why
                    .push(format!("{} (agreeing means: the primary is fenced, nobody writes to it)", p.what));
            }
            Verdict::Alive(_) | Verdict::Dead | Verdict::SilentSoFar(_) => {}
        }
        if let Some(fork) = adopt {
            s.adopt = Some(fork.to_string());
            s.why.push(format!("The database was recovered by somebody else (fork {}); the failover goes on with it as it is", clean(fork)));
        }
        if s.policy && s.why.is_empty() {
            s.why.push("spec.policy.consent is BeforeRecovery".into());
        }
        s
    }

    /// Whether something is lost or uncertain, whatever the policy says.
    pub fn is_needed(&self) -> bool {
        !self.losses.is_empty() || self.fence || self.adopt.is_some()
    }

    /// What a consent must carry in `situation`.
    pub fn digest(&self) -> String {
        // The struct serialises in the order of its fields, so equal statements have equal digests.
        let text = serde_json::to_vec(self).unwrap_or_default();
        short(&Sha256::digest(text))
    }

    /// Whether a digest covers this statement: it was given for this, or for this and a word about fencing that is no
    /// longer needed. Anything else lost since then voids it.
    fn is_meant_by(&self, digest: &str) -> bool {
        digest == self.digest()
            || (!self.fence && digest == Statement { fence: true, ..self.clone() }.digest())
    }

    /// Whether a yes to another statement is a yes to this one: the same losses, and no sign of life that was not shown.
    fn is_covered_by(&self, accepted: &Statement) -> bool {
        let fenced = !self.fence
            || (accepted.fence && self.signs_of_life.iter().all(|x| accepted.signs_of_life.contains(x)));
        fenced
            && (&self.losses, &self.chain_end, &self.gap_to, &self.adopt)
                == (&accepted.losses, &accepted.chain_end, &accepted.gap_to, &accepted.adopt)
    }
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

/// A statement together with whether a human has agreed to it.
#[derive(Clone, Debug)]
pub struct Acceptance {
    statement: Statement,
    transition: String,
    given: Option<Given>,
}

#[derive(Clone, Debug)]
enum Given {
    Fits(Consent),
    Stale,
}

impl Acceptance {
    /// Compares what a resource carries (and what the record remembers) with the statement of now.
    pub fn of(statement: Statement, t: &Transition, consent: Option<&Consent>) -> Self {
        let remembered = t.consents.iter().find(|c| statement.is_covered_by(&c.statement));
        let given = match (remembered, consent) {
            (Some(c), _) => Some(Given::Fits(Consent {
                transition: t.id.clone(),
                situation: c.situation.clone(),
                by: c.by.clone(),
            })),
            (None, Some(c)) if c.transition == t.id && statement.is_meant_by(&c.situation) => {
                Some(Given::Fits(c.clone()))
            }
            (None, Some(_)) => Some(Given::Stale),
            (None, None) => None,
        };
        Acceptance { statement, transition: t.id.clone(), given }
    }
    /// What a human would agree to.
    pub fn statement(&self) -> &Statement {
        &self.statement
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
        if self.statement.is_needed() { self.require_always() } else { Ok(()) }
    }
    /// Like [`Acceptance::require`], and also if only the policy asks.
    pub fn require_before_recovery(&self) -> Result<(), Problem> {
        if self.statement.policy { self.require_always() } else { self.require() }
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
            format!("{lead}: {}", self.statement.why.join("; ")),
            format!(
                "Mend it, or agree with spec.consent: {{transition: {}, situation: {}, by: <your name>}}",
                self.transition,
                self.statement.digest()
            ),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn fence(signs: &[&str]) -> Statement {
        Statement {
            fence: true,
            signs_of_life: signs.iter().map(ToString::to_string).collect(),
            ..Statement::default()
        }
    }
    fn transition(accepted: Option<&Statement>) -> Transition {
        let mut t = Transition::begin("p", "a", "b", "f", 0, Timestamp::UNIX_EPOCH);
        t.consents.extend(accepted.map(|s| AcceptedConsent {
            situation: s.digest(),
            by: "Ann".into(),
            at: Timestamp::UNIX_EPOCH,
            why: vec![],
            statement: s.clone(),
        }));
        t
    }
    fn agreed(now: Statement, t: &Transition, given: Option<&Statement>) -> bool {
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
        let lost = |files: &[&str]| Statement {
            losses: files.iter().map(|f| ((*f).to_string(), Reason::BackupDamaged)).collect(),
            ..Statement::default()
        };
        let t = transition(None);
        assert!(agreed(lost(&["a"]), &t, Some(&lost(&["a"]))));
        assert!(!agreed(lost(&["a", "b"]), &t, Some(&lost(&["a"]))));
        assert!(!agreed(lost(&["a", "b"]), &transition(Some(&lost(&["a"]))), None));
        let other = Consent { transition: "0".into(), situation: lost(&["a"]).digest(), by: "Ann".into() };
        assert!(Acceptance::of(lost(&["a"]), &t, Some(&other)).require().is_err());
    }
}
