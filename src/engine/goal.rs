//! What a resource asks for.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::consent::Consent;
use crate::domain::side::Side;

/// What the resource asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Goal {
    /// The side that is to be active.
    pub active: Side,
    /// `metadata.uid` of the resource.
    pub uid: String,
    /// `metadata.generation` of the resource.
    pub generation: i64,
    /// `spec.utteredAt`.
    pub uttered_at: Option<Timestamp>,
    /// No effect while set.
    pub suspend: bool,
    /// A human's yes.
    pub consent: Option<Consent>,
}
