//! Programs that come as Python packages, each in a virtual environment of its own under `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{Error, captured, folder, on_path};

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
        let what = format!("{} from PyPI", self.packages.join(" "));
        folder(self.name, &what, find, |home| self.install(home)).map_err(|error| match error {
            Error::Missing { what, cure } => Error::Missing {
                what,
                cure: format!("{cure}{}", self.otherwise),
            },
            error @ (Error::Failed { .. } | Error::Io { .. }) => error,
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
            cure: format!("apt-get install {package}"),
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
