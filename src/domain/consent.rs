//! A human's yes, bound to what was shown: the transition, and everything that is lost or not certain.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::problem::Reason;
use super::text::short;

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
    pub terms: Terms,
}

/// What a human would have to agree to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Things that are lost, or may be: file or folder, and the word for what is wrong with it.
    pub losses: Vec<(String, Reason)>,
    /// Where the chain ends if something is lost: more backups or fewer make other terms.
    pub chain_end: Option<String>,
    /// The next backup after a gap.
    pub gap_to: Option<String>,
    /// Whether a human must vouch that the side that is left is fenced.
    pub fence: bool,
    /// What speaks against that: a server whose database is not usable, a log backup that appeared after the silence. More of it
    /// than a human was shown is other terms. What merely cannot be asked comes and goes, and is not part of it.
    pub signs_of_life: Vec<String>,
    /// Nobody has asked for it against the world as it is: the resource was first seen with this wish, or it was spent.
    #[serde(default)]
    pub unuttered: bool,
    /// The fork of a database that somebody else recovered and that is to be taken over.
    pub adopt: Option<String>,
    /// Databases that a seed overwrites or closes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub overwrites: Vec<String>,
    /// The same for humans, one line each. Not part of the digest: texts of servers vary.
    #[serde(skip)]
    pub why: Vec<String>,
    /// The policy asks for a yes although nothing is lost.
    #[serde(skip)]
    pub policy: bool,
}

impl Terms {
    /// Whether something is lost or uncertain, whatever the policy says.
    pub fn is_needed(&self) -> bool {
        !self.losses.is_empty()
            || self.fence
            || self.unuttered
            || self.adopt.is_some()
            || !self.overwrites.is_empty()
    }

    /// What a consent must carry in `situation`.
    pub fn digest(&self) -> String {
        // The struct serialises in the order of its fields, so equal terms have equal digests.
        let text = serde_json::to_vec(self).unwrap_or_default();
        short(&Sha256::digest(text))
    }

    /// Whether a digest covers these terms: it was given for this, or for this and a word about fencing that is no
    /// longer needed. Anything else lost since then voids it.
    pub(crate) fn is_meant_by(&self, digest: &str) -> bool {
        digest == self.digest() || (!self.fence && digest == Terms { fence: true, ..self.clone() }.digest())
    }

    /// Whether a yes to other terms is a yes to this one: the same losses, and no sign of life that was not shown.
    pub(crate) fn is_covered_by(&self, accepted: &Terms) -> bool {
        let fenced = !self.fence
            || (accepted.fence && self.signs_of_life.iter().all(|x| accepted.signs_of_life.contains(x)));
        fenced
            && (!self.unuttered || accepted.unuttered)
            && self.overwrites.iter().all(|x| accepted.overwrites.contains(x))
            && (&self.losses, &self.chain_end, &self.gap_to, &self.adopt)
                == (&accepted.losses, &accepted.chain_end, &accepted.gap_to, &accepted.adopt)
    }
}
