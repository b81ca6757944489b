//! A thin WinRM and PSRP server over the world's Management Shell hosts.
