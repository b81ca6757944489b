//! The pure world of SQL Server.
use crate::world::World;
/// One instance of SQL Server.
pub struct Instance {
    /// FQDN of its host.
    pub host: String,
    /// `@@SERVERNAME`.
    pub server_name: String,
}
/// Makes the instances, databases, log shipping and backup files of the scenario.
pub fn populate(_world: &mut World) {}
/// Lets everything happen that is due.
pub fn tick(_world: &mut World) {}
/// Ends the sessions of a lost data centre.
pub fn data_center_lost(_world: &mut World, _data_center: &str) {}
