//! Two simulated data centres, and a real Kubernetes control plane, for the demo and the tests of the operator.
//!
//! [`world`] is the pure world: SQL Servers ([`sql`]), Lync's stores and chat servers ([`chat`]), shares, the network and a
//! journal. It has no clock of its own, no threads and no sockets: whoever owns it tells it the time. [`tds`] and [`winrm`]
//! are thin servers over it, [`control_plane`] starts a real kube-apiserver, and [`serve`] puts all of them together.
//!
//! Nothing here is a SQL Server or a Lync Server. What the simulator does not understand it refuses with an error that says
//! "simulator"; it never answers with an empty result instead.

pub mod chat;
pub mod control_plane;
pub mod ports;
pub mod remoting;
pub mod scenario;
pub mod serve;
pub mod server_mode;
pub mod sql;
pub mod tds;
pub mod tsql;
pub mod winrm;
pub mod world;
