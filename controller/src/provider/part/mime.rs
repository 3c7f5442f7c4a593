//! Mails as RFC 5322 has them: in ASCII, whatever is in them.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};

/// Bytes of a text in one encoded word, so that it has 75 characters at most, and 78 its line.
const WORD: usize = 42;

/// Characters of base64 a line.
const LINE: usize = 76;

/// A mail that is being written.
pub(in crate::provider) struct Message<'a> {
    /// Address of the sender.
    pub(in crate::provider) from: &'a str,
    /// Addresses of the recipients.
    pub(in crate::provider) to: &'a [String],
    /// Subject, any text.
    pub(in crate::provider) subject: &'a str,
    /// Unix time in seconds.
    pub(in crate::provider) date: i64,
    /// What comes before the `@` of its ID.
    pub(in crate::provider) id: &'a str,
    /// The body, any text.
    pub(in crate::provider) text: &'a str,
}

impl Message<'_> {
    /// All of it, lines ended by CR LF.
    pub(in crate::provider) fn finish(&self) -> Vec<u8> {
        let date = DateTime::<Utc>::from_timestamp(self.date, 0).unwrap_or_default();
        let domain = self.from.rsplit('@').next().unwrap_or_default();
        let lines = [
            format!("From: {}", self.from),
            format!("To: {}", self.to.join(",\r\n ")),
            format!("Subject: {}", words(self.subject)),
            format!("Date: {}", date.to_rfc2822()),
            format!("Message-ID: <{}@{domain}>", self.id),
            "MIME-Version: 1.0".to_owned(),
            "Content-Type: text/plain; charset=utf-8".to_owned(),
            "Content-Transfer-Encoding: base64".to_owned(),
            // Nobody's vacation notice shall answer.
            "Auto-Submitted: auto-generated".to_owned(),
            String::new(),
            wrapped(&STANDARD.encode(lines(self.text))),
        ];
        lines.map(|line| line + "\r\n").concat().into_bytes()
    }
}

/// Whether an address is one that can stand in an envelope as it is.
pub(in crate::provider) fn is_address(text: &str) -> bool {
    let is_plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|b| b.is_ascii_graphic() && !b"<>()[]\\,;:\"".contains(&b))
    };
    text.len() <= 254
        && text.split_once('@').is_some_and(|(user, domain)| {
            is_plain(user) && is_plain(domain) && !domain.contains('@')
        })
}

/// A header's text: as it is, or in encoded words (RFC 2047).
fn words(text: &str) -> String {
    if text.bytes().all(|b| matches!(b, b' '..=b'~')) && !text.contains("=?") {
        return text.to_owned();
    }
    let mut words = vec![String::new()];
    for c in text.chars().filter(|c| !c.is_control()) {
        match words.last_mut() {
            Some(word) if word.len() + c.len_utf8() <= WORD => word.push(c),
            _ => words.push(c.into()),
        }
    }
    let words = words
        .iter()
        .map(|word| format!("=?utf-8?B?{}?=", STANDARD.encode(word)));
    words.collect::<Vec<_>>().join("\r\n ")
}

/// A text whose lines end as those of a mail do, however they ended: a CR alone is no end of line there, nor a character.
fn lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace(['\r', '\n'], "\r\n")
}

fn wrapped(base64: &str) -> String {
    let lines = base64.as_bytes().chunks(LINE).map(String::from_utf8_lossy);
    lines.collect::<Vec<_>>().join("\r\n")
}

/// Headers and body of a message of ours, readable.
pub(in crate::provider) fn show(message: &[u8]) -> String {
    let text = String::from_utf8_lossy(message);
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let body = STANDARD
        .decode(body.replace("\r\n", ""))
        .unwrap_or_default();
    let body = String::from_utf8_lossy(&body);
    format!("{head}\n\n{body}").replace("\r\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mail_is_ascii_in_short_lines_whatever_is_in_it() {
        let text = "é🚨\nBcc: a@b\n.\n".repeat(100);
        let subject = "🚨 sübject\r\nBcc: x@y.test ".repeat(9);
        let message = Message {
            from: "flux@acme.test",
            to: &["a@acme.test".to_owned(), "b@acme.test".to_owned()],
            subject: &subject,
            date: 1_767_323_045,
            id: "id",
            text: &text,
        }
        .finish();
        let message = String::from_utf8(message).unwrap();
        assert!(message.is_ascii() && message.ends_with("\r\n"));
        assert!(!message.replace("\r\n", "").contains(['\r', '\n']));
        assert!(message.lines().all(|line| line.len() <= 78));
        assert_eq!(
            message
                .lines()
                .filter(|line| line.starts_with("Bcc"))
                .count(),
            0
        );
        assert!(show(message.as_bytes()).ends_with(&text));
        assert!(message.contains("\r\nDate: Fri, 2 Jan 2026 03:04:05 +0000\r\n"));
    }

    #[test]
    fn a_line_ends_in_cr_lf_however_it_ended() {
        assert_eq!(lines("a\r\nb\nc\rd\n\r\n"), "a\r\nb\r\nc\r\nd\r\n\r\n");
    }

    #[test]
    fn addresses_are_plain_or_none() {
        for good in ["a@b", "first.last+tag@mail.acme.test"] {
            assert!(is_address(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b",
            "a@",
            "a@b@c",
            "A <a@b>",
            "a@b\r\nRCPT TO:<x@y>",
            "é@b",
            "a b@c",
        ] {
            assert!(!is_address(bad), "{bad}");
        }
    }
}
