//! Asks a real Envoy whether it would start with a configuration, before anybody deploys it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::error::EdgeError;
use super::input::{Chain, Discovered, Identity};

/// The oldest Envoy that is tested: minor version of 1.
const OLDEST: u32 = 38;

/// The flag that names an Envoy.
#[derive(Debug, Clone, clap::Args)]
pub struct EnvoyArgs {
    /// The Envoy that has to accept the configuration before it is printed [default: envoy on the PATH, if there is one]
    #[arg(long, value_name = "FILE")]
    pub envoy: Option<PathBuf>,
}

/// What an Envoy is asked to accept.
pub(super) enum Configuration<'a> {
    /// A whole bootstrap.
    Whole(&'a str),
    /// What is laid over another bootstrap.
    Over {
        /// The bootstrap below, JSON.
        base: &'a str,
        /// What is laid over it.
        overlay: &'a str,
    },
}

/// Whether and by which version the configuration was accepted; a sentence for stderr.
///
/// # Errors
/// An Envoy that was named and is none, is too old, or refuses the configuration.
pub(super) fn validate(
    args: &EnvoyArgs,
    configuration: &Configuration<'_>,
) -> Result<String, EdgeError> {
    let program = args.envoy.clone().unwrap_or_else(|| "envoy".into());
    let version = match Command::new(&program)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
    {
        Ok(output) => version_in(&String::from_utf8_lossy(&output.stdout)),
        Err(error) if args.envoy.is_none() && error.kind() == io::ErrorKind::NotFound => {
            return Ok(
                "not validated: there is no envoy on the PATH; name one with --envoy FILE"
                    .to_owned(),
            );
        }
        Err(source) => return Err(EdgeError::Envoy { program, source }),
    };
    let Some(version) = version else {
        return Err(EdgeError::NoEnvoy { program });
    };
    if version.0 == 1 && version.1 < OLDEST {
        return Err(EdgeError::OldEnvoy {
            version: shown(version),
        });
    }
    let refused = ask(&program, configuration).map_err(|source| EdgeError::Envoy {
        program: program.clone(),
        source,
    })?;
    match refused {
        None => Ok(format!("validated by Envoy {}", shown(version))),
        Some(message) => Err(EdgeError::Refused {
            version: shown(version),
            message,
        }),
    }
}

type Version = (u32, u32, u32);

fn shown((major, minor, patch): Version) -> String {
    format!("{major}.{minor}.{patch}")
}

/// The version in `envoy  version: <commit>/1.40.0/Clean/RELEASE/BoringSSL`.
fn version_in(text: &str) -> Option<Version> {
    let (_, build) = text.lines().find_map(|line| line.split_once("version: "))?;
    let mut numbers = build.split('/').nth(1)?.split(['.', '-']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some((next()?, next()?, next()?))
}

/// What Envoy has against it, if anything.
fn ask(program: &Path, configuration: &Configuration<'_>) -> io::Result<Option<String>> {
    let folder = Scratch::create()?;
    let mut command = Command::new(program);
    command.args(["--mode", "validate", "--log-level", "error"]);
    // A bootstrap of Contour names no node: its Pod does, by arguments.
    command.args([
        "--service-node",
        "hookgate",
        "--service-cluster",
        "hookgate",
    ]);
    command.arg("--use-dynamic-base-id");
    match configuration {
        Configuration::Whole(text) => {
            command.arg("-c").arg(folder.file("envoy.yaml", text)?);
        }
        Configuration::Over { base, overlay } => {
            command.arg("-c").arg(folder.file("envoy.json", base)?);
            command.args(["--config-yaml", overlay]);
        }
    }
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(None);
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = text
        .lines()
        .rev()
        .find(|line| line.contains("error initializing configuration"))
        .or_else(|| text.lines().rev().find(|line| !line.trim().is_empty()));
    Ok(Some(last.unwrap_or("it says nothing").to_owned()))
}

/// The chain with files that exist here in place of those of Envoy's Pod: Envoy looks whether they are there.
pub(super) fn with_files_of_this_machine(chain: &Chain, stand_in: &Path) -> Chain {
    let mut chain = chain.clone();
    if let Some(tls) = &mut chain.xds_tls {
        if let Identity::Discovered(Discovered { file, .. }) = &mut tls.identity {
            stand_in.clone_into(file);
        }
        if let super::input::Authority::Discovered(Discovered { file, .. }) = &mut tls.authority {
            stand_in.clone_into(file);
        }
    }
    chain
}

/// A folder of this process, removed when dropped.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn create() -> io::Result<Self> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("hookgate-edge-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        // Somebody else's folder of that name is an error, not a place to write into.
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn file(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.0.join(name);
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _gone_already = fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_envoy_says_of_itself() {
        for (text, want) in [
            (
                "\nenvoy  version: 0123abc/1.40.0/Clean/RELEASE/BoringSSL\n",
                Some((1, 40, 0)),
            ),
            (
                "envoy  version: 0123abc/1.41.0-dev/Clean/RELEASE/BoringSSL",
                Some((1, 41, 0)),
            ),
            ("cat (GNU coreutils) 9.1", None),
            ("", None),
        ] {
            assert_eq!(version_in(text), want, "{text:?}");
        }
    }

    #[test]
    fn what_is_named_and_is_no_envoy_is_refused() {
        let args = EnvoyArgs {
            envoy: Some("/bin/true".into()),
        };
        let error = validate(&args, &Configuration::Whole("{}")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "\"/bin/true\" is no Envoy: --version does not say so; give its path with --envoy"
        );
    }
}
