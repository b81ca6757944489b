//! What tests of GitOps share, whatever tool reads Git: a repository on disk that is committed to.

use std::path::Path;
use std::process::Command;

use super::scene::{RESOURCE, Scene};
use super::{night, sample_number};

/// The test programs of which one test in all is done by day, with the number of their tests; it moves from run to run. By night all of
/// them are done.
const BY_TURNS: [(&str, u64); 3] = [("flux_hazards", 13), ("flux_taken_back", 16), ("restored", 6)];

/// Whether a test of one of these programs is done in this run.
pub fn is_due(program: &str, n: u64) -> bool {
    let place = BY_TURNS.iter().position(|(name, _)| *name == program).unwrap();
    assert!(n < BY_TURNS[place].1, "{program} has more tests than are told");
    let turn = BY_TURNS[..place].iter().map(|(_, tests)| tests).sum::<u64>() + n;
    let all: u64 = BY_TURNS.iter().map(|(_, tests)| tests).sum();
    let due = night() || sample_number() % all == turn;
    if !due {
        println!("by night, or with PCF_SAMPLE={turn}");
    }
    due
}

/// The branch that is followed.
pub const BRANCH: &str = "main";
/// The folder of the repository that describes the pool.
pub const FOLDER: &str = "chat";

/// A Git repository of a test's own.
pub struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    /// An empty one. Git must be there: without it nothing of this can be tested, and nothing is skipped.
    pub fn new() -> Repository {
        let r = Repository { directory: tempfile::tempdir().unwrap() };
        r.git(&["init", "--quiet", "--initial-branch", BRANCH]);
        r
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes files, removes those without a text, and commits all of it. Gives the commit.
    pub fn commit(&self, message: &str, files: &[(&str, Option<&str>)]) -> String {
        for (name, text) in files {
            let path = self.path().join(name);
            match text {
                Some(text) => {
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, text).unwrap();
                }
                None => std::fs::remove_file(path).unwrap(),
            }
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
        self.head()
    }

    /// Undoes the last commit by another one. Gives that.
    pub fn revert(&self) -> String {
        self.git(&["revert", "--no-edit", "HEAD"]);
        self.head()
    }

    pub fn head(&self) -> String {
        String::from_utf8(self.git(&["rev-parse", "HEAD"])).unwrap().trim().to_string()
    }

    /// Everything of a commit, as a packed tar.
    pub fn archive(&self, commit: &str) -> Vec<u8> {
        self.git(&["archive", "--format=tar.gz", commit])
    }

    fn git(&self, arguments: &[&str]) -> Vec<u8> {
        // Of whoever runs the tests nothing is read: neither a name nor a hook nor a signature.
        let who = [
            ("GIT_AUTHOR_NAME", "Ann"),
            ("GIT_AUTHOR_EMAIL", "ann@litwareinc.com"),
            ("GIT_COMMITTER_NAME", "Ann"),
            ("GIT_COMMITTER_EMAIL", "ann@litwareinc.com"),
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
        ];
        let out = Command::new("git")
            .current_dir(self.path())
            .envs(who)
            .args(arguments)
            .output()
            .unwrap_or_else(|e| panic!("git is missing ({e}): install it"));
        assert!(out.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
        out.stdout
    }
}

/// What a lab needs, apart: the Secrets, which no Git should hold, and the resource as it is committed.
pub fn secrets_and_resource(scene: &Scene) -> (String, String) {
    let all = scene.lab.resource(RESOURCE);
    let (secrets, resource) = all.rsplit_once("---\n").unwrap();
    assert!(resource.contains("kind: PersistentChatFailover") && !resource.contains("kind: Secret"));
    (secrets.into(), resource.into())
}
