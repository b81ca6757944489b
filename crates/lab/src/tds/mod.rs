//! A thin TDS server over the world's SQL Servers.
