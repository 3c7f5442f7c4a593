//! The README's commands, run as they stand there: every `sh` block, in order, in one folder with what the README says is in it.
//!
//! A block that must not run here (it does not end, or it is this test) is a `text` block.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use e2e::binaries;
use e2e::forge::payload;
use e2e::readme::{self, blocks};
use e2e::tls::Tls;

#[test]
fn every_command_of_the_readme_does_what_it_says() {
    let readme = readme::text();
    let dir = tempfile::TempDir::new().expect("a folder can be made");
    set_up(dir.path());
    readme::write_files(&readme, dir.path());
    let scripts = blocks(&readme, "sh");
    assert!(!scripts.is_empty(), "README.md has no sh block");
    for script in scripts {
        run(&script, dir.path());
    }
    let verdict = fs::read_to_string(dir.path().join("output")).expect("the outputs are kept");
    assert!(
        verdict.contains("GitRepository") && verdict.to_lowercase().contains("admit"),
        "`hookgate explain request` does not admit the README's own hook:\n{verdict}"
    );
}

/// What the README takes as given: a certificate, a payload, and the programs on the `PATH`.
fn set_up(dir: &Path) {
    let _files = Tls::create(dir);
    fs::write(dir.join("push.json"), payload::GITHUB_PUSH).expect("a payload can be written");
    let programs = dir.join("bin");
    fs::create_dir(&programs).expect("a folder can be made");
    let link = |found: Result<_, binaries::Error>, name: &str| {
        let found = found.unwrap_or_else(|error| panic!("{error}"));
        symlink(found, programs.join(name)).expect("a link can be made");
    };
    link(binaries::hookgate(), "hookgate");
    link(binaries::envoy(binaries::ENVOY), "envoy");
}

fn run(script: &str, dir: &Path) {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(dir.join("bin")).chain(std::env::split_paths(&path));
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", script])
        .current_dir(dir)
        .env(
            "PATH",
            std::env::join_paths(folders).expect("folders make a PATH"),
        )
        .stdin(Stdio::null())
        .output()
        .expect("bash can be run");
    assert!(
        output.status.success(),
        "{}\n{script}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let kept = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(dir.join("output"));
    let written = kept.and_then(|mut file| file.write_all(&output.stdout));
    written.expect("the output can be kept");
}
