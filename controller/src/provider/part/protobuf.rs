//! Messages of Protocol Buffers, as far as OTLP needs them.

/// A message that is being written. Empty fields are written too.
#[derive(Default)]
pub(in crate::provider) struct Message(Vec<u8>);

impl Message {
    /// Field of a length: a text, bytes, a message.
    pub(in crate::provider) fn bytes(mut self, field: u64, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.varint(field << 3 | 2);
        self.varint(value.len() as u64);
        self.0.extend_from_slice(value);
        self
    }

    /// `fixed64`.
    pub(in crate::provider) fn fixed64(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3 | 1);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// `fixed32`.
    pub(in crate::provider) fn fixed32(mut self, field: u64, value: u32) -> Self {
        self.varint(field << 3 | 5);
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// A number or an enum.
    pub(in crate::provider) fn number(mut self, field: u64, value: u64) -> Self {
        self.varint(field << 3);
        self.varint(value);
        self
    }

    /// What was written.
    pub(in crate::provider) fn finish(self) -> Vec<u8> {
        self.0
    }

    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

impl AsRef<[u8]> for Message {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::provider) enum Value<'a> {
    /// Of a length.
    Bytes(&'a [u8]),
    /// Any other.
    Number(u64),
}

/// The fields of a message, up to what is none.
pub(in crate::provider) fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, Value<'_>)> {
    std::iter::from_fn(move || {
        let (field, value, rest) = field(message)?;
        message = rest;
        Some((field, value))
    })
}

/// The first field, and what follows it.
fn field(message: &[u8]) -> Option<(u64, Value<'_>, &[u8])> {
    let (tag, rest) = varint(message)?;
    let (value, rest) = match tag & 7 {
        0 => {
            let (number, rest) = varint(rest)?;
            (Value::Number(number), rest)
        }
        1 => {
            let (number, rest) = rest.split_first_chunk()?;
            (Value::Number(u64::from_le_bytes(*number)), rest)
        }
        2 => {
            let (length, rest) = varint(rest)?;
            let (bytes, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            (Value::Bytes(bytes), rest)
        }
        5 => {
            let (number, rest) = rest.split_first_chunk()?;
            (Value::Number(u32::from_le_bytes(*number).into()), rest)
        }
        _ => return None,
    };
    Some((tag >> 3, value, rest))
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0;
    for (at, byte) in bytes.iter().enumerate().take(10) {
        value |= u64::from(byte & 0x7f).checked_shl(7 * at as u32)?;
        if byte & 0x80 == 0 {
            return Some((value, bytes.get(at + 1..)?));
        }
    }
    None
}

/// Fields by their numbers, one a line: what can be a message is shown as one, else as text.
#[cfg(test)]
pub(in crate::provider) fn show(message: &[u8]) -> String {
    let mut lines = Vec::new();
    let mut rest = message;
    while let Some((number, value, after)) = field(rest) {
        rest = after;
        match value {
            Value::Number(value) => lines.push(format!("{number}: {value}")),
            Value::Bytes(bytes) if is_message(bytes) => {
                lines.push(format!("{number}:"));
                lines.extend(show(bytes).lines().map(|line| format!("  {line}")));
            }
            Value::Bytes(bytes) => lines.push(match std::str::from_utf8(bytes) {
                Ok(text) => format!("{number}: {text:?}"),
                Err(_) => format!("{number}: {}", hex::encode(bytes)),
            }),
        }
    }
    lines.join("\n")
}

#[cfg(test)]
fn is_message(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Some((1..20, _, after)) = field(rest) {
        rest = after;
    }
    !bytes.is_empty() && rest.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let message = Message::default()
            .number(1, 300)
            .bytes(2, "text")
            .fixed64(3, u64::MAX)
            .fixed32(16, 257)
            .bytes(4, [7; 200])
            .finish();
        // As the encoding guide has it.
        assert!(message.starts_with(&[0x08, 0xac, 0x02, 0x12, 0x04, b't']));
        let read: Vec<_> = fields(&message).collect();
        assert_eq!(
            read,
            [
                (1, Value::Number(300)),
                (2, Value::Bytes(b"text")),
                (3, Value::Number(u64::MAX)),
                (16, Value::Number(257)),
                (4, Value::Bytes(&[7; 200])),
            ]
        );
    }

    #[test]
    fn what_is_no_message_ends_early() {
        for bytes in [
            &b"{}"[..],
            &[0x0a, 0xff],
            &[0xff; 12],
            &[0x0a, 0x05, 0],
            &[0x09, 1],
        ] {
            assert_eq!(fields(bytes).count(), 0, "{bytes:?}");
        }
    }
}
