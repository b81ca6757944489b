//! A terminal that a program runs on: tmux, which draws what a human would see.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

/// Runs a program and writes its exit code to the file that comes first: tmux knows that a program is gone, and does not always
/// come to know how. An interrupt is the program's; what it ends with is written all the same.
const WITH_CODE: &str = r#"trap : INT; code=$1; shift; "$@"; echo $? >"$code.new"; mv "$code.new" "$code""#;

/// A terminal, and the program that runs on it. The program is hung up when this is dropped.
pub struct Terminal {
    /// Holds tmux's socket, and the program's exit code once it has ended.
    directory: tempfile::TempDir,
}

fn text(o: &OsStr) -> String {
    o.to_str().unwrap().to_string()
}

impl Terminal {
    /// Starts a program on a terminal of its own, with its arguments and what is set in its environment.
    pub fn of(command: &Command) -> Terminal {
        let terminal = Terminal { directory: tempfile::tempdir().unwrap() };
        // What was on it stays to be seen.
        let settings = terminal.directory.path().join("tmux.conf");
        std::fs::write(&settings, "set -g remain-on-exit on\nset -g history-limit 10000\n").unwrap();
        let mut arguments = vec!["-f".to_string(), text(settings.as_os_str()), "new-session".into()];
        // Past tmux's own idea of an environment.
        let code = text(terminal.code().as_os_str());
        arguments
            .extend(["-d", "-x200", "-y60", "sh", "-c", WITH_CODE, "sh", &code, "env"].map(str::to_string));
        for (name, value) in command.get_envs() {
            arguments.push(format!("{}={}", text(name), value.map(text).unwrap_or_default()));
        }
        arguments.push(text(command.get_program()));
        arguments.extend(command.get_args().map(text));
        terminal.tmux(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
        terminal
    }

    fn code(&self) -> PathBuf {
        self.directory.path().join("code")
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let socket = self.directory.path().join("tmux");
        Command::new("tmux").arg("-S").arg(socket).args(arguments).env_remove("TMUX").output().unwrap()
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let out = self.run(arguments);
        assert!(out.status.success(), "tmux {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).unwrap()
    }

    /// What can be seen on it, with what has been scrolled away.
    pub fn shown(&self) -> String {
        self.tmux(&["capture-pane", "-p", "-J", "-S", "-"])
    }

    /// Whether a program has taken the whole screen, and will give back what was there before.
    pub fn is_taken(&self) -> bool {
        self.tmux(&["display-message", "-p", "#{alternate_on}"]).trim() == "1"
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds() {
            assert!(Instant::now() < deadline, "{what}: {}", self.shown());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until a text can be seen.
    pub fn wait_for(&self, text: &str) {
        self.until(&format!("{text:?} is not shown"), || self.shown().contains(text));
    }

    /// Types a text.
    pub fn type_in(&self, text: &str) {
        self.tmux(&["send-keys", "-l", "--", text]);
    }

    /// Presses keys, by tmux's names for them: `Enter`, `Tab`, `C-c`.
    pub fn press(&self, keys: &[&str]) {
        self.tmux(&[&["send-keys"], keys].concat());
    }

    /// Waits until the program has ended, and gives its exit code; 128 and the signal's number if one ended it.
    pub fn end(&self) -> i32 {
        let code = || std::fs::read_to_string(self.code()).ok();
        self.until("it does not end", || code().is_some());
        code().unwrap().trim().parse().unwrap()
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.run(&["kill-server"]);
    }
}
