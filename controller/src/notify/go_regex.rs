//! Regular expressions as Go reads them, translated for the `regex` crate. Pure.
//!
//! Both engines are RE2's children and search in linear time, but differ in what they read:
//!
//! | in a pattern | Go | done about it |
//! |---|---|---|
//! | `\d \w \s \b` | ASCII | written out as ASCII |
//! | `\Q…\E`, `\123`, `\<` | literal text, octal, literal | written as code points |
//! | `a{`, `a{,3}`, `[[a]`, `[a&&b]` | literal | escaped |
//! | `(?x)`, `\b{start}`, `a**`, `x{1001}` | refused | refused |
//!
//! What is left: the names of Unicode classes are read more leniently here; repetitions that
//! multiply to more than 1000 by nesting are bounded by size instead; a pattern larger than a MiB
//! when compiled is refused.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

/// Bytes of one compiled pattern.
const SIZE: usize = 1 << 20;
/// Bytes of one pattern's text.
const LENGTH: usize = 4_096;
/// The highest count in `{…}`.
const MAX_REPEAT: u32 = 1_000;
/// What stands between `[:` and `:]`.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];

/// A pattern that Go does not take, or that is too large.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a regular expression of Go: {0}")]
pub struct GoRegexError(String);

/// Compiles a pattern.
///
/// # Errors
/// [`GoRegexError`] that says in one line what is wrong.
pub fn compile(pattern: &str) -> Result<Regex, GoRegexError> {
    if pattern.len() > LENGTH {
        return Err(error("it is longer than 4096 bytes"));
    }
    let translated = translate(pattern)?;
    RegexBuilder::new(&translated)
        .size_limit(SIZE)
        .nest_limit(200)
        .build()
        .map_err(|failed| {
            if let regex::Error::CompiledTooBig(_) = failed {
                return error("it is too large when compiled");
            }
            let text = failed.to_string();
            let last = text.lines().last().unwrap_or_default();
            error(last.trim_start_matches("error: "))
        })
}

fn error(text: &str) -> GoRegexError {
    GoRegexError(text.to_owned())
}

fn translate(pattern: &str) -> Result<String, GoRegexError> {
    let mut reader = Reader {
        rest: pattern,
        out: String::with_capacity(pattern.len() * 2),
    };
    let mut repeated = false;
    while !reader.rest.is_empty() {
        repeated = reader.item(repeated)?;
    }
    Ok(reader.out)
}

struct Reader<'a> {
    rest: &'a str,
    out: String,
}

/// One member of a class.
enum Member {
    Char(char),
    /// Already written for `regex`.
    Class(String),
}

impl Reader<'_> {
    /// Translates one item; whether it was a repetition, of which Go takes no two in a row.
    fn item(&mut self, repeated: bool) -> Result<bool, GoRegexError> {
        let Some(c) = self.rest.chars().next() else {
            return Ok(false);
        };
        match c {
            '\\' => self.escape()?,
            '[' => self.class()?,
            '{' => {
                if let Some(length) = repetition(self.rest)? {
                    return self.repeat(length, repeated);
                }
                self.skip(1);
                self.literal('{');
            }
            '*' | '+' | '?' => return self.repeat(1, repeated),
            '(' => self.group()?,
            '.' | '^' | '$' | '|' | ')' => {
                self.skip(1);
                self.out.push(c);
            }
            _ => {
                self.skip(c.len_utf8());
                self.literal(c);
            }
        }
        Ok(false)
    }

    fn skip(&mut self, bytes: usize) {
        self.rest = self.rest.get(bytes..).unwrap_or_default();
    }

    fn take(&mut self) -> Option<char> {
        let c = self.rest.chars().next()?;
        self.skip(c.len_utf8());
        Some(c)
    }

    fn literal(&mut self, c: char) {
        if c.is_ascii_alphanumeric() || !c.is_ascii() {
            self.out.push(c);
        } else {
            push_code(&mut self.out, c);
        }
    }

    /// A repetition of so many bytes, and whether it is lazy.
    fn repeat(&mut self, length: usize, repeated: bool) -> Result<bool, GoRegexError> {
        if repeated {
            return Err(error("a repetition of a repetition"));
        }
        self.out
            .push_str(self.rest.get(..length).unwrap_or_default());
        self.skip(length);
        if self.rest.starts_with('?') {
            self.skip(1);
            self.out.push('?');
        }
        Ok(true)
    }

    fn group(&mut self) -> Result<(), GoRegexError> {
        self.skip(1);
        self.out.push('(');
        let Some(inside) = self.rest.strip_prefix('?') else {
            return Ok(());
        };
        let end = inside
            .find([':', ')', '>'])
            .ok_or_else(|| error("a group is not closed"))?;
        let (head, _) = inside.split_at(end);
        let is_name = head.starts_with("P<") || head.starts_with('<');
        let is_flags = head.chars().all(|c| "imsU-".contains(c));
        if !is_name && !is_flags || head.starts_with("<=") || head.starts_with("<!") {
            return Err(error(
                "a group with something else than a name or the flags i, m, s and U",
            ));
        }
        // The flags end with the group or the colon, the name with its bracket.
        let length = 1 + end + 1;
        let text = self.rest.get(..length).unwrap_or_default();
        self.out.push_str(text);
        self.skip(length);
        Ok(())
    }

    /// What a backslash begins, outside a class.
    fn escape(&mut self) -> Result<(), GoRegexError> {
        let mut after = self.rest.chars().skip(1);
        match after.next() {
            Some('Q') => {
                self.skip(2);
                let text = self.rest;
                let quoted = text.split("\\E").next().unwrap_or_default();
                for c in quoted.chars() {
                    self.literal(c);
                }
                self.rest = text.get(quoted.len() + 2..).unwrap_or_default();
            }
            Some('b') if after.next() == Some('{') => {
                return Err(error("\\b{ is not known"));
            }
            Some(c @ ('b' | 'B')) => {
                self.skip(2);
                // Writing to a String does not fail.
                let _ = write!(self.out, "(?-u:\\{c})");
            }
            Some(c @ ('A' | 'z')) => {
                self.skip(2);
                let _ = write!(self.out, "\\{c}");
            }
            _ => match self.member_escape()? {
                Member::Char(c) => self.literal(c),
                Member::Class(class) => self.out.push_str(&class),
            },
        }
        Ok(())
    }

    /// What a backslash begins, within and outside classes alike.
    fn member_escape(&mut self) -> Result<Member, GoRegexError> {
        self.skip(1);
        let c = self.take().ok_or_else(|| error("a backslash at the end"))?;
        let class = |text: &str| Ok(Member::Class(text.to_owned()));
        match c {
            'd' => class("[0-9]"),
            'D' => class("[^0-9]"),
            's' => class(r"[\t\n\f\r ]"),
            'S' => class(r"[^\t\n\f\r ]"),
            'w' => class("[0-9A-Za-z_]"),
            'W' => class("[^0-9A-Za-z_]"),
            'p' | 'P' => self.unicode_class(c),
            'a' => Ok(Member::Char('\u{7}')),
            'f' => Ok(Member::Char('\u{c}')),
            'n' => Ok(Member::Char('\n')),
            'r' => Ok(Member::Char('\r')),
            't' => Ok(Member::Char('\t')),
            'v' => Ok(Member::Char('\u{b}')),
            'x' => self.hex(),
            '0'..='7' => self.octal(c),
            c if c.is_ascii() && !c.is_ascii_alphanumeric() => Ok(Member::Char(c)),
            c => Err(error(&format!("\\{c} is not known"))),
        }
    }

    fn hex(&mut self) -> Result<Member, GoRegexError> {
        let wrong = || error("\\x without a code point");
        let (digits, length) = match self.rest.strip_prefix('{') {
            Some(rest) => {
                let digits = rest.split_once('}').ok_or_else(wrong)?.0;
                (digits, digits.len() + 2)
            }
            None => (self.rest.get(..2).ok_or_else(wrong)?, 2),
        };
        let is_hex = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, 16).ok().filter(|_| is_hex);
        let c = code.and_then(char::from_u32).ok_or_else(wrong)?;
        self.skip(length);
        Ok(Member::Char(c))
    }

    /// `\0`, `\01`, `\012`; a single other digit would be a backreference, which Go has not.
    fn octal(&mut self, first: char) -> Result<Member, GoRegexError> {
        let mut code = first.to_digit(8).unwrap_or(0);
        let mut digits = 1;
        while digits < 3
            && let Some(digit) = self.rest.chars().next().and_then(|c| c.to_digit(8))
        {
            self.skip(1);
            code = code * 8 + digit;
            digits += 1;
        }
        if digits == 1 && first != '0' {
            return Err(error("backreferences do not exist"));
        }
        let c = char::from_u32(code).ok_or_else(|| error("an octal number too large"))?;
        Ok(Member::Char(c))
    }

    fn unicode_class(&mut self, p: char) -> Result<Member, GoRegexError> {
        let wrong = || error("\\p without the name of a class");
        let name = if self.rest.starts_with('{') {
            let name = self
                .rest
                .get(1..)
                .and_then(|rest| rest.split_once('}'))
                .ok_or_else(wrong)?
                .0;
            self.skip(name.len() + 2);
            name
        } else {
            let first = self.rest.chars().next().ok_or_else(wrong)?;
            let name = self.rest.get(..first.len_utf8()).unwrap_or_default();
            self.skip(first.len_utf8());
            name
        };
        let (name, is_negated) = match name.strip_prefix('^') {
            Some(name) => (name, p == 'p'),
            None => (name, p == 'P'),
        };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(wrong());
        }
        let p = if is_negated { 'P' } else { 'p' };
        Ok(Member::Class(if name == "Any" {
            if is_negated {
                r"[^\x{0}-\x{10FFFF}]"
            } else {
                r"[\x{0}-\x{10FFFF}]"
            }
            .to_owned()
        } else {
            format!("\\{p}{{{name}}}")
        }))
    }

    fn class(&mut self) -> Result<(), GoRegexError> {
        self.skip(1);
        self.out.push('[');
        if self.rest.starts_with('^') {
            self.skip(1);
            self.out.push('^');
        }
        let mut is_first = true;
        loop {
            if self.rest.is_empty() {
                return Err(error("a class is not closed"));
            }
            if !is_first && self.rest.starts_with(']') {
                self.skip(1);
                self.out.push(']');
                return Ok(());
            }
            is_first = false;
            match self.member()? {
                Member::Class(class) => self.out.push_str(&class),
                Member::Char(low) => self.range(low)?,
            }
        }
    }

    fn member(&mut self) -> Result<Member, GoRegexError> {
        if let Some(name) = self.rest.strip_prefix("[:")
            && let Some((name, _)) = name.split_once(":]")
        {
            let bare = name.strip_prefix('^').unwrap_or(name);
            if !POSIX.contains(&bare) {
                return Err(error(&format!("[:{name}:] is not known")));
            }
            self.skip(name.len() + 4);
            return Ok(Member::Class(format!("[:{name}:]")));
        }
        if self.rest.starts_with('\\') {
            return self.member_escape();
        }
        let c = self.take().ok_or_else(|| error("a class is not closed"))?;
        Ok(Member::Char(c))
    }

    /// A character of a class, or the range that begins with it.
    fn range(&mut self, low: char) -> Result<(), GoRegexError> {
        let is_range =
            self.rest.starts_with('-') && !self.rest.starts_with("-]") && self.rest.len() > 1;
        push_code(&mut self.out, low);
        if !is_range {
            return Ok(());
        }
        self.skip(1);
        let high = if self.rest.starts_with('\\') {
            self.member_escape()?
        } else {
            self.take()
                .map_or(Member::Class(String::new()), Member::Char)
        };
        match high {
            Member::Char(high) if low <= high => {
                self.out.push('-');
                push_code(&mut self.out, high);
                Ok(())
            }
            Member::Char(_) | Member::Class(_) => Err(error("a range that ends before it begins")),
        }
    }
}

fn push_code(out: &mut String, c: char) {
    // Writing to a String does not fail.
    let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
}

/// The length of `{n}`, `{n,}` or `{n,m}` at the start; `None` if that is plain text to Go.
fn repetition(text: &str) -> Result<Option<usize>, GoRegexError> {
    let Some((inside, _)) = text.strip_prefix('{').and_then(|rest| rest.split_once('}')) else {
        return Ok(None);
    };
    let (low, high) = match inside.split_once(',') {
        None => (inside, inside),
        Some((low, "")) => (low, low),
        Some((low, high)) => (low, high),
    };
    let is_number = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_digit())
            // Go reads no number with a leading zero there.
            && (text == "0" || !text.starts_with('0'))
    };
    if !is_number(low) || !is_number(high) {
        return Ok(None);
    }
    let count = |text: &str| text.parse().ok().filter(|n: &u32| *n <= MAX_REPEAT);
    match (count(low), count(high)) {
        (Some(low), Some(high)) if low <= high => Ok(Some(inside.len() + 2)),
        _ => Err(error(
            "a repetition of more than 1000, or of fewer at most than at least",
        )),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_to_go() {
        for (pattern, text, want) in [
            ("", "anything", true),
            ("waiting.*socket", "is waiting on a socket", true),
            (r"\d", "٣", false),
            (r"\d", "3", true),
            (r"^\D$", "٣", true),
            (r"^\w+$", "é", false),
            (r"^\W$", "é", true),
            (r"\bfoo\b", "a foo b", true),
            (r"\bé", "é", false),
            (r"\Bb", "ab", true),
            (r"\s", "\u{b}", false),
            (r"\Qa.b*\E+", "a.b**", true),
            (r"\Qa.b", "axb", false),
            (r"\Qa.b", "a.b", true),
            (r"\141", "a", true),
            (r"\0", "\0", true),
            (r"\x41\x{1F600}", "A😀", true),
            ("a{", "a{", true),
            ("a{,3}", "a{,3}", true),
            ("a{x}", "a{x}", true),
            ("^a{2,3}$", "aaa", true),
            ("^a{2}$", "aaa", false),
            ("[[a]", "[", true),
            ("^[[a]+$", "[a[", true),
            ("[a&&b]", "&", true),
            ("^[a&&b]+$", "ab&", true),
            ("[a~~b]", "~", true),
            ("^[+--]+$", "+,-", true),
            (r"\<a\>", "<a>", true),
            (r"\<a", " a", false),
            ("[]a]", "]", true),
            ("^[^]a]$", "b", true),
            ("[a-]", "-", true),
            ("[-a]", "-", true),
            ("^[a-c]+$", "abc", true),
            (r"^[\d-]+$", "1-2", true),
            (r"^[^\d]$", "x", true),
            (r"^[^\W]$", "x", true),
            (r"[\]]", "]", true),
            ("a]b}c", "a]b}c", true),
            (r"\_\%\/", "_%/", true),
            ("[[:word:]]", "é", false),
            ("[[:^alpha:]]", "1", true),
            (r"\pN", "3", true),
            (r"\p{Greek}", "α", true),
            (r"^\p{^Greek}$", "α", false),
            (r"^\P{^Greek}$", "α", true),
            ("(?P<n>a)(?<m>b)", "ab", true),
            ("(?i)ABC", "abc", true),
            ("(?i:A)b", "ab", true),
            ("(?i:A)B", "ab", false),
            ("^b", "a\nb", false),
            ("(?m)^b", "a\nb", true),
            ("a$", "a\n", false),
            ("a.b", "a\nb", false),
            ("(?s)a.b", "a\nb", true),
            (r"\Aa\z", "a", true),
            ("a*?b|c+?", "c", true),
            ("(?U)a+", "aa", true),
            ("# x", "# x", true),
            ("a-b~c&d", "a-b~c&d", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|error| panic!("{pattern:?}: {error}"));
            assert_eq!(regex.is_match(text), want, "{pattern:?} on {text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for pattern in [
            "[",
            "[a",
            "[]",
            "(",
            ")",
            "(?x)a",
            "(?R)",
            "(?=a)",
            "(?!a)",
            "(?<=a)",
            "(?<!a)",
            r"\b{start}",
            "a**",
            "a*+",
            "a{2}{3}",
            "a{2}*",
            "x{1001}",
            "x{3,2}",
            "*",
            "+a",
            r"\",
            r"\1",
            r"\8",
            r"\C",
            r"\Z",
            r"\E",
            r"\y",
            r"\x",
            r"\x{}",
            r"\x{110000}",
            "[b-a]",
            "[[:foo:]]",
            r"[\b]",
            r"[a-\d]",
            r"\p{Nonsense}",
            r"\p{sc=Greek}",
            r"\p",
        ] {
            assert!(compile(pattern).is_err(), "{pattern:?}");
        }
        assert!(compile("((a{1000}){1000}){1000}").is_err());
        assert!(compile(&"a".repeat(5_000)).is_err());
        assert!(compile(&"(".repeat(4_000)).is_err());
    }

    proptest! {
        #[test]
        fn plain_text_matches_itself_and_any_pattern_is_read_without_a_panic(text in ".{0,40}") {
            let quoted = compile(&format!("^\\Q{}\\E$", text.replace("\\E", "")));
            prop_assert!(quoted.unwrap().is_match(&text.replace("\\E", "")));
            let _ = compile(&text);
        }

        #[test]
        fn odd_patterns_are_read_without_a_panic(pattern in r"[\[\](){}*+?|^$.\\a-c0-9,:<>=!&~QEdpxbPi-]{0,24}") {
            let _ = compile(&pattern);
        }
    }
}
