//! A terminal that a program runs on.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// A terminal, and the program that runs on it. The program is killed when this is dropped.
pub struct Terminal {
    child: Child,
    keyboard: File,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Terminal {
    /// Starts a program on a terminal of its own.
    pub fn of(command: &mut Command) -> Terminal {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let path = std::path::Path::new(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let line = File::options().read(true).write(true).open(path).unwrap();
        let clone = || line.try_clone().unwrap();
        let child = command.stdin(clone()).stdout(clone()).stderr(clone()).spawn().unwrap();
        // The command keeps its ends until it is told otherwise: the terminal would never be hung up.
        command
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null());
        let keyboard = File::from(master);
        let (mut screen, seen) = (keyboard.try_clone().unwrap(), Arc::new(Mutex::new(Vec::new())));
        let all = seen.clone();
        std::thread::spawn(move || {
            let mut some = [0; 4096];
            // The last program that leaves a terminal ends it with an error.
            while let Ok(n @ 1..) = screen.read(&mut some) {
                all.lock().unwrap().extend_from_slice(&some[..n]);
            }
        });
        Terminal { child, keyboard, seen }
    }

    /// Everything that was shown so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.seen.lock().unwrap()).into_owned()
    }

    /// Waits until a text was shown.
    pub fn wait_for(&self, text: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !self.shown().contains(text) {
            assert!(Instant::now() < deadline, "{text:?} was not shown: {:?}", self.shown());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Types a text. Line breaks are the Enter key.
    pub fn type_in(&mut self, text: &str) {
        self.keyboard.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a signal by its name.
    pub fn signal(&self, name: &str) {
        super::signal(self.child.id(), name);
    }

    /// Waits until the program has ended.
    pub fn end(&mut self) -> ExitStatus {
        let status = self.child.wait().unwrap();
        // What it wrote last may still be on its way.
        std::thread::sleep(Duration::from_millis(100));
        status
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // It has ended mostly.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
