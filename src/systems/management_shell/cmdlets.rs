//! The cmdlets that the operator runs, and nothing else. Parameters as the help pages of the modules `Lync` (2013) and
//! `SkypeForBusiness` (2015) give them. Writes carry `-Confirm:$false`: there is nobody to answer a prompt.

use super::{Argument, Cmdlet};

/// Shown in place of an identity that could not be read.
pub const UNREAD: &str = "<identity read back>";

fn cmdlet(name: &'static str, parameters: Vec<(&'static str, Argument)>) -> Cmdlet {
    Cmdlet { name, parameters }
}
fn text(s: &str) -> Argument {
    Argument::Text(s.into())
}

/// State of the pool, from the Central Management store.
pub fn get_state() -> Cmdlet {
    cmdlet("Get-CsPersistentChatState", vec![])
}
/// State of the pool, from the replica on the host itself: answers also while the store is down.
pub fn get_state_local() -> Cmdlet {
    cmdlet("Get-CsPersistentChatState", vec![("LocalStore", Argument::Switch(true))])
}
/// The pool in the published topology.
pub fn get_service() -> Cmdlet {
    cmdlet("Get-CsService", vec![("PersistentChatServer", Argument::Switch(true))])
}
/// Whether the Central Management store has a master.
pub fn central_management() -> Cmdlet {
    cmdlet(
        "Get-CsManagementStoreReplicationStatus",
        vec![("CentralManagementStoreStatus", Argument::Switch(true))],
    )
}
/// Which servers have the newest configuration.
pub fn replicas() -> Cmdlet {
    cmdlet("Get-CsManagementStoreReplicationStatus", vec![])
}
/// The Windows services of a chat server.
pub fn windows_service(host: &str) -> Cmdlet {
    cmdlet("Get-CsWindowsService", vec![("ComputerName", text(host))])
}
/// Whether something accepts connections at a port, as the host sees it. A function of the module `NetTCPIP`: PowerShell 4, Windows
/// Server 2012 R2 and later.
pub fn test_connection(host: &str, port: u16) -> Cmdlet {
    cmdlet("Test-NetConnection", vec![("ComputerName", text(host)), ("Port", Argument::Number(port.into()))])
}
/// Whether the host gets into a database, and finds it as it should be.
pub fn test_database(host: &str, instance: Option<&str>) -> Cmdlet {
    let mut p = vec![("DatabaseType", text("PersistentChat")), ("SqlServerFqdn", text(host))];
    p.extend(instance.map(|i| ("SqlInstanceName", text(i))));
    cmdlet("Test-CsDatabase", p)
}
/// The identity is the one that was read back: several forms are documented, the product decides.
pub fn set_state(identity: &str, state: &str) -> Cmdlet {
    cmdlet(
        "Set-CsPersistentChatState",
        vec![("Identity", text(identity)), ("PoolState", text(state)), ("Confirm", Argument::Switch(false))],
    )
}
/// The mirror is looked up in the topology by the principal's name; the cmdlet has no `-Force`.
pub fn install_mirror(principal: &str, instance: Option<&str>, share: &str, drop_existing: bool) -> Cmdlet {
    let mut p = vec![("DatabaseType", text("PersistentChat")), ("SqlServerFqdn", text(principal))];
    p.extend(instance.map(|i| ("SqlInstanceName", text(i))));
    p.push(("FileShare", text(share)));
    if drop_existing {
        p.push(("DropExistingDatabasesOnMirror", Argument::Switch(true)));
    }
    p.push(("Confirm", Argument::Switch(false)));
    cmdlet("Install-CsMirrorDatabase", p)
}
/// Never `-Swap`: that depends on what was active before.
pub fn set_active_servers(identity: &str, servers: &[String]) -> Cmdlet {
    cmdlet(
        "Set-CsPersistentChatActiveServer",
        vec![
            ("Identity", text(identity)),
            ("ActiveServers", Argument::Replace(servers.to_vec())),
            ("Confirm", Argument::Switch(false)),
        ],
    )
}
/// Stops a Windows service of a server.
pub fn stop_service(host: &str, service: &str) -> Cmdlet {
    service_cmdlet("Stop-CsWindowsService", host, service)
}
/// Starts a Windows service of a server.
pub fn start_service(host: &str, service: &str) -> Cmdlet {
    service_cmdlet("Start-CsWindowsService", host, service)
}
fn service_cmdlet(name: &'static str, host: &str, service: &str) -> Cmdlet {
    cmdlet(
        name,
        vec![("ComputerName", text(host)), ("Name", text(service)), ("Confirm", Argument::Switch(false))],
    )
}

/// Every cmdlet of this module, in every form, for whoever checks all of them: the item that makes it, and it.
pub fn forms() -> Vec<(&'static str, Cmdlet)> {
    let (host, identity) = ("sea-sql-1.litwareinc.com", "PersistentChatServer:chat.litwareinc.com");
    let share = r"\\sea-fs-1\mirror";
    let servers = ["sea-cs-1.litwareinc.com", "sea-cs-2.litwareinc.com"].map(String::from);
    let [one, two] = [&servers[..1], &servers[..]];
    vec![
        ("get_state", get_state()),
        ("get_state_local", get_state_local()),
        ("get_service", get_service()),
        ("central_management", central_management()),
        ("replicas", replicas()),
        ("windows_service", windows_service("sea-cs-1.litwareinc.com")),
        ("test_connection", test_connection(host, 1433)),
        ("test_database", test_database(host, None)),
        ("test_database", test_database(host, Some("CHAT"))),
        ("set_state", set_state(identity, "FailedOver")),
        ("set_state", set_state(identity, "Normal")),
        ("install_mirror", install_mirror(host, None, share, false)),
        ("install_mirror", install_mirror(host, Some("CHAT"), share, true)),
        ("stop_service", stop_service("sea-cs-1.litwareinc.com", "RTCCHAT")),
        ("start_service", start_service("sea-cs-1.litwareinc.com", "RTCCHAT")),
        ("set_active_servers", set_active_servers(identity, two)),
        ("set_active_servers", set_active_servers(identity, one)),
        ("set_active_servers", set_active_servers(identity, &[])),
    ]
}
