//! Programs that come as Debian packages: named by a variable, or on the `PATH`, or unpacked under `target/tools`.
//!
//! Nothing is installed and nobody has to be root: the package is downloaded with the libraries that this machine lacks.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::binaries::{Error, captured, folder, from_environment, on_path, tools_dir};

/// A program of a package.
struct Program {
    /// Its name.
    name: &'static str,
    /// The variable that names one.
    variable: &'static str,
    /// Its package.
    package: &'static str,
    /// Packages with other parts of it, libraries aside.
    with: &'static [&'static str],
}

const PROMTOOL: Program = Program {
    name: "promtool",
    variable: "PROMTOOL",
    package: "prometheus",
    with: &[],
};

const REDIS_SERVER: Program = Program {
    name: "redis-server",
    variable: "REDIS_SERVER",
    package: "redis-server",
    // The program is a link to one of its files.
    with: &["redis-tools"],
};

const RABBITMQ: Program = Program {
    // Started by the runtime of Erlang, as its own scripts know only where packages are installed.
    name: "rabbitmq-server",
    variable: "RABBITMQ_SERVER",
    package: "rabbitmq-server",
    with: &[
        "erlang-asn1",
        "erlang-base",
        "erlang-crypto",
        "erlang-eldap",
        "erlang-ftp",
        "erlang-inets",
        "erlang-mnesia",
        "erlang-os-mon",
        "erlang-parsetools",
        "erlang-public-key",
        "erlang-runtime-tools",
        "erlang-ssl",
        "erlang-syntax-tools",
        "erlang-tftp",
        "erlang-tools",
        "erlang-xmerl",
    ],
};

/// promtool, which checks the rules of Prometheus: the variable `PROMTOOL`, or one on the `PATH`, or that of Debian's
/// package `prometheus`.
///
/// # Errors
///
/// When the package cannot be had.
pub fn promtool() -> Result<Found, Error> {
    PROMTOOL.find()
}

/// The Redis server: the variable `REDIS_SERVER`, or one on the `PATH`, or that of Debian's package `redis-server`.
///
/// # Errors
///
/// When the package cannot be had.
pub fn redis_server() -> Result<Found, Error> {
    REDIS_SERVER.find()
}

/// The root below which Debian's packages of RabbitMQ and Erlang are unpacked: always ours, so that one that is installed, and
/// perhaps runs, is left alone.
///
/// # Errors
///
/// When the packages cannot be had.
pub fn rabbitmq() -> Result<PathBuf, Error> {
    let found = RABBITMQ.unpacked()?;
    let root = found.program.ancestors().nth(3).map(Path::to_owned);
    root.ok_or_else(|| Error::Missing {
        what: "the folder of RabbitMQ".to_owned(),
        cure: "remove target/tools/debian-rabbitmq-server".to_owned(),
    })
}

/// A program that can be run.
#[derive(Clone, Debug)]
pub struct Found {
    program: PathBuf,
    /// Where its libraries are, besides the usual places.
    libraries: Vec<PathBuf>,
}

impl Found {
    /// A command without arguments.
    #[must_use]
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        if !self.libraries.is_empty() {
            let paths: Vec<OsString> = self.libraries.iter().map(Into::into).collect();
            command.env("LD_LIBRARY_PATH", paths.join(":".as_ref()));
        }
        command
    }

    /// One that needs nothing.
    fn alone(program: PathBuf) -> Self {
        Self {
            program,
            libraries: Vec::new(),
        }
    }

    /// One in the root of unpacked packages.
    fn unpacked(root: &Path, name: &str) -> Option<Self> {
        let program = ["usr/bin", "usr/sbin"]
            .map(|dir| root.join(dir).join(name))
            .into_iter()
            .find(|path| path.is_file())?;
        let libraries = ["usr/lib", "lib"]
            .into_iter()
            .filter_map(|dir| fs::read_dir(root.join(dir)).ok())
            .flat_map(|entries| entries.flatten())
            // Those of a machine's kind: x86_64-linux-gnu.
            .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
            .map(|entry| entry.path())
            .collect();
        Some(Self { program, libraries })
    }
}

impl Program {
    fn find(&self) -> Result<Found, Error> {
        if let Some(program) = from_environment(self.variable)? {
            return Ok(Found::alone(program));
        }
        match on_path(self.name) {
            Some(program) => Ok(Found::alone(program)),
            None => self.unpacked(),
        }
    }

    /// That of the package, which is unpacked if it is not yet.
    fn unpacked(&self) -> Result<Found, Error> {
        let found = folder(
            &format!("debian-{}", self.package),
            &format!("Debian's package {}", self.package),
            |root| Found::unpacked(root, self.name),
            |root| self.unpack(root),
        );
        found.map_err(|error| Error::Missing {
            what: format!("{} ({error})", self.name),
            cure: format!(
                "apt-get install {}, or set {} to the path of one",
                self.package, self.variable
            ),
        })
    }

    fn unpack(&self, root: &Path) -> Result<(), Error> {
        let downloads = root.join("downloads");
        fs::create_dir_all(&downloads).map_err(|source| Error::Io {
            path: downloads.clone(),
            source,
        })?;
        self.download(&downloads)?;
        let failed = |source| Error::Io {
            path: downloads.clone(),
            source,
        };
        for archive in fs::read_dir(&downloads).map_err(failed)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract");
            unpack.arg(archive.map_err(failed)?.path()).arg(root);
            captured(&mut unpack)?;
        }
        fs::remove_dir_all(&downloads).map_err(failed)
    }

    /// By the machine's lists of packages or, where it has none or they are out of date, by lists of our own.
    fn download(&self, to: &Path) -> Result<(), Error> {
        if self.download_with(&Apt { lists: None }, to).is_ok() {
            return Ok(());
        }
        let own = Apt {
            lists: Some(tools_dir()?.join("apt")),
        };
        own.update()?;
        self.download_with(&own, to)
    }

    fn download_with(&self, apt: &Apt, to: &Path) -> Result<(), Error> {
        let mut plan = apt.command("install");
        plan.args(["--simulate", "--no-install-recommends", self.package]);
        let packages = self.of_plan(&captured(&mut plan)?);
        let mut download = apt.command("download");
        captured(download.args(packages).current_dir(to)).map(|_| ())
    }

    /// Of what would be installed, what the program cannot run without.
    fn of_plan(&self, plan: &str) -> Vec<String> {
        let is_library = |name: &str| {
            name.starts_with("lua-") || name.starts_with("lib") && !name.starts_with("libjs-")
        };
        let libraries = plan
            .lines()
            .filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
            .filter(|name| is_library(name));
        [self.package]
            .into_iter()
            .chain(self.with.iter().copied())
            .chain(libraries)
            .map(str::to_owned)
            .collect()
    }
}

/// apt-get, with the machine's lists of packages or with those in a folder.
struct Apt {
    lists: Option<PathBuf>,
}

impl Apt {
    fn command(&self, word: &str) -> Command {
        let mut command = Command::new("apt-get");
        command.args(["--quiet", "--option", "Debug::NoLocking=1"]);
        // Root would hand over to a user who may not write here.
        command.args(["--option", "APT::Sandbox::User=root"]);
        if let Some(lists) = &self.lists {
            let option = |name: &str, path: &Path| format!("Dir::{name}={}", path.display());
            command.args(["--option", &option("State::Lists", &lists.join("lists"))]);
            command.args(["--option", &option("Cache", &lists.join("cache"))]);
        }
        command.arg(word);
        command
    }

    fn update(&self) -> Result<(), Error> {
        for dir in self.lists.iter().flat_map(|lists| {
            ["lists/partial", "cache/archives/partial"].map(|dir| lists.join(dir))
        }) {
            fs::create_dir_all(&dir).map_err(|source| Error::Io { path: dir, source })?;
        }
        captured(&mut self.command("update")).map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_plan_the_libraries_are_taken_and_what_pages_or_services_need_is_not() {
        let plan = "\
Reading package lists...
Inst libjs-jquery (3.6.1 Debian:12 [all])
Inst fonts-glyphicons-halflings (1.009 Debian:12 [all])
Inst liblzf1 (3.6-3 Debian:12 [amd64])
Inst lua-cjson [2.1] (2.1.0 Debian:12 [amd64]) []
Conf liblzf1 (3.6-3 Debian:12 [amd64])
";
        assert_eq!(
            REDIS_SERVER.of_plan(plan),
            ["redis-server", "redis-tools", "liblzf1", "lua-cjson"]
        );
    }

    #[test]
    fn an_unpacked_program_is_told_where_its_libraries_are() {
        let root = tempfile::TempDir::new().unwrap();
        let libraries = root.path().join("usr/lib/x86_64-linux-gnu");
        let program = root.path().join("usr/bin/redis-server");
        assert!(Found::unpacked(root.path(), "redis-server").is_none());
        for dir in [
            &libraries,
            &root.path().join("usr/bin"),
            &root.path().join("usr/lib/systemd"),
        ] {
            fs::create_dir_all(dir).unwrap();
        }
        fs::write(&program, "").unwrap();
        let command = Found::unpacked(root.path(), "redis-server")
            .unwrap()
            .command();
        let set: Vec<_> = command.get_envs().collect();
        assert_eq!(
            (command.get_program(), set),
            (
                program.as_os_str(),
                vec![("LD_LIBRARY_PATH".as_ref(), Some(libraries.as_os_str()))]
            )
        );
    }
}
