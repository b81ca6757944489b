//! PowerShell Remoting Protocol (MS-PSRP) over WinRM (MS-WSMV): codec and client.
//!
//! The codec ([`clixml`], [`fragment`], [`message`], [`wsman`]) does no I/O and serves both ends of the wire. The
//! [`client`] runs single commands with named parameters; there is no way to send script text through it.

pub mod client;
pub mod clixml;
pub mod fragment;
pub mod message;
pub mod sealed;
pub mod wsman;
