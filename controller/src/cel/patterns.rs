//! Regular expressions: compiled with a limit, weighed, and searched at a price.

use super::eval::{Fault, Outcome, Run};
use super::value::{Text, Val};
use regex::{Regex, RegexBuilder};

/// The sizes patterns come in, in bytes of their automaton. The first a pattern fits into is its
/// weight; what fits into none, such as `([a-z]{1000}){1000}`, is refused.
const SIZES: [usize; 5] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10];

/// Steps a pattern costs that has to be compiled during an evaluation.
const COMPILE_COST: usize = 20_000;

/// At worst a search visits every state for every byte of the text. So many bytes of text, times
/// bytes of automaton, are about a microsecond of that, and one step.
const WORK_PER_STEP: usize = 2048;

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    size: usize,
}

impl Pattern {
    /// Compiles a pattern; the error is the reason in one line.
    pub(super) fn compile(source: &str) -> Result<Self, String> {
        let ascii = with_ascii_classes(source);
        for size in SIZES {
            match RegexBuilder::new(&ascii).size_limit(size).build() {
                Ok(regex) => return Ok(Self { regex, size }),
                Err(regex::Error::CompiledTooBig(_)) => {}
                Err(error) => {
                    let text = error.to_string();
                    let reason = text.lines().last().unwrap_or_default();
                    let reason = reason.trim_start_matches("error: ");
                    return Err(format!("invalid regular expression: {reason}"));
                }
            }
        }
        Err("regular expression is too large".to_owned())
    }
}

/// `text.matches(pattern)`.
pub(super) fn matches<'e>(
    run: &mut Run<'e>,
    text: &Text<'e>,
    pattern: &Text<'e>,
) -> Outcome<Val<'e>> {
    match run.patterns.get(&**pattern) {
        Some(compiled) => search(run, compiled, text),
        None => {
            run.pay(COMPILE_COST)?;
            run.pay_made(pattern.len())?;
            let compiled = Pattern::compile(pattern).map_err(Fault::new)?;
            search(run, &compiled, text)
        }
    }
}

fn search<'e>(run: &mut Run<'e>, pattern: &Pattern, text: &str) -> Outcome<Val<'e>> {
    run.pay(text.len().saturating_mul(pattern.size) / WORK_PER_STEP)?;
    Ok(Val::Bool(pattern.regex.is_match(text)))
}

/// The pattern with the ASCII meaning RE2 gives to `\d`, `\w`, `\s` and `\b`.
fn with_ascii_classes(pattern: &str) -> String {
    let mut translated = String::with_capacity(pattern.len());
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        if character != '\\' {
            translated.push(character);
            continue;
        }
        match characters.next() {
            Some('d') => translated.push_str("[0-9]"),
            Some('D') => translated.push_str("[^0-9]"),
            Some('s') => translated.push_str(r"[\t\n\f\r ]"),
            Some('S') => translated.push_str(r"[^\t\n\f\r ]"),
            Some('w') => translated.push_str("[0-9A-Za-z_]"),
            Some('W') => translated.push_str("[^0-9A-Za-z_]"),
            Some('b') => translated.push_str(r"(?-u:\b)"),
            Some(other) => translated.extend(['\\', other]),
            None => translated.push('\\'),
        }
    }
    translated
}
