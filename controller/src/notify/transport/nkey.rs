//! NATS's nkeys: Ed25519 seeds in base32, which sign what a server greets with. Pure.
//!
//! A seed is `SU…`: base32 of two bytes that say what it is, 32 bytes of seed, and a CRC-16 of these. A
//! public key is `U…`: likewise, with one byte. Only users log in.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

/// The first byte of a user's public key.
const USER: u8 = 20 << 3;
/// The first bits of a seed.
const SEED: u8 = 18 << 3;
/// As RFC 4648 has it.
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// A user's key.
pub(super) struct Nkey(Ed25519KeyPair);

/// What a `.creds` file holds.
pub(super) struct Creds<'t> {
    /// Who the user is, signed by an account.
    pub(super) jwt: &'t str,
    /// The user's seed.
    pub(super) seed: &'t str,
}

impl Nkey {
    /// Reads a user's seed.
    pub(super) fn from_seed(text: &str) -> Option<Self> {
        let bytes = base32_decoded(text.trim())?;
        let (body, crc) = bytes.split_last_chunk::<2>()?;
        let [first, second, seed @ ..] = body else {
            return None;
        };
        let is_seed = first & 0b1111_1000 == SEED;
        let is_users = (first & 0b111) << 5 | second >> 3 == USER;
        if u16::from_le_bytes(*crc) != crc16(body) || !is_seed || !is_users {
            return None;
        }
        Ed25519KeyPair::from_seed_unchecked(seed).ok().map(Self)
    }

    /// The public key as NATS writes it.
    pub(super) fn public(&self) -> String {
        let mut bytes = vec![USER];
        bytes.extend_from_slice(self.0.public_key().as_ref());
        let crc = crc16(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        base32(&bytes)
    }

    /// The signature of a server's nonce, as NATS writes it.
    pub(super) fn sign(&self, nonce: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.0.sign(nonce.as_bytes()))
    }
}

impl<'t> Creds<'t> {
    /// Reads a `.creds` file: between decorations, a JWT and a seed.
    pub(super) fn parse(text: &'t str) -> Option<Self> {
        let after = |mark: &str| {
            let mut lines = text.lines().map(str::trim);
            lines.find(|line| {
                line.starts_with("---") && line.contains("BEGIN") && line.contains(mark)
            })?;
            lines
                .find(|line| !line.is_empty())
                .filter(|line| !line.starts_with("---"))
        };
        Some(Self {
            jwt: after("JWT")?,
            seed: after("SEED")?,
        })
    }
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, byte| {
        (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
            let shifted = crc << 1;
            if crc & 0x8000 == 0 {
                shifted
            } else {
                shifted ^ 0x1021
            }
        })
    })
}

/// Without padding.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        for (to, from) in group.iter_mut().skip(3).zip(chunk) {
            *to = *from;
        }
        let bits = u64::from_be_bytes(group);
        for n in 0..(chunk.len() * 8).div_ceil(5) {
            let index = (bits >> (35 - 5 * n)) & 31;
            let letter = usize::try_from(index).ok().and_then(|i| BASE32.get(i));
            text.extend(letter.map(|letter| char::from(*letter)));
        }
    }
    text
}

fn base32_decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for letter in text.bytes() {
        let value = BASE32.iter().position(|known| *known == letter)?;
        bits = bits << 5 | u32::try_from(value).ok()?;
        held += 5;
        if held >= 8 {
            held -= 8;
            bytes.extend(u8::try_from(bits >> held & 0xff).ok());
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}

/// Made by NATS's own library, as are what it signs and its public key.
#[cfg(test)]
pub(super) const EXAMPLE_SEED: &str = "SUABVEM4X3ALAWNNQXQZLXBWMM4ZU5RLUVEHUIT67FLM4DM4PTOLESSTR4";

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLIC: &str = "UA2E5RRBB3KAOGJ3YEZIDT632DWKVZZA3S2OIUOGD6NW4KISTPUURW74";
    const SIGNED: &str =
        "amD_fRv6HlpOPECZGz2E4bB2F82JnPOxiXPXd1EYBVLrnEMXeck3D3h23u9CmJbeX-CW7812t0XHbst_WUX4Cw";

    #[test]
    fn a_seed_gives_the_key_and_signature_that_nats_gives() {
        let key = Nkey::from_seed(&format!("{EXAMPLE_SEED}\n")).unwrap();
        assert_eq!(key.public(), PUBLIC);
        assert_eq!(key.sign("a nonce"), SIGNED);
    }

    #[test]
    fn what_is_no_users_seed_is_refused() {
        let mut other = EXAMPLE_SEED.to_owned();
        other.replace_range(10..11, if &other[10..11] == "A" { "B" } else { "A" });
        for text in [
            "",
            "SU",
            "hunter2",
            PUBLIC,
            &other,
            &EXAMPLE_SEED[..56],
            "SAACP7XMYOVYILTPP3FYYJJN37P3IVG4ELMHA34WGQDQ6UD3BJXAX366ZQ",
        ] {
            assert!(Nkey::from_seed(text).is_none(), "{text}");
        }
    }

    #[test]
    fn creds_hold_a_token_and_a_seed_between_decorations() {
        let text = "-----BEGIN NATS USER JWT-----\r\neyJ0.e30.c2ln\r\n------END NATS USER JWT------\n\n\
                    ****** IMPORTANT ******\n\n-----BEGIN USER NKEY SEED-----\nSUA\n------END USER NKEY SEED------\n";
        let creds = Creds::parse(text).unwrap();
        assert_eq!((creds.jwt, creds.seed), ("eyJ0.e30.c2ln", "SUA"));
        for text in [
            "",
            "hunter2",
            "-----BEGIN NATS USER JWT-----\na",
            "-----BEGIN NATS USER JWT-----\n-----END\n-----BEGIN USER NKEY SEED-----\nSUA",
        ] {
            assert!(Creds::parse(text).is_none(), "{text:?}");
        }
    }

    #[test]
    fn base32_is_read_as_it_is_written() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "MY"),
            (b"fo", "MZXQ"),
            (b"foo", "MZXW6"),
            (b"foob", "MZXW6YQ"),
            (b"fooba", "MZXW6YTB"),
            (b"foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(bytes), text);
            assert_eq!(base32_decoded(text).as_deref(), Some(bytes));
        }
    }
}
