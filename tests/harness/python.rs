//! Programs that come as Python packages, each in a virtual environment of its own under `target/tools`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{Error, captured, lock, on_path, tools_dir};

/// A set of packages.
pub(crate) struct Packages<'a> {
    /// The environment's name, with the versions in it.
    pub(crate) name: &'a str,
    /// What pip is told to install.
    pub(crate) packages: &'a [String],
    /// Whether without what they depend on.
    pub(crate) alone: bool,
    /// What else may be done where there is no Python.
    pub(crate) otherwise: &'a str,
}

/// The Python that has aiosmtpd, a mail server.
///
/// # Errors
///
/// When Python or its venv module is missing, or the package cannot be installed.
pub fn aiosmtpd() -> Result<PathBuf, Error> {
    python("aiosmtpd", "1.4.6")
}

/// The Python that has Synapse, a homeserver of Matrix.
///
/// # Errors
///
/// When Python or its venv module is missing, or the package cannot be installed.
pub fn synapse() -> Result<PathBuf, Error> {
    python("matrix-synapse", "1.163.2")
}

fn python(package: &str, version: &str) -> Result<PathBuf, Error> {
    let home = Packages {
        name: &format!("{package}-{version}"),
        packages: &[format!("{package}=={version}")],
        alone: false,
        otherwise: "",
    }
    .home(|home| Some(home.join("bin/python3")).filter(|python| python.exists()))?;
    Ok(home)
}

impl Packages<'_> {
    /// What `find` finds in the environment, which is made if it does not find it.
    ///
    /// # Errors
    ///
    /// When Python or its venv module is missing, or the packages cannot be installed.
    pub(crate) fn home(&self, find: impl Fn(&Path) -> Option<PathBuf>) -> Result<PathBuf, Error> {
        let home = tools_dir()?.join(self.name);
        if let Some(found) = find(&home) {
            return Ok(found);
        }
        let _lock = lock(self.name)?;
        if let Some(found) = find(&home) {
            return Ok(found); // Installed by another while this one waited.
        }
        eprintln!(
            "installing {} with pip into {}",
            self.packages.join(" "),
            home.display()
        );
        // A half-made one is never found under its name.
        let partial = home.with_file_name(format!("{}.partial", self.name));
        let _none_yet = fs::remove_dir_all(&partial);
        let _incomplete = fs::remove_dir_all(&home);
        self.install(&partial).inspect_err(|_| {
            let _nothing_made = fs::remove_dir_all(&partial);
        })?;
        fs::rename(&partial, &home).map_err(|source| Error::Io {
            path: home.clone(),
            source,
        })?;
        find(&home).ok_or_else(|| Error::Missing {
            what: format!("the program in {}", self.packages.join(" ")),
            cure: format!("remove {} and try again{}", home.display(), self.otherwise),
        })
    }

    fn install(&self, home: &Path) -> Result<(), Error> {
        self.make_venv(home)?;
        let mut pip = Command::new(home.join("bin/python3"));
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ]);
        if self.alone {
            pip.arg("--no-deps");
        }
        pip.args(self.packages);
        captured(&mut pip).map(|_| ())
    }

    fn make_venv(&self, home: &Path) -> Result<(), Error> {
        let missing = |what: &str, package: &str| Error::Missing {
            what: format!("{what}, which installs {},", self.packages.join(" ")),
            cure: format!("apt-get install {package}{}", self.otherwise),
        };
        if on_path("python3").is_none() {
            return Err(missing("python3", "python3 python3-venv"));
        }
        let mut venv = Command::new("python3");
        venv.args(["-m", "venv"]).arg(home);
        let Err(error) = captured(&mut venv) else {
            return Ok(());
        };
        let reason = error.to_string();
        if reason.contains("ensurepip") || reason.contains("No module") {
            return Err(missing("Python's venv module", "python3-venv"));
        }
        Err(error)
    }
}
