//! `envoy/image`: the steps of the Containerfile, as no builder of images runs here.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use e2e::hookgate::Hookgate;
use e2e::kustomize::Kustomization;
use e2e::trials::Trials;
use e2e::{Cluster, binaries};
use serde_json::json;
use tempfile::TempDir;

use crate::workload;

/// Seconds that no file has by chance.
const EPOCH: &str = "1700000000";

/// What is in the image: permissions, and where.
const CONTENT: [(u32, &str); 14] = [
    (0o755, ""),
    (0o755, "etc"),
    (0o644, "etc/group"),
    (0o644, "etc/passwd"),
    (0o755, "etc/ssl"),
    (0o755, "etc/ssl/certs"),
    (0o644, "etc/ssl/certs/ca-certificates.crt"),
    (0o755, "licenses"),
    (0o644, "licenses/LICENSE"),
    (0o1777, "spool"),
    (0o1777, "tmp"),
    (0o755, "usr"),
    (0o755, "usr/local"),
    (0o755, "usr/local/bin"),
];

/// The two programs, in `usr/local/bin`.
const PROGRAMS: [(u32, &str); 2] = [
    (0o644, "usr/local/bin/filter.wasm"),
    (0o755, "usr/local/bin/hookgate"),
];

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared(
            "the_image_is_one_static_file_that_runs_by_itself_and_the_filter",
            built,
        )
        .alone("equal_files_make_an_equal_image", reproducible)
        .alone("each_step_of_the_containerfile_is_tried_here", steps)
        .alone("the_pod_runs_the_image_as_it_is_meant_to", pod)
}

/// A script of `envoy/image`, with arguments.
fn script(name: &str, arguments: &[&Path]) -> Command {
    let mut command = Command::new(binaries::workspace().join("envoy/image").join(name));
    command.args(arguments);
    binaries::as_from_a_shell(&mut command);
    command
}

fn succeed(command: &mut Command) {
    let output = command.output().expect("the script can be run");
    assert!(
        output.status.success(),
        "{command:?}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The image's root, of these files.
fn root(dir: &Path, binary: &Path, filter: &Path) -> PathBuf {
    let certificates = dir.join("certificates");
    fs::write(&certificates, "none").expect("a file can be written");
    let out = dir.join("image");
    let mut root = script("root.sh", &[binary, filter, &certificates, &out]);
    succeed(root.env("SOURCE_DATE_EPOCH", EPOCH));
    out
}

/// Everything below a folder: permissions, path, and the seconds of its last change.
fn content(root: &Path) -> Vec<(u32, String, i64)> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(path) = folders.pop() {
        let metadata = path.symlink_metadata().expect("it is there");
        let name = path.strip_prefix(root).expect("it is below").display();
        let mode = metadata.permissions().mode() & 0o7777;
        found.push((mode, name.to_string(), metadata.mtime()));
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("it can be read");
            folders.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort_by(|one, other| one.1.cmp(&other.1));
    found
}

fn built(cluster: &Cluster) {
    let dir = TempDir::new().expect("a folder can be made");
    let (binary, filter) = (dir.path().join("hookgate"), dir.path().join("filter.wasm"));
    // As a debug build, which is the same but for how long it takes.
    succeed(&mut script("binary.sh", &[&binary, Path::new("dev")]));
    let shipped = binaries::filter_wasm().expect("it can be built");
    let mut build = script("filter.sh", &[&filter]);
    if binaries::on_path("wasm-opt").is_some() {
        succeed(&mut build);
        let read = |path| fs::read(path).expect("it can be read");
        assert!(read(&filter) == read(&shipped), "these are two filters");
    } else {
        // An image is not made with a filter that others would not get.
        let output = build.output().expect("the script can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said, "wasm-opt is missing: install binaryen\n");
        fs::copy(&shipped, &filter).expect("a file can be copied");
    }
    assert!(!has_interpreter(
        &fs::read(&binary).expect("it can be read")
    ));
    // What is not static has one: this test does.
    let own = std::env::current_exe().expect("it has a path");
    assert!(has_interpreter(&fs::read(own).expect("it can be read")));
    let root = root(dir.path(), &binary, &filter);
    let program = root.join("usr/local/bin/hookgate");
    let hookgate = Hookgate::try_start_binary(&program, cluster, "image", &[]);
    let hookgate = hookgate.unwrap_or_else(|error| panic!("{error}"));
    assert!(hookgate.is_ready() && hookgate.table().is_some());
}

/// Whether a 64-bit little-endian ELF file asks for a loader (a program header `PT_INTERP`).
fn has_interpreter(file: &[u8]) -> bool {
    assert_eq!(&file[..6], b"\x7fELF\x02\x01");
    let number = |at: usize, length: usize| {
        let bytes = file[at..at + length].iter().rev();
        bytes.fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    assert!(count > 0);
    (0..count).any(|n| number(table + n * size, 4) == 3)
}

fn reproducible() {
    let (one, other) = (
        TempDir::new().expect("a folder can be made"),
        TempDir::new().expect("a folder can be made"),
    );
    let roots = [&one, &other].map(|dir| {
        let (binary, filter) = (dir.path().join("a"), dir.path().join("b"));
        fs::write(&binary, "program").expect("a file can be written");
        fs::write(&filter, "filter").expect("a file can be written");
        root(dir.path(), &binary, &filter)
    });
    let mut wanted: Vec<(u32, &str)> = CONTENT.into_iter().chain(PROGRAMS).collect();
    wanted.sort_by_key(|(_, path)| *path);
    let time = EPOCH.parse().expect("a number");
    let wanted: Vec<_> = wanted
        .into_iter()
        .map(|(mode, path)| (mode, path.to_owned(), time))
        .collect();
    for root in &roots {
        assert_eq!(content(root), wanted);
    }
    let archives = roots.map(|root| {
        let mut tar = Command::new("tar");
        tar.args([
            "--create",
            "--sort=name",
            "--numeric-owner",
            "--owner=0",
            "--group=0",
        ]);
        tar.arg("--directory").arg(root).arg(".");
        tar.output().expect("tar runs").stdout
    });
    assert!(!archives[0].is_empty() && archives[0] == archives[1]);
    // Without a time there is no image.
    let nothing = one.path().join("nothing");
    let file = one.path().join("a");
    let mut root = script("root.sh", &[&file, &file, &file, &nothing]);
    let output = root.env_remove("SOURCE_DATE_EPOCH").output();
    let output = output.expect("the script can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("git log -1"),
        "{said}"
    );
    assert!(!nothing.exists());
}

/// The instructions of the Containerfile that begin with this word, without it.
fn instructions(word: &str) -> Vec<String> {
    let path = binaries::workspace().join("envoy/image/Containerfile");
    let text = fs::read_to_string(path).expect("the file can be read");
    let of_word = text.lines().filter_map(|line| line.strip_prefix(word));
    of_word.map(|rest| rest.trim().to_owned()).collect()
}

fn steps() {
    let run = instructions("RUN ");
    let (packages, scripts) = run.split_first().expect("there are steps");
    assert!(packages.starts_with("apt-get update && apt-get install "));
    // In the order of the test above.
    assert_eq!(
        scripts,
        [
            "envoy/image/filter.sh /filter.wasm",
            "envoy/image/binary.sh /hookgate",
            "SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH} envoy/image/root.sh /hookgate /filter.wasm /etc/ssl/certs/ca-certificates.crt /image",
        ]
    );
    // Everything that is copied is there, and the builder's Rust is ours.
    for line in instructions("COPY ") {
        let words: Vec<&str> = line.split(' ').collect();
        let (_, sources) = words.split_last().expect("it says where to");
        for source in sources
            .iter()
            .filter(|word| !word.starts_with("--from") && **word != "/image")
        {
            assert!(binaries::workspace().join(source).exists(), "{source}");
        }
    }
    let pinned = fs::read_to_string(binaries::workspace().join("rust-toolchain.toml"));
    let pinned = pinned.expect("the file can be read");
    let channel = pinned
        .lines()
        .find_map(|line| line.strip_prefix("channel = "));
    let channel = channel.expect("it pins one").trim_matches('"');
    let builder = instructions("ARG BUILDER=");
    assert!(
        builder[0].contains(&format!("rust:{channel}-")),
        "{builder:?}"
    );
}

fn pod() {
    assert_eq!(
        instructions("ENTRYPOINT "),
        [r#"["/usr/local/bin/hookgate"]"#]
    );
    assert_eq!(instructions("CMD "), [r#"["run"]"#]);
    let objects = Kustomization::of("controller").objects();
    let pod = &workload(&objects)["spec"]["template"]["spec"];
    let context = &pod["securityContext"];
    assert_eq!(
        instructions("USER "),
        [format!(
            "{}:{}",
            context["runAsUser"], context["runAsGroup"]
        )]
    );
    // Its arguments follow the entry point.
    let container = &pod["containers"][0];
    assert_eq!(
        (&container["command"], &container["args"][0]),
        (&json!(null), &json!("run"))
    );
}
