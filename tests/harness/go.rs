//! Programs that come as Go modules: named by a variable, or built, once, from the module under `tests/servers` that pins
//! them.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ring::digest::{Context, SHA256};
use serde_json::Value;

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

/// A program that comes as a Go module.
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: &'static str,
    /// The folder under `tests/servers` whose go.mod pins it.
    pub(crate) folder: &'static str,
    /// The variable that names one.
    pub(crate) variable: &'static str,
    /// Its package.
    pub(crate) package: &'static str,
    /// The module whose version it is of.
    pub(crate) module: &'static str,
    /// The Go variable that tells the program its version, where it does not know it by itself.
    pub(crate) version_variable: Option<&'static str>,
    /// A file that the program embeds and that its module comes without: it is built from a copy, with an empty one.
    pub(crate) embeds: Option<&'static str>,
}

impl Program {
    /// Where it is; builds it if need be.
    pub(crate) fn find(&self) -> Result<PathBuf, Error> {
        if let Some(path) = from_environment(self.variable)? {
            return Ok(path);
        }
        let module = self.pinned();
        let go_mod = read(&module.join("go.mod"))?;
        let go_sum = read(&module.join("go.sum"))?;
        let version = self.version(&go_mod)?;
        let flags = self.linker_flags(version);
        // Most have no code of their own.
        let main = fs::read_to_string(module.join("main.go")).unwrap_or_default();
        let stamp = stamp(&[&go_mod, &go_sum, &main, &flags]);
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
        let module = match self.embeds {
            Some(file) => self.copy(&go, &module, version, file)?,
            None => module,
        };
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
        let otherwise = format!(
            ", or set {} to the path of one that is built",
            self.variable
        );
        go(&format!("builds {}", self.name), &otherwise)
    }

    /// Where Go keeps its module; fetches it if need be. Nothing there may be written to.
    pub(crate) fn sources(&self) -> Result<PathBuf, Error> {
        let module = self.pinned();
        let go_mod = read(&module.join("go.mod"))?;
        download(&self.go()?, &module, self.module, self.version(&go_mod)?)
    }

    /// The folder whose go.mod pins it.
    fn pinned(&self) -> PathBuf {
        workspace().join("tests/servers").join(self.folder)
    }

    /// The version that this go.mod pins.
    fn version<'a>(&self, go_mod: &'a str) -> Result<&'a str, Error> {
        required(go_mod, self.module).ok_or_else(|| Error::Missing {
            what: format!("{} in tests/servers/{}/go.mod", self.module, self.folder),
            cure: "restore the file".to_owned(),
        })
    }

    /// Copies the program's module to where it may be written to, and adds the file; the copy.
    fn copy(&self, go: &Path, module: &Path, version: &str, file: &str) -> Result<PathBuf, Error> {
        let from = download(go, module, self.module, version)?;
        let to = tools_dir()?.join(format!("{}.src", self.name));
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        if to.exists() {
            fs::remove_dir_all(&to).map_err(io(&to))?;
        }
        copy_tree(&from, &to).map_err(io(&to))?;
        let file = to.join(file);
        let folder = file.parent().unwrap_or(&to);
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&file, ""))
            .map_err(io(&file))?;
        Ok(to)
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

/// A Go that does this, if need be with a newer toolchain that it fetches.
fn go(does: &str, otherwise: &str) -> Result<PathBuf, Error> {
    let archive = Some(PathBuf::from(GO_ARCHIVE)).filter(|path| path.is_file());
    let cure = format!(
        "install Go {}.{} or newer (Debian: golang-go){otherwise}",
        GO.0, GO.1
    );
    let Some(go) = on_path("go").or(archive) else {
        return Err(Error::Missing {
            what: format!("Go, which {does},"),
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
        what: format!("a Go newer than {:?}, which {does},", version.trim()),
        cure,
    })
}

/// The folder of a module, in the version that the go.mod in `folder` requires.
pub(crate) fn downloaded(folder: &Path, module: &str) -> Result<PathBuf, Error> {
    let go = go(&format!("fetches {module}"), "")?;
    let file = folder.join("go.mod");
    let go_mod = read(&file)?;
    let version = required(&go_mod, module).ok_or_else(|| Error::Missing {
        what: format!("{module} in {}", file.display()),
        cure: "restore the file".to_owned(),
    })?;
    download(&go, folder, module, version)
}

/// The folder of a module, which is fetched if need be.
fn download(go: &Path, folder: &Path, module: &str, version: &str) -> Result<PathBuf, Error> {
    let wanted = format!("{module}@{version}");
    let mut download = Command::new(go);
    download
        .current_dir(folder)
        .args(["mod", "download", "-json", &wanted])
        .env("GOWORK", "off");
    let downloaded: Value = serde_json::from_str(&captured(&mut download)?).unwrap_or_default();
    let dir = downloaded["Dir"].as_str().ok_or_else(|| Error::Missing {
        what: format!("the folder of {wanted}"),
        cure: format!("see what `{}` says", line(&download)),
    })?;
    Ok(PathBuf::from(dir))
}

/// Files of a module are read-only where Go keeps them; their copies are not.
fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_tree(&entry.path(), &target)?;
        } else {
            fs::write(&target, fs::read(entry.path())?)?;
        }
    }
    Ok(())
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
impl Program {
    /// Its go.mod names it, and pins it.
    pub(crate) fn check(&self) {
        let go_mod = read(&self.pinned().join("go.mod")).unwrap();
        let version = required(&go_mod, self.module).unwrap_or_default();
        assert!(version.starts_with('v'), "{}: {version:?}", self.name);
        if self.package == "." {
            return; // It is in the folder.
        }
        let lines: Vec<&str> = go_mod.lines().map(str::trim).collect();
        let is_named = |line: &&str| line.trim_start_matches("tool ") == self.package;
        assert!(lines.iter().any(is_named), "{}", self.name);
    }
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
