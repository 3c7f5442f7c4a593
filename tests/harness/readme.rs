//! The README's fenced blocks, for those who do what it says.

use std::fs;
use std::path::Path;

use crate::binaries;

/// The text of a section of README.md, by its heading.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn section(heading: &str) -> String {
    let readme = text();
    let start = readme
        .find(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("README.md has no section {heading:?}"));
    let section = &readme[start + 1..];
    let end = section[1..]
        .find("\n## ")
        .map_or(section.len(), |end| end + 1);
    section[..end].to_owned()
}

/// The part of a section below a heading of its own.
///
/// # Panics
///
/// When there is none.
#[must_use]
pub fn part(section: &str, heading: &str) -> String {
    let start = section
        .find(&format!("\n### {heading}\n"))
        .unwrap_or_else(|| panic!("the section has no part {heading:?}"));
    let part = &section[start + 1..];
    let end = part[1..].find("\n### ").map_or(part.len(), |end| end + 1);
    part[..end].to_owned()
}

/// Writes the YAML blocks that say which file they are, below `folder`.
///
/// # Panics
///
/// When a file cannot be written.
pub fn write_files(markdown: &str, folder: &Path) {
    let blocks = blocks(markdown, "yaml");
    for (name, text) in blocks.iter().filter_map(|block| named(block)) {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().expect("a file has a folder"))
            .expect("a folder can be made");
        fs::write(file, text).expect("a file can be written");
    }
}

/// The lines of the blocks that this program runs in.
#[must_use]
pub fn commands(markdown: &str, program: &str) -> Vec<String> {
    let lines = blocks(markdown, "text").concat();
    let is_its = |line: &&str| line.split(' ').next() == Some(program);
    lines.lines().filter(is_its).map(str::to_owned).collect()
}

/// README.md.
///
/// # Panics
///
/// When it cannot be read.
#[must_use]
pub fn text() -> String {
    fs::read_to_string(binaries::workspace().join("README.md")).expect("README.md can be read")
}

/// The fenced blocks of this language, without their indentation.
#[must_use]
pub fn blocks(markdown: &str, language: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(bool, String)> = None;
    let mut indent = "";
    for line in markdown.lines() {
        let fence = line.trim_start();
        match (fence.strip_prefix("```"), &mut open) {
            (Some(word), None) => {
                open = Some((word == language, String::new()));
                indent = &line[..line.len() - fence.len()];
            }
            (Some(_), Some(_)) => {
                found.extend(
                    open.take()
                        .filter(|(wanted, _)| *wanted)
                        .map(|(_, text)| text),
                );
            }
            (None, Some((_, text))) => {
                text.push_str(line.strip_prefix(indent).unwrap_or(line));
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    found
}

/// A block whose first line is `# FILE`: the file's name, and the block.
#[must_use]
pub fn named(block: &str) -> Option<(&str, &str)> {
    let first = block.lines().next()?;
    Some((first.strip_prefix("# ")?, block))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_found_by_their_language() {
        let text = "a\n```sh\none\ntwo\n```\n```text\nthree\n```\n1. b\n\n  ```sh\n  four\n    five\n  ```\n";
        assert_eq!(blocks(text, "sh"), ["one\ntwo\n", "four\n  five\n"]);
    }
}
