//! The pure world of Lync: the Central Management store, the pool, the chat servers, and the cmdlets.
use crate::scenario::Scenario;
use crate::world::World;
/// Lync as one organisation.
pub struct Deployment {}
impl Deployment {
    /// A deployment of a scenario.
    pub fn new(_scenario: &Scenario) -> Self {
        Deployment {}
    }
}
/// Lets everything happen that is due.
pub fn tick(_world: &mut World) {}
/// Stops what stands in a lost data centre.
pub fn data_center_lost(_world: &mut World, _data_center: &str) {}
/// Starts what stands in a restored data centre.
pub fn data_center_restored(_world: &mut World, _data_center: &str) {}
