//! etcd, kube-apiserver and the NATS server: named by a variable, or built with Go, once, from the module under
//! `tests/servers` that pins them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};

use crate::binaries::{
    Error, captured, from_environment, line, lock, on_path, tools_dir, workspace,
};
use crate::forge::hex;
use crate::process::last_lines;
use crate::wait::POLL;

/// The first Go that fetches the toolchain that a go.mod names, if that is a newer one.
const GO: (u32, u32) = (1, 21);

/// Where Go's own archive is unpacked to, by its manual.
const GO_ARCHIVE: &str = "/usr/local/go/bin/go";

/// How often a long build says that it still builds.
const PROGRESS: Duration = Duration::from_secs(30);

/// How much of a failed build's output is shown.
const LOG_LINES: usize = 40;

/// A server that comes as a Go module.
struct Server {
    /// Its name, and its folder's under `tests/servers`.
    name: &'static str,
    /// The variable that names one.
    variable: &'static str,
    /// The package of its program.
    package: &'static str,
    /// The module whose version it is of.
    module: &'static str,
    /// The Go variable that tells the program its version, where it does not know it by itself.
    version_variable: Option<&'static str>,
}

const ETCD: Server = Server {
    name: "etcd",
    variable: "ETCD",
    package: "go.etcd.io/etcd/server/v3",
    module: "go.etcd.io/etcd/server/v3",
    version_variable: None,
};

const KUBE_APISERVER: Server = Server {
    name: "kube-apiserver",
    variable: "KUBE_APISERVER",
    package: "k8s.io/kubernetes/cmd/kube-apiserver",
    module: "k8s.io/kubernetes",
    // Without it clients cannot parse what `/version` says.
    version_variable: Some("k8s.io/component-base/version.gitVersion"),
};

const NATS: Server = Server {
    name: "nats",
    variable: "NATS_SERVER",
    package: "github.com/nats-io/nats-server/v2",
    module: "github.com/nats-io/nats-server/v2",
    version_variable: None,
};

/// etcd: the variable `ETCD`, or one in `target/tools`, or a build of the module in `tests/servers/etcd`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn etcd() -> Result<PathBuf, Error> {
    ETCD.find()
}

/// kube-apiserver: the variable `KUBE_APISERVER`, or one in `target/tools`, or a build of the module in
/// `tests/servers/kube-apiserver`, which takes minutes.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn kube_apiserver() -> Result<PathBuf, Error> {
    KUBE_APISERVER.find()
}

/// The NATS server: the variable `NATS_SERVER`, or one in `target/tools`, or a build of the module in `tests/servers/nats`.
///
/// # Errors
///
/// When Go is missing or too old, or the build fails.
pub fn nats() -> Result<PathBuf, Error> {
    NATS.find()
}

impl Server {
    fn find(&self) -> Result<PathBuf, Error> {
        if let Some(path) = from_environment(self.variable)? {
            return Ok(path);
        }
        let module = workspace().join("tests/servers").join(self.name);
        let go_mod = read(&module.join("go.mod"))?;
        let go_sum = read(&module.join("go.sum"))?;
        let version = required(&go_mod, self.module).ok_or_else(|| Error::Missing {
            what: format!("{} in tests/servers/{}/go.mod", self.module, self.name),
            cure: "restore the file".to_owned(),
        })?;
        let flags = self.linker_flags(version);
        let stamp = stamp(&[&go_mod, &go_sum, &flags]);
        let built = tools_dir()?.join(self.name);
        if is_current(&built, &stamp) {
            return Ok(built);
        }
        let _lock = lock(self.name)?;
        if is_current(&built, &stamp) {
            return Ok(built); // Built by another while this one waited.
        }
        let go = self.go()?;
        eprintln!(
            "building {} {version} with Go: once, and minutes on a small machine",
            self.name
        );
        let partial = built.with_extension("partial");
        self.build(&go, &module, &flags, &partial)?;
        fs::rename(&partial, &built)
            .and_then(|()| fs::write(stamp_file(&built), stamp))
            .map_err(|source| Error::Io {
                path: built.clone(),
                source,
            })?;
        Ok(built)
    }

    fn linker_flags(&self, version: &str) -> String {
        match self.version_variable {
            Some(variable) => format!("-s -w -X {variable}={version}"),
            None => "-s -w".to_owned(),
        }
    }

    /// A Go that can build it, if need be with a newer toolchain that it fetches.
    fn go(&self) -> Result<PathBuf, Error> {
        let archive = Some(PathBuf::from(GO_ARCHIVE)).filter(|path| path.is_file());
        let cure = format!(
            "install Go {}.{} or newer (Debian: golang-go), or set {} to the path of one that is built",
            GO.0, GO.1, self.variable
        );
        let Some(go) = on_path("go").or(archive) else {
            return Err(Error::Missing {
                what: format!("Go, which builds {},", self.name),
                cure,
            });
        };
        let mut version = Command::new(&go);
        version
            .current_dir(workspace())
            .env("GOTOOLCHAIN", "local")
            .args(["env", "GOVERSION"]);
        let version = captured(&mut version)?;
        if release(&version).is_some_and(|release| release >= GO) {
            return Ok(go);
        }
        Err(Error::Missing {
            what: format!(
                "a Go newer than {:?}, which builds {},",
                version.trim(),
                self.name
            ),
            cure,
        })
    }

    fn build(&self, go: &Path, module: &Path, flags: &str, to: &Path) -> Result<(), Error> {
        let log = to.with_extension("build.log");
        let mut command = Command::new(go);
        command
            .current_dir(module)
            .args(["build", "-trimpath", "-mod=readonly", "-buildvcs=false"])
            .arg(format!("-ldflags={flags}"))
            .arg("-o")
            .arg(to)
            .arg(self.package)
            // No C compiler, and nothing from a workspace around this repository.
            .envs([("CGO_ENABLED", "0"), ("GOWORK", "off")]);
        if std::env::var_os("GOTOOLCHAIN").is_none() {
            // Distributions set `local`, with which an older Go refuses instead of fetching.
            command.env("GOTOOLCHAIN", "auto");
        }
        let output = File::create(&log).map_err(|source| Error::Io {
            path: log.clone(),
            source,
        })?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output);
        let shown = line(&command);
        let failed = |output: String| Error::Failed {
            command: shown.clone(),
            output,
        };
        let mut child = command.spawn().map_err(|error| failed(error.to_string()))?;
        let start = Instant::now();
        let mut told = start;
        let status = loop {
            match child
                .try_wait()
                .map_err(|error| failed(error.to_string()))?
            {
                Some(status) => break status,
                None => thread::sleep(POLL),
            }
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                eprintln!(
                    "{}: still building after {} s",
                    self.name,
                    start.elapsed().as_secs()
                );
            }
        };
        if status.success() {
            return Ok(());
        }
        let written = fs::read(&log).unwrap_or_default();
        Err(failed(last_lines(
            &String::from_utf8_lossy(&written),
            LOG_LINES,
        )))
    }
}

/// What a build is made of; another one means another build.
fn stamp(parts: &[&str]) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(part.as_bytes());
        context.update(b"\0");
    }
    hex(context.finish().as_ref())
}

fn stamp_file(built: &Path) -> PathBuf {
    built.with_extension("stamp")
}

fn is_current(built: &Path, stamp: &str) -> bool {
    built.is_file() && fs::read_to_string(stamp_file(built)).is_ok_and(|held| held == stamp)
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(|error| Error::Missing {
        what: format!("{path:?} ({error})"),
        cure: "restore the file".to_owned(),
    })
}

/// The version of a module that a go.mod requires.
fn required<'a>(go_mod: &'a str, module: &str) -> Option<&'a str> {
    go_mod.lines().find_map(|line| {
        let mut words = line
            .split_whitespace()
            .skip_while(|word| *word == "require");
        (words.next() == Some(module)).then(|| words.next())?
    })
}

/// Major and minor version of `go1.26.8`.
fn release(version: &str) -> Option<(u32, u32)> {
    let mut numbers = version
        .trim()
        .strip_prefix("go")?
        .split(['.', 'r', 'b', '-']);
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gos_version_is_read_with_and_without_a_patch() {
        assert_eq!(
            ["go1.26.8\n", "go1.21", "go1.22rc1", "devel go1.27", ""].map(release),
            [Some((1, 26)), Some((1, 21)), Some((1, 22)), None, None]
        );
    }

    #[test]
    fn every_server_is_required_by_its_module() {
        for server in [ETCD, KUBE_APISERVER] {
            let go_mod = read(
                &workspace()
                    .join("tests/servers")
                    .join(server.name)
                    .join("go.mod"),
            )
            .unwrap();
            let version = required(&go_mod, server.module).unwrap_or_default();
            assert!(version.starts_with('v'), "{}: {version:?}", server.name);
            assert!(
                go_mod.contains(&format!("tool {}\n", server.package)),
                "{}",
                server.name
            );
        }
    }

    #[test]
    fn a_build_is_current_only_for_what_it_was_made_of() {
        let dir = tempfile::TempDir::new().unwrap();
        let built = dir.path().join("server");
        let one = stamp(&["a", "b"]);
        fs::write(stamp_file(&built), &one).unwrap();
        assert!(!is_current(&built, &one), "there is no program");
        fs::write(&built, "").unwrap();
        assert!(is_current(&built, &one));
        assert!(!is_current(&built, &stamp(&["ab", ""])));
    }
}
