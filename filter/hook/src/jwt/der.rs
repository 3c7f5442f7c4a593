//! The few DER structures that JSON Web Keys and signatures need: SubjectPublicKeyInfo (RFC 5280)
//! written and read, RSAPublicKey (RFC 8017) and ECDSA-Sig-Value (RFC 3279) written.

use alloc::vec::Vec;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;

/// The type of a public key, as the AlgorithmIdentifier of its SubjectPublicKeyInfo names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyType {
    /// `rsaEncryption`.
    Rsa,
    /// `id-ecPublicKey` on `secp256r1`.
    P256,
    /// `id-ecPublicKey` on `secp384r1`.
    P384,
    /// `id-Ed25519` (RFC 8410).
    Ed25519,
}

impl KeyType {
    const ALL: [Self; 4] = [Self::Rsa, Self::P256, Self::P384, Self::Ed25519];

    /// The content of the AlgorithmIdentifier: object identifier and parameters.
    const fn identifier(self) -> &'static [u8] {
        match self {
            // 1.2.840.113549.1.1.1, NULL
            Self::Rsa => b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00",
            // 1.2.840.10045.2.1, 1.2.840.10045.3.1.7
            Self::P256 => {
                b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"
            }
            // 1.2.840.10045.2.1, 1.3.132.0.34
            Self::P384 => b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
            // 1.3.101.112
            Self::Ed25519 => b"\x06\x03\x2b\x65\x70",
        }
    }
}

/// The key type of a DER SubjectPublicKeyInfo and the content of its bit string: for RSA an
/// RSAPublicKey, for a curve the uncompressed point, for Ed25519 the 32 bytes of the key.
/// `None` for another type, and for anything that is not exactly one such structure.
#[must_use]
pub fn spki_parts(spki: &[u8]) -> Option<(KeyType, &[u8])> {
    let (content, rest) = read(SEQUENCE, spki)?;
    let (identifier, bits) = read(SEQUENCE, content)?;
    let (bits, after) = read(BIT_STRING, bits)?;
    let (0, key) = bits.split_first().map(|(unused, key)| (*unused, key))? else {
        return None;
    };
    if !rest.is_empty() || !after.is_empty() {
        return None;
    }
    let key_type = KeyType::ALL
        .into_iter()
        .find(|key_type| key_type.identifier() == identifier)?;
    Some((key_type, key))
}

/// An ECDSA signature as JSON Web Tokens carry it, `r || s` of 64 (P-256) or 96 (P-384) bytes, in
/// the DER form that TLS libraries take. `None` for any other length.
#[must_use]
pub fn ecdsa_der(raw: &[u8]) -> Option<Vec<u8>> {
    if !matches!(raw.len(), 64 | 96) {
        return None;
    }
    let (r, s) = raw.split_at_checked(raw.len().checked_div(2)?)?;
    let mut content = integer(r)?;
    content.extend_from_slice(&integer(s)?);
    write(SEQUENCE, &content)
}

/// SubjectPublicKeyInfo of `key`, the content of its bit string.
pub(super) fn spki(key_type: KeyType, key: &[u8]) -> Option<Vec<u8>> {
    let mut bits = Vec::with_capacity(key.len().checked_add(1)?);
    bits.push(0);
    bits.extend_from_slice(key);
    let mut content = write(SEQUENCE, key_type.identifier())?;
    content.extend_from_slice(&write(BIT_STRING, &bits)?);
    write(SEQUENCE, &content)
}

/// RSAPublicKey of two unsigned big-endian numbers.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Option<Vec<u8>> {
    let mut content = integer(modulus)?;
    content.extend_from_slice(&integer(exponent)?);
    write(SEQUENCE, &content)
}

/// `number` without the zeros in front of it.
pub(super) fn significant(number: &[u8]) -> &[u8] {
    let start = number
        .iter()
        .position(|byte| *byte != 0)
        .unwrap_or(number.len());
    number.get(start..).unwrap_or_default()
}

fn integer(unsigned: &[u8]) -> Option<Vec<u8>> {
    let digits = significant(unsigned);
    let mut content = Vec::with_capacity(digits.len().checked_add(1)?);
    // An integer is signed: a leading one bit, or no digit at all, needs a zero byte in front.
    if digits.first().is_none_or(|first| *first >= 0x80) {
        content.push(0);
    }
    content.extend_from_slice(digits);
    write(INTEGER, &content)
}

/// Tag, length, content. `None` above 65,535 bytes, which no key or signature here comes near.
fn write(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(content.len()).ok()?.to_be_bytes();
    let mut out = Vec::with_capacity(content.len().checked_add(4)?);
    out.push(tag);
    match (high, low) {
        (0, 0..=0x7f) => out.push(low),
        (0, _) => out.extend_from_slice(&[0x81, low]),
        _ => out.extend_from_slice(&[0x82, high, low]),
    }
    out.extend_from_slice(content);
    Some(out)
}

/// The content of the element at the start of `input`, and what follows it. Lengths must be in
/// their shortest form, so that one structure has one spelling.
fn read(tag: u8, input: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = match input {
        [first, length @ 0..=0x7f, rest @ ..] if *first == tag => (usize::from(*length), rest),
        [first, 0x81, length @ 0x80..=0xff, rest @ ..] if *first == tag => {
            (usize::from(*length), rest)
        }
        [first, 0x82, high @ 1..=0xff, low, rest @ ..] if *first == tag => {
            (usize::from(u16::from_be_bytes([*high, *low])), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    #[test]
    fn a_key_written_is_read_back_and_any_other_byte_is_refused() {
        for (key_type, length) in [
            (KeyType::Rsa, 270),
            (KeyType::P256, 65),
            (KeyType::P384, 97),
            (KeyType::Ed25519, 32),
        ] {
            let key = vec![7; length];
            let spki = spki(key_type, &key).unwrap();
            assert_eq!(spki_parts(&spki), Some((key_type, key.as_slice())));
            assert_eq!(spki_parts(&spki[1..]), None);
            assert_eq!(spki_parts(&spki[..spki.len() - 1]), None);
            let mut longer = spki.clone();
            longer.push(0);
            assert_eq!(spki_parts(&longer), None);
        }
    }

    #[test]
    fn lengths_that_have_a_shorter_form_are_refused() {
        assert_eq!(read(2, &[2, 1, 9]), Some((&[9][..], &[][..])));
        assert_eq!(read(2, &[2, 0x81, 1, 9]), None);
        assert_eq!(read(2, &[2, 0x82, 0, 1, 9]), None);
        assert_eq!(read(2, &[2, 0x80, 9]), None);
        assert_eq!(read(2, &[3, 1, 9]), None);
    }

    #[test]
    fn elements_of_every_length_are_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff] {
            let content = vec![1; length];
            let written = write(SEQUENCE, &content).unwrap();
            assert_eq!(
                read(SEQUENCE, &written),
                Some((content.as_slice(), &[][..])),
                "{length}"
            );
        }
        assert_eq!(write(SEQUENCE, &vec![1; 0x10000]), None);
    }

    #[test]
    fn raw_signatures_become_der_as_openssl_writes_it() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../tests/vectors/jwt.json")).unwrap();
        let rows = vectors["ecdsa_der"].as_array().unwrap();
        assert_eq!(rows.len(), 5);
        for row in rows {
            let raw = hex::decode(row["raw"].as_str().unwrap()).unwrap();
            let der = ecdsa_der(&raw).map(hex::encode);
            assert_eq!(der.as_deref(), row["der"].as_str());
        }
    }

    #[test]
    fn raw_signatures_of_another_length_have_no_der_form() {
        for length in [0, 1, 63, 65, 95, 97, 132] {
            assert_eq!(ecdsa_der(&vec![1; length]), None, "{length}");
        }
        assert_eq!(
            ecdsa_der(&[0; 64]).map(hex::encode).as_deref(),
            Some("3006020100020100")
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = spki_parts(&bytes);
            let _ = ecdsa_der(&bytes);
        }
    }
}
