//! `application/x-www-form-urlencoded`, read as it streams by.

use alloc::vec::Vec;

/// The form field that GitHub and Gitea put the JSON into.
const FIELD: &[u8] = b"payload";

/// Checks a form body and picks the first `payload` field out of it, in constant memory.
///
/// Bad input as in Go's `url.ParseQuery`: a `%` without two hex digits, or a semicolon.
#[derive(Clone, Debug, Default)]
pub struct Form {
    escape: Escape,
    key: Vec<u8>,
    in_value: bool,
    found: bool,
    bad: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Escape {
    #[default]
    None,
    Percent,
    High(u8),
}

impl Form {
    /// Reads the next chunk; `payload` gets what belongs to the first `payload` field, decoded.
    pub fn chunk(&mut self, bytes: &[u8], mut payload: impl FnMut(&[u8])) {
        let mut out = Vec::with_capacity(bytes.len());
        for &b in bytes {
            self.byte(b, &mut out);
        }
        if !out.is_empty() {
            payload(&out);
        }
    }

    /// Whether what was read is a whole, well-formed form.
    pub fn is_valid(&self) -> bool {
        !self.bad && matches!(self.escape, Escape::None)
    }

    fn byte(&mut self, b: u8, out: &mut Vec<u8>) {
        match self.escape {
            Escape::None => self.plain(b, out),
            Escape::Percent => match hex_digit(b) {
                Some(high) => self.escape = Escape::High(high),
                None => self.bad = true,
            },
            Escape::High(high) => match hex_digit(b) {
                Some(low) => {
                    self.escape = Escape::None;
                    self.decoded(high << 4 | low, out);
                }
                None => self.bad = true,
            },
        }
    }

    fn plain(&mut self, b: u8, out: &mut Vec<u8>) {
        match b {
            b'%' => self.escape = Escape::Percent,
            b'+' => self.decoded(b' ', out),
            b';' => self.bad = true,
            b'&' => {
                self.found = self.found || self.key == FIELD;
                self.key.clear();
                self.in_value = false;
            }
            b'=' if !self.in_value => self.in_value = true,
            _ => self.decoded(b, out),
        }
    }

    fn decoded(&mut self, b: u8, out: &mut Vec<u8>) {
        if !self.in_value {
            // One byte more than the name is enough to know that it is another one.
            if self.key.len() <= FIELD.len() {
                self.key.push(b);
            }
        } else if !self.found && self.key == FIELD {
            out.push(b);
        }
    }
}

fn hex_digit(b: u8) -> Option<u8> {
    char::from(b)
        .to_digit(16)
        .and_then(|d| u8::try_from(d).ok())
}

#[cfg(test)]
mod tests {
    use alloc::string::String;

    use super::*;

    fn payload(body: &str, chunk: usize) -> Option<String> {
        let (mut form, mut out) = (Form::default(), Vec::new());
        for chunk in body.as_bytes().chunks(chunk) {
            form.chunk(chunk, |bytes| out.extend_from_slice(bytes));
        }
        form.is_valid().then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn the_first_payload_is_found_however_the_body_is_cut() {
        for (body, want) in [
            (
                "payload=%7B%22action%22%3A%22push%22%7D",
                Some(r#"{"action":"push"}"#),
            ),
            ("a=b&payload=x+y%2Bz&payload=2", Some("x y+z")),
            ("pa%79load=1", Some("1")),
            ("payload=a=b", Some("a=b")),
            ("payloads=1&payloa=2&=3&&", Some("")),
            ("", Some("")),
            ("payload=%7", None),
            ("payload=%zz", None),
            ("a=1;payload=2", None),
            ("payload=%", None),
        ] {
            for chunk in 1..9 {
                assert_eq!(payload(body, chunk).as_deref(), want, "{body:?} by {chunk}");
            }
        }
    }
}
