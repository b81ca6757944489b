//! The two sides of a night: the only place that says which of a scenario's data centres is which.

use lab::scenario::{DataCenter, Scenario};

/// The pool's state while chat lives on the side that [`to`] names.
pub const POOL_STATE_THERE: &str = "FailedOver";

/// No side. A scenario that lacks one begins no night: no pool fits it.
static NOWHERE: DataCenter = DataCenter {
    name: String::new(),
    sql_server: String::new(),
    mirror: String::new(),
    management_shell: String::new(),
    servers: Vec::new(),
    instance: String::new(),
};

/// The side that is active at the beginning, and that the night takes away.
pub fn from(scenario: &Scenario) -> &DataCenter {
    scenario.data_centers.first().unwrap_or(&NOWHERE)
}

/// The other one: where chat is to be live in the end.
pub fn to(scenario: &Scenario) -> &DataCenter {
    scenario.data_centers.get(1).unwrap_or(&NOWHERE)
}
