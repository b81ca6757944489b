//! A human's yes, bound to what was shown: the transition, and everything that is lost or not certain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::chain::Chain;
use super::pool::ConsentPolicy;
use super::primary::Verdict;
use super::problem::{Problem, Reason};
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
    pub fn new(chain: Option<&Chain>, verdict: &Verdict, policy: ConsentPolicy, adopt: Option<&str>) -> Self {
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
    fn covered_by(&self, digest: &str) -> bool {
        digest == self.digest()
            || (!self.fence && digest == Statement { fence: true, ..self.clone() }.digest())
    }
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
        let remembered = t.consents.iter().find(|c| statement.covered_by(&c.situation));
        let given = match (remembered, consent) {
            (Some(c), _) => Some(Given::Fits(Consent {
                transition: t.id.clone(),
                situation: c.situation.clone(),
                by: c.by.clone(),
            })),
            (None, Some(c)) if c.transition == t.id && statement.covered_by(&c.situation) => {
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
