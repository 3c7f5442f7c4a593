//! Two helpers to put checked values and fragments into YAML text.

/// A YAML double-quoted scalar. JSON's escapes are a subset of YAML's.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `fragment` with every line moved right by `by` spaces; empty lines stay empty.
pub(super) fn indent(fragment: &str, by: usize) -> String {
    let mut text = String::with_capacity(fragment.len().saturating_mul(2));
    for line in fragment.lines() {
        if !line.is_empty() {
            text.extend(std::iter::repeat_n(' ', by));
            text.push_str(line);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_scalar_cannot_end_early() {
        assert_eq!(quoted("a\"b\\c\nd"), r#""a\"b\\c\nd""#);
    }

    #[test]
    fn indenting_leaves_empty_lines_empty() {
        assert_eq!(indent("a:\n\n  b: 1\n", 2), "  a:\n\n    b: 1\n");
    }
}
