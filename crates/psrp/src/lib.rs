//! PowerShell Remoting Protocol (MS-PSRP): codec and client, over WinRM (MS-WSMV) or over PowerShell's server mode.
//!
//! The codec ([`clixml`], [`fragment`], [`message`], [`error_record`]; [`wsman`], [`faults`] and [`server_mode`] for the two ways) does no I/O
//! and serves both ends of the wire. The [`client`] runs single commands with named parameters; there is no way to send script
//! text through it.

pub mod channel_binding;
pub mod client;
pub mod clixml;
pub mod engine;
mod error;
pub mod error_record;
pub mod faults;
pub mod fragment;
pub mod message;
pub mod sealed;
pub mod server_mode;
pub mod transport;
pub mod wsman;
