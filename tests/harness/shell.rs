//! An operator's shell on a cluster: `kubectl`, `flux` and `hookgate`, with a kubeconfig that may do everything.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use crate::cluster::Cluster;
use crate::{binaries, servers};

/// The shell. Its folder holds what commands read by relative names.
#[derive(Debug)]
pub struct Shell {
    dir: TempDir,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    /// Its exit code; `None` where a signal ended it.
    pub code: Option<i32>,
    /// What it said on its standard output.
    pub stdout: String,
    /// What it said on its standard error.
    pub stderr: String,
}

impl Shell {
    /// A shell on `cluster`.
    ///
    /// # Panics
    ///
    /// When a program cannot be had, with the line that says how to get it, or a file cannot be written.
    #[must_use]
    pub fn on(cluster: &Cluster) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("hookgate-shell-")
            .tempdir()
            .expect("a folder can be made");
        let programs = dir.path().join("bin");
        fs::create_dir(&programs).expect("a folder can be made");
        for (name, found) in [
            ("hookgate", binaries::hookgate()),
            ("kubectl", servers::kubectl()),
            ("flux", servers::flux()),
        ] {
            let found = found.unwrap_or_else(|error| panic!("{error}"));
            symlink(found, programs.join(name)).expect("a link can be made");
        }
        let config = cluster.kubeconfig_of(cluster.admin().token());
        fs::write(dir.path().join("kubeconfig"), config).expect("a kubeconfig can be written");
        symlink(
            binaries::workspace().join("envoy"),
            dir.path().join("envoy"),
        )
        .expect("a link can be made");
        Self { dir }
    }

    /// Where it stands: beside `envoy/` of the repository.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs a line.
    ///
    /// # Panics
    ///
    /// When there is no bash.
    #[must_use]
    pub fn run(&self, line: &str) -> Ran {
        let path = env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(self.dir().join("bin")).chain(env::split_paths(&path));
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", line])
            .current_dir(self.dir())
            .env(
                "PATH",
                env::join_paths(folders).expect("folders make a PATH"),
            )
            .env("KUBECONFIG", self.dir().join("kubeconfig"))
            // Where the commands keep what they cache.
            .env("HOME", self.dir())
            .stdin(Stdio::null())
            .output()
            .expect("bash can be run");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Runs a line that has to succeed; its standard output.
    ///
    /// # Panics
    ///
    /// When it ends with another code than 0.
    #[must_use]
    pub fn succeed(&self, line: &str) -> String {
        let ran = self.run(line);
        assert_eq!(ran.code, Some(0), "{line}\n{}{}", ran.stdout, ran.stderr);
        ran.stdout
    }

    /// Gives objects (`-f FILE`, `-k FOLDER`) to the API server, which looks at them strictly and keeps nothing.
    ///
    /// # Panics
    ///
    /// When it refuses them, or warns.
    pub fn dry_run(&self, objects: &str) {
        let line = format!(
            "kubectl apply --server-side --force-conflicts --dry-run=server --validate=strict {objects}"
        );
        let ran = self.run(&line);
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{line}\n{}",
            ran.stdout
        );
    }
}
