//! The rules of the house as tests: layering, headers, sizes, links. No process is started.
//!
//! Rust files are read as text. A rule about what code may *name* looks at the code alone: comments and documentation
//! may name what the code must not.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking, in its helpers too"
)]

use std::fs;
use std::path::{Path, PathBuf};

/// What may stand at the top, dot files apart.
const TOP_LEVEL: [&str; 11] = [
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "controller",
    "deny.toml",
    "envoy",
    "filter",
    "rust-toolchain.toml",
    "target",
    "tests",
];

/// The longest file that needs no reason.
const LONGEST: usize = 600;

/// Longer files, each with the reason why it is one thing.
const LONGER: [(&str, &str); 1] = [(
    "controller/src/cel/tests.rs",
    "one table of expressions, each with what it comes to",
)];

/// What pure code must not name, and what to do instead.
const IMPURE: [(&str, &str); 3] = [
    ("async", "return a value; the shell does the waiting"),
    ("tokio", "take what was read as an argument"),
    ("kube::Client", "take the objects as arguments"),
];

/// Hosts that packages come from: only the package managers' own configuration may name them.
const REGISTRIES: [&str; 8] = [
    concat!("index.", "crates.io"),
    concat!("static.", "crates.io"),
    concat!("files.", "pythonhosted.org"),
    concat!("pypi.", "org"),
    concat!("registry.", "npmjs.org"),
    concat!("proxy.", "golang.org"),
    concat!("repo.", "maven.apache.org"),
    concat!("deb.", "debian.org"),
];

/// Folders of somebody's machine.
const MACHINE_PATHS: [&str; 4] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/ho", "me/"),
    concat!("/Us", "ers/"),
];

#[test]
fn every_rust_file_opens_with_what_it_is_for() {
    let silent: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| !file.text.starts_with("//! "))
        .map(|file| file.name)
        .collect();
    assert_eq!(silent, Vec::<String>::new(), "open these with a //! line");
}

#[test]
fn no_file_is_longer_than_it_has_a_reason_for() {
    let long: Vec<String> = rust_files()
        .into_iter()
        .filter(|file| file.text.lines().count() > LONGEST)
        .filter(|file| !LONGER.iter().any(|(name, _)| *name == file.name))
        .map(|file| format!("{} has {} lines", file.name, file.text.lines().count()))
        .collect();
    assert_eq!(
        long,
        Vec::<String>::new(),
        "split these, or list them in LONGER with a reason"
    );
}

#[test]
fn every_file_that_is_listed_as_longer_is_longer_and_has_a_reason() {
    let files = rust_files();
    for (name, reason) in LONGER {
        let lines = files
            .iter()
            .find(|file| file.name == name)
            .map(|file| file.text.lines().count());
        assert!(
            lines.is_some_and(|lines| lines > LONGEST),
            "{name} needs no exception any more"
        );
        assert!(!reason.is_empty(), "say why {name} is long");
    }
}

#[test]
fn pure_code_names_nothing_that_waits_or_speaks() {
    let mut found = Vec::new();
    for file in rust_files().into_iter().filter(File::is_pure) {
        let code = file.code();
        for (word, cure) in IMPURE.into_iter().filter(|(word, _)| names(&code, word)) {
            found.push(format!("{} names {word}: {cure}", file.name));
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn only_host_rs_speaks_to_the_host() {
    let allowed = ["filter/src/host.rs"];
    assert_eq!(
        who_names("filter/", "proxy_wasm::hostcalls", &allowed),
        Vec::<String>::new()
    );
}

#[test]
fn outbound_connections_are_opened_in_few_places() {
    let fetch = "controller/src/receiver/jwks/fetch.rs";
    let outbound = "controller/src/outbound.rs";
    let transport = |file: &str| format!("controller/src/notify/transport/{file}.rs");
    let (client, http, wire) = (transport("client"), transport("http"), transport("wire"));
    let clients: [&str; 4] = [outbound, fetch, &client, &http];
    for (word, allowed) in [
        ("reqwest", &clients[..]),
        ("TcpStream::connect", &[wire.as_str()][..]),
        ("lookup_host", &[outbound][..]),
    ] {
        let others: Vec<String> = who_names("controller/src/", word, allowed)
            .into_iter()
            // Tests are clients of what they start themselves.
            .filter(|file| !file.contains("tests") && !file.ends_with("testing.rs"))
            .collect();
        assert_eq!(others, Vec::<String>::new(), "{word}");
    }
}

#[test]
fn the_core_has_no_std() {
    let core = read("filter/hook/src/lib.rs");
    assert!(
        core.contains("#![no_std]"),
        "filter/hook/src/lib.rs must say #![no_std]"
    );
    assert_eq!(
        who_names("filter/hook/src/", "extern crate std", &[]),
        Vec::<String>::new()
    );
}

#[test]
fn the_end_to_end_tests_share_no_code_with_what_they_check() {
    let manifest = read("tests/Cargo.toml");
    for package in ["hook", "filter", "controller"] {
        let depends = manifest.lines().any(|line| {
            line.split(['.', ' ', '='])
                .next()
                .is_some_and(|name| name == package)
        });
        assert!(!depends, "tests/Cargo.toml must not depend on {package}");
    }
    for word in ["hook::", "controller::receiver", "controller::publish"] {
        let forbidden = format!("use {word}");
        assert_eq!(who_names("tests/", &forbidden, &[]), Vec::<String>::new());
    }
}

#[test]
fn no_file_names_a_machine_or_a_package_registry() {
    let mut found = Vec::new();
    for file in text_files() {
        // The lock file names the registry's index by design.
        if file.name == "Cargo.lock" {
            continue;
        }
        for word in MACHINE_PATHS.into_iter().chain(REGISTRIES) {
            if file.text.contains(word) {
                found.push(format!("{} names {word}", file.name));
            }
        }
    }
    assert_eq!(found, Vec::<String>::new());
}

#[test]
fn the_links_and_paths_of_the_readme_exist() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        return;
    };
    let missing: Vec<String> = links(&readme)
        .into_iter()
        .chain(paths(&readme))
        .filter(|path| !root().join(path).exists())
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "README.md names what is not there"
    );
}

#[test]
fn the_anchors_of_the_readme_exist() {
    let Ok(readme) = fs::read_to_string(root().join("README.md")) else {
        return;
    };
    let headings: Vec<String> = prose(&readme)
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect();
    let missing: Vec<String> = targets(&readme)
        .into_iter()
        .filter_map(|target| target.strip_prefix('#').map(str::to_owned))
        .filter(|wanted| !headings.contains(wanted))
        .collect();
    assert_eq!(
        missing,
        Vec::<String>::new(),
        "no heading of README.md has these anchors"
    );
}

#[test]
fn nothing_unexpected_stands_at_the_top() {
    let unexpected: Vec<String> = fs::read_dir(root())
        .expect("the repository can be read")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.') && !TOP_LEVEL.contains(&name.as_str()))
        .collect();
    assert_eq!(
        unexpected,
        Vec::<String>::new(),
        "put these into one of {TOP_LEVEL:?}"
    );
}

#[test]
fn every_exception_to_a_lint_has_a_reason() {
    let mut bare = Vec::new();
    for file in rust_files() {
        let code = file.code();
        for attribute in ["expect(", "allow("] {
            for (at, _) in code.match_indices(&format!("[{attribute}")) {
                let inside = code[at..].split(")]").next().unwrap_or_default();
                if !inside.contains("reason") {
                    bare.push(format!("{}: {}", file.name, inside.trim()));
                }
            }
        }
    }
    assert_eq!(bare, Vec::<String>::new());
}

/// A file of the repository.
struct File {
    /// Its path from the root, with slashes.
    name: String,
    text: String,
}

impl File {
    /// Pure by the layering of the crate docs: no client, no clock, no waiting.
    fn is_pure(&self) -> bool {
        let inside = self.name.starts_with("controller/src/");
        let last = self.name.rsplit('/').next().unwrap_or_default();
        let is_command = ["flux_recv", "migrate"].iter().any(|core| {
            let folder = format!("controller/src/{core}");
            self.name == format!("{folder}.rs") || self.name.starts_with(&format!("{folder}/"))
        });
        inside
            && (is_command
                || self.name.contains("/provider/")
                || matches!(last, "plan.rs" | "select.rs"))
            || self.name.starts_with("filter/hook/src/")
    }

    /// The text without comments: lines that begin with `//`, and what follows `// ` in others.
    fn code(&self) -> String {
        self.text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .map(|line| line.split_once(" // ").map_or(line, |(code, _)| code))
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// The files under `folder` whose code names `word`, the allowed ones apart.
fn who_names(folder: &str, word: &str, allowed: &[&str]) -> Vec<String> {
    rust_files()
        .into_iter()
        .filter(|file| file.name.starts_with(folder) && file.name != "tests/tidy.rs")
        .filter(|file| !allowed.contains(&file.name.as_str()))
        .filter(|file| names(&file.code(), word))
        .map(|file| file.name)
        .collect()
}

/// Whether `word` stands in `code` as a whole word.
fn names(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        !before.is_some_and(part) && (word.ends_with(':') || !after.is_some_and(part))
    })
}

/// The targets of inline links and images: `](target)`.
fn targets(markdown: &str) -> Vec<String> {
    let text = prose(markdown).collect::<Vec<_>>().join("\n");
    text.match_indices("](")
        .filter_map(|(at, _)| text[at + 2..].split([')', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// Relative links, without their anchors.
fn links(markdown: &str) -> Vec<String> {
    targets(markdown)
        .into_iter()
        .filter(|target| !target.contains("://") && !target.starts_with(['#', '<']))
        .filter(|target| !target.starts_with("mailto:"))
        .filter_map(|target| target.split('#').next().map(str::to_owned))
        .collect()
}

/// Paths of the repository in code spans: what begins with a top-level folder and a slash.
fn paths(markdown: &str) -> Vec<String> {
    let folders = [
        "controller/",
        "envoy/",
        "filter/",
        "tests/",
        ".ci/",
        ".github/",
    ];
    let text = prose(markdown).collect::<Vec<_>>().join("\n");
    text.split('`')
        .skip(1)
        .step_by(2)
        .filter(|span| folders.iter().any(|folder| span.starts_with(folder)))
        .filter(|span| !span.contains([' ', '*', '<', '{', '…', '|']))
        .map(|span| span.split([':', '#']).next().unwrap_or(span).to_owned())
        .collect()
}

/// The lines outside fenced code.
fn prose(markdown: &str) -> impl Iterator<Item = &str> {
    let mut fenced = false;
    markdown.lines().filter(move |line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fence && !fenced
    })
}

/// A heading's anchor, as hosting sites make it.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn rust_files() -> Vec<File> {
    text_files()
        .into_iter()
        .filter(|file| file.name.ends_with(".rs"))
        .collect()
}

/// Every text file of ours, what is built or generated apart.
fn text_files() -> Vec<File> {
    let mut paths = Vec::new();
    collect(&root(), &mut paths);
    paths.sort();
    paths
        .into_iter()
        .filter_map(|path| {
            let text = fs::read_to_string(&path).ok()?; // What is not text is not meant.
            let name = path
                .strip_prefix(root())
                .ok()?
                .to_string_lossy()
                .replace('\\', "/");
            Some(File { name, text })
        })
        .collect()
}

fn collect(dir: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(dir).expect("the repository can be read");
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let skipped = [".git", "target", "artifacts", "corpus", "node_modules"];
        if skipped.iter().any(|skip| name.to_string_lossy() == **skip) {
            continue;
        }
        let kind = entry.file_type().expect("a file has a type");
        if kind.is_dir() {
            collect(&path, paths);
        } else if kind.is_file() {
            paths.push(path);
        }
    }
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests
        .parent()
        .expect("the tests package is inside the repository")
        .to_owned()
}
