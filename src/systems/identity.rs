//! Which process this is, to others: in the lease, and in the names of its shells.

use std::sync::OnceLock;

use uuid::Uuid;

/// A process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The machine: the pod's name, which stays when its container is started again. None: nobody says, and nothing is anybody's.
    pub machine: Option<String>,
    /// This start of it. Anew with each process: what was left by one before is known by it.
    pub start: Uuid,
}

/// This process. In Kubernetes `POD_NAME` is the pod's name, and `HOSTNAME` too, where nothing else was asked for.
pub fn own() -> &'static Identity {
    static OWN: OnceLock<Identity> = OnceLock::new();
    OWN.get_or_init(|| Identity {
        machine: std::env::var("POD_NAME")
            .or_else(|_| std::env::var("HOSTNAME"))
            .ok()
            .filter(|m| !m.is_empty()),
        start: Uuid::new_v4(),
    })
}
