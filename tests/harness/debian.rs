//! Programs that come as Debian packages: named by a variable, or installed, or fetched with apt-get and unpacked into
//! `target/tools`, which needs no rights.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{Error, captured, folder, from_environment, on_path};

/// A program that comes in Debian packages.
pub(crate) struct Program {
    /// Its name, on the `PATH` and in the packages.
    pub(crate) name: &'static str,
    /// The variable that names one.
    pub(crate) variable: &'static str,
    /// The package that has it, and those of the libraries that not every machine has.
    pub(crate) packages: &'static [&'static str],
}

/// Where a program is, and where the libraries are that came with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binary {
    path: PathBuf,
    libraries: Option<PathBuf>,
}

impl Binary {
    /// A command that runs it.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if let Some(libraries) = &self.libraries {
            command.env("LD_LIBRARY_PATH", libraries);
        }
        command
    }
}

impl Program {
    /// Where it is; fetches it if need be.
    pub(crate) fn find(&self) -> Result<Binary, Error> {
        let installed = from_environment(self.variable)?.or_else(|| on_path(self.name));
        if let Some(path) = installed {
            return Ok(Binary {
                path,
                libraries: None,
            });
        }
        folder(
            self.name,
            &format!("Debian's {}", self.name),
            |home| self.unpacked(home),
            |home| self.fetch(home),
        )
    }

    fn unpacked(&self, home: &Path) -> Option<Binary> {
        let path = home.join("usr/bin").join(self.name);
        // The folder has the name of the machine's kind, `x86_64-linux-gnu`.
        let libraries = fs::read_dir(home.join("usr/lib"))
            .ok()?
            .flatten()
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with("-linux-gnu"));
        path.is_file().then_some(Binary { path, libraries })
    }

    fn fetch(&self, home: &Path) -> Result<(), Error> {
        let failed = |source| Error::Io {
            path: home.to_owned(),
            source,
        };
        fs::create_dir_all(home).map_err(failed)?;
        let mut download = Command::new("apt-get");
        download
            .current_dir(home)
            .args(["-q", "download"])
            .args(self.packages);
        captured(&mut download).map_err(|error| self.missing(&error))?;
        let packages: Vec<PathBuf> = fs::read_dir(home)
            .map_err(failed)?
            .flatten()
            .map(|entry| entry.path())
            .collect();
        for package in packages {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("-x").arg(&package).arg(home);
            captured(&mut unpack).map_err(|error| self.missing(&error))?;
            fs::remove_file(&package).map_err(failed)?;
        }
        Ok(())
    }

    fn missing(&self, error: &Error) -> Error {
        Error::Missing {
            what: format!("{} ({error})", self.name),
            cure: format!(
                "install it (Debian: {}), let `apt-get update` run, or set {} to its path",
                self.packages.first().unwrap_or(&self.name),
                self.variable
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program {
        name: "no-such-server",
        variable: "HOOKGATE_NO_SUCH_SERVER",
        packages: &["no-such-package"],
    };

    #[test]
    fn a_program_is_found_with_the_libraries_that_were_unpacked_beside_it() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(PROGRAM.unpacked(dir.path()), None);
        let (bin, libraries) = (
            dir.path().join("usr/bin"),
            dir.path().join("usr/lib/riscv64-linux-gnu"),
        );
        for folder in [&bin, &libraries] {
            fs::create_dir_all(folder).unwrap();
        }
        let path = bin.join("no-such-server");
        fs::write(&path, "").unwrap();
        let binary = Binary {
            path,
            libraries: Some(libraries),
        };
        assert_eq!(PROGRAM.unpacked(dir.path()), Some(binary));
    }

    #[test]
    fn what_cannot_be_fetched_says_how_to_get_it() {
        let error = Error::Missing {
            what: "a".to_owned(),
            cure: "b".to_owned(),
        };
        assert_eq!(
            PROGRAM.missing(&error).to_string(),
            "no-such-server (a is missing: b) is missing: install it (Debian: no-such-package), let `apt-get update` run, or set HOOKGATE_NO_SUCH_SERVER to its path"
        );
    }
}
