//! The fault codes of WS-Management: what each means for who asked.
//!
//! Numbers and names are those of Microsoft's `wsmerror.h` (`winerror.h` for the small ones and for 0x800703FA); texts are localised,
//! numbers are not.

/// Nothing to receive within OperationTimeout. The normal answer of a waiting Receive.
pub const TIMED_OUT: u32 = 2_150_858_793;
/// No such shell or command.
pub const INVALID_SELECTORS: u32 = 2_150_858_843;
/// The shell is there but disconnected; nothing of the request was done.
pub const SHELL_DISCONNECTED: u32 = 2_150_859_204;
/// The shell belongs to another SessionId.
pub const SESSION_MISMATCH: u32 = 2_150_859_206;
/// The shell is connected, to another client than the one that would connect to it (`[MS-WSMV]` 3.1.4.17).
pub const CONNECTED_ELSEWHERE: u32 = 2_150_859_213;
/// A shell that is not disconnected cannot be reconnected.
pub const RECONNECT_NOT_VALID: u32 = 2_150_859_216;
/// The user has as many shells as it may have.
pub const MAX_SHELLS: u32 = 2_150_859_173;
/// The user has as many operations at work as it may have.
pub const MAX_OPERATIONS: u32 = 2_150_859_174;
/// The IdleTimeOut that was asked for is shorter or longer than the host allows.
pub const IDLE_TIMEOUT_OUT_OF_BOUNDS: u32 = 2_150_859_250;
/// There is no such session configuration.
pub const NO_CONFIGURATION: u32 = 2_150_858_811;
/// A plug-in refused a Connect; so a PowerShell refuses a protocol version (`WSManPluginErrorCodes` of PowerShell's source).
pub const CONNECT_FAILED: u32 = 0x8054_0FA3;

/// What a fault means for who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// Nothing came within OperationTimeout. To a Receive that is no error; of any other request the outcome is unknown.
    TimedOut,
    /// The shell or the command is not there (any more).
    Gone,
    /// The shell is there, and left: nothing of the request was done.
    Disconnected,
    /// Somebody else is connected to the shell, or the host has not noticed yet that it is not any more: look again.
    Elsewhere,
    /// As many shells, or users with shells, as the host allows: it passes when some are closed.
    Shells,
    /// As many requests or commands at once as the host allows: it passes when some have ended.
    Operations,
    /// The host broke the request off: its shell, or the service, comes to an end.
    BrokenOff,
    /// The account that the session configuration runs as cannot log on there.
    RunAs,
    /// The IdleTimeOut that was asked for is out of the host's bounds.
    IdleTimeOut,
    /// Access denied.
    Denied,
    /// There is no such session configuration.
    Configuration,
}

/// A code that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its number.
    pub code: u32,
    /// Its name in `wsmerror.h` or `winerror.h`.
    pub name: &'static str,
    /// What it means.
    pub meaning: Meaning,
}

const fn known(code: u32, name: &'static str, meaning: Meaning) -> Known {
    Known { code, name, meaning }
}

/// Every code that is known.
pub const TABLE: &[Known] = &[
    known(5, "ERROR_ACCESS_DENIED", Meaning::Denied),
    known(0x8007_0005, "E_ACCESSDENIED", Meaning::Denied),
    known(995, "ERROR_OPERATION_ABORTED", Meaning::BrokenOff),
    known(0x8007_03E3, "HRESULT of ERROR_OPERATION_ABORTED", Meaning::BrokenOff),
    // What a shell says that is being deleted (WinRb's `FAULTS_FOR_RESET`).
    known(0x8007_03FA, "HRESULT of ERROR_KEY_DELETED", Meaning::BrokenOff),
    known(2_150_859_212, "ERROR_WSMAN_COMMAND_TERMINATED", Meaning::BrokenOff),
    known(2_150_859_230, "ERROR_WSMAN_SERVICE_STREAM_DISCONNECTED", Meaning::BrokenOff),
    known(TIMED_OUT, "ERROR_WSMAN_OPERATION_TIMEDOUT", Meaning::TimedOut),
    known(INVALID_SELECTORS, "ERROR_WSMAN_UNEXPECTED_SELECTORS", Meaning::Gone),
    known(SHELL_DISCONNECTED, "ERROR_WINRS_SHELL_DISCONNECTED", Meaning::Disconnected),
    known(SESSION_MISMATCH, "ERROR_WINRS_SHELL_CLIENTSESSIONID_MISMATCH", Meaning::Elsewhere),
    known(CONNECTED_ELSEWHERE, "ERROR_WINRS_SHELL_CONNECTED_TO_DIFFERENT_CLIENT", Meaning::Elsewhere),
    known(MAX_SHELLS, "ERROR_WSMAN_QUOTA_MAX_SHELLS", Meaning::Shells),
    known(2_150_859_179, "ERROR_WSMAN_QUOTA_MAX_SHELLUSERS", Meaning::Shells),
    known(2_150_859_236, "ERROR_WSMAN_QUOTA_MAX_SHELLS_PPQ", Meaning::Shells),
    known(2_150_859_237, "ERROR_WSMAN_QUOTA_MAX_USERS_PPQ", Meaning::Shells),
    known(2_150_859_238, "ERROR_WSMAN_QUOTA_MAX_PLUGINSHELLS_PPQ", Meaning::Shells),
    known(MAX_OPERATIONS, "ERROR_WSMAN_QUOTA_MAX_OPERATIONS", Meaning::Operations),
    known(2_150_859_175, "ERROR_WSMAN_QUOTA_USER", Meaning::Operations),
    known(2_150_859_176, "ERROR_WSMAN_QUOTA_SYSTEM", Meaning::Operations),
    known(2_150_859_239, "ERROR_WSMAN_QUOTA_MAX_PLUGINOPERATIONS_PPQ", Meaning::Operations),
    known(2_150_859_240, "ERROR_WSMAN_QUOTA_MAX_OPERATIONS_USER_PPQ", Meaning::Operations),
    known(2_150_859_241, "ERROR_WSMAN_QUOTA_MAX_COMMANDS_PER_SHELL_PPQ", Meaning::Operations),
    known(2_150_859_242, "ERROR_WSMAN_QUOTA_MIN_REQUIREMENT_NOT_AVAILABLE_PPQ", Meaning::Operations),
    known(2_150_859_203, "ERROR_WSMAN_RUNAS_INVALIDUSERCREDENTIALS", Meaning::RunAs),
    known(2_150_859_231, "ERROR_WSMAN_CREATESHELL_RUNAS_FAILED", Meaning::RunAs),
    known(2_150_859_261, "ERROR_WSMAN_RUNASUSER_MANAGEDACCOUNT_LOGON_FAILED", Meaning::RunAs),
    known(IDLE_TIMEOUT_OUT_OF_BOUNDS, "ERROR_WINRS_IDLETIMEOUT_OUTOFBOUNDS", Meaning::IdleTimeOut),
    known(2_150_858_752, "ERROR_WSMAN_RESOURCE_NOT_FOUND", Meaning::Configuration),
    known(NO_CONFIGURATION, "ERROR_WSMAN_INVALID_RESOURCE_URI", Meaning::Configuration),
];

/// What a code means, if it is known.
pub fn meaning(code: u32) -> Option<Meaning> {
    TABLE.iter().find(|k| k.code == code).map(|k| k.meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_stands_once() {
        let mut codes: Vec<u32> = TABLE.iter().map(|k| k.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert_eq!(codes.len(), TABLE.len());
        assert_eq!(meaning(0), None);
    }
}
