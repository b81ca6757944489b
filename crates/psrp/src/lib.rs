//! PowerShell Remoting Protocol over WinRM: codec and client.
