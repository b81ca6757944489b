//! A file whose writer is held in the middle: a copy that is at work when its process is killed.

use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, mknodat};

/// A named pipe under a file's name. Whoever writes the file waits as soon as the pipe is full (64 KiB), so the file must be
/// longer than that.
pub struct HeldFile {
    path: PathBuf,
    pipe: std::fs::File,
    written: Vec<u8>,
}

impl HeldFile {
    /// Lays a pipe under a name that nothing has yet.
    pub fn at(path: &Path) -> std::io::Result<HeldFile> {
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // With a reader there, the writer's open succeeds at once; this open itself must not wait for a writer.
        let pipe = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        Ok(HeldFile { path: path.into(), pipe, written: Vec::new() })
    }

    /// Whether somebody has begun to write the file.
    pub fn is_begun(&mut self) -> std::io::Result<bool> {
        if self.written.is_empty() {
            let mut first = [0; 1024];
            match self.pipe.read(&mut first) {
                Ok(n) => self.written.extend_from_slice(first.get(..n).unwrap_or_default()),
                Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(e),
            }
        }
        Ok(!self.written.is_empty())
    }

    /// Leaves behind what a writer leaves that was killed: a file with the first part of its content.
    pub fn leave(mut self) -> std::io::Result<()> {
        let mut rest = vec![0; 64 * 1024];
        match self.pipe.read(&mut rest) {
            Ok(n) => self.written.extend_from_slice(rest.get(..n).unwrap_or_default()),
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
        if std::fs::symlink_metadata(&self.path)?.file_type().is_fifo() {
            std::fs::remove_file(&self.path)?;
            std::fs::write(&self.path, &self.written)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_writer_is_seen_and_its_first_part_left() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let mut held = HeldFile::at(&path).unwrap();
        assert!(!held.is_begun().unwrap());
        let mut writer = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        writer.write_all(b"first part").unwrap();
        assert!(held.is_begun().unwrap());
        drop(writer);
        held.leave().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"first part");
    }
}
