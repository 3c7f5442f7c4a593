//! The signature primitive of the controller: every algorithm of [`hook::jwt`], by `ring`.

use hook::jwt::{Algorithm, Signatures, Unsupported, spki_parts};
use ring::signature::{self, UnparsedPublicKey, VerificationAlgorithm};

/// Verifies with `ring`. Never answers [`Unsupported`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Ring;

impl Signatures for Ring {
    fn verify(
        &self,
        algorithm: Algorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unsupported> {
        // ring takes the bit string's content and is told the key type by the algorithm alone.
        let Some((key_type, key)) = spki_parts(spki) else {
            return Ok(false);
        };
        if key_type != algorithm.key_type() {
            return Ok(false);
        }
        let key = UnparsedPublicKey::new(verification(algorithm), key);
        Ok(key.verify(message, signature).is_ok())
    }
}

fn verification(algorithm: Algorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
        Algorithm::Rs384 => &signature::RSA_PKCS1_2048_8192_SHA384,
        Algorithm::Rs512 => &signature::RSA_PKCS1_2048_8192_SHA512,
        Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        Algorithm::Ps384 => &signature::RSA_PSS_2048_8192_SHA384,
        Algorithm::Ps512 => &signature::RSA_PSS_2048_8192_SHA512,
        Algorithm::Es256 => &signature::ECDSA_P256_SHA256_FIXED,
        Algorithm::Es384 => &signature::ECDSA_P384_SHA384_FIXED,
        Algorithm::EdDsa => &signature::ED25519,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use hook::jwt::{Issuer, JwtError, Key, Token, Verified, jwk_to_key, verify_oidc};
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../filter/hook/tests/vectors/jwt.json")).unwrap()
    }

    fn key(jwk: &Value) -> Key {
        jwk_to_key(&serde_json::from_value(jwk.clone()).unwrap()).unwrap()
    }

    fn rows<'v>(vectors: &'v Value, name: &str) -> &'v [Value] {
        vectors[name].as_array().unwrap()
    }

    /// An issuer with all keys of the vectors.
    fn issuer(vectors: &Value) -> Issuer {
        Issuer {
            issuer: "https://issuer.example".into(),
            audience: "notification-controller".into(),
            algorithms: Algorithm::ALL.to_vec(),
            keys: rows(vectors, "keys")
                .iter()
                .map(|vector| key(&vector["jwk"]))
                .collect(),
        }
    }

    #[test]
    fn the_published_vectors_verify_and_a_changed_message_does_not() {
        let vectors = vectors();
        let published = rows(&vectors, "published");
        assert_eq!(published.len(), 4);
        for vector in published {
            let algorithm = Algorithm::parse(vector["algorithm"].as_str().unwrap()).unwrap();
            let spki = key(&vector["jwk"]).spki;
            let message = vector["message"].as_str().unwrap();
            let signature = URL_SAFE_NO_PAD
                .decode(vector["signature"].as_str().unwrap())
                .unwrap();
            let verify =
                |message: &str| Ring.verify(algorithm, &spki, message.as_bytes(), &signature);
            assert_eq!(verify(message), Ok(true), "{}", vector["source"]);
            assert_eq!(
                verify(&format!("{message}x")),
                Ok(false),
                "{}",
                vector["source"]
            );
        }
    }

    #[test]
    fn tokens_of_every_algorithm_verify_by_key_id() {
        let vectors = vectors();
        let issuers = [issuer(&vectors)];
        let tokens = rows(&vectors, "tokens");
        assert_eq!(tokens.len(), Algorithm::ALL.len());
        for vector in tokens {
            let token = Token::parse(vector["token"].as_str().unwrap().as_bytes()).unwrap();
            assert_eq!(token.algorithm().name(), vector["algorithm"]);
            let held = Ok(Verified {
                issuer_index: 0,
                signature_checked: true,
            });
            let verdict = |now| verify_oidc(&token, &issuers, now, &Ring);
            assert_eq!(verdict(1_999_999_999), held, "{}", vector["algorithm"]);
            assert_eq!(verdict(2_000_000_000), Err(JwtError::Expired));
        }
    }

    #[test]
    fn a_signature_of_one_algorithm_holds_for_no_other() {
        let vectors = vectors();
        let keys = issuer(&vectors).keys;
        for vector in rows(&vectors, "tokens") {
            let token = Token::parse(vector["token"].as_str().unwrap().as_bytes()).unwrap();
            for algorithm in Algorithm::ALL {
                for key in &keys {
                    let held =
                        Ring.verify(algorithm, &key.spki, token.message(), token.signature());
                    let fits =
                        algorithm == token.algorithm() && key.algorithms.contains(&algorithm);
                    assert_eq!(held, Ok(fits), "{algorithm:?} with {:?}", key.kid);
                }
            }
        }
    }

    #[test]
    fn a_damaged_signature_or_key_does_not_verify() {
        let vectors = vectors();
        for vector in rows(&vectors, "tokens") {
            let token = Token::parse(vector["token"].as_str().unwrap().as_bytes()).unwrap();
            let keys = issuer(&vectors).keys;
            let key = keys
                .iter()
                .find(|key| key.kid.as_deref() == vector["kid"].as_str())
                .unwrap();
            let verify = |spki: &[u8], signature: &[u8]| {
                Ring.verify(token.algorithm(), spki, token.message(), signature)
            };
            let mut signature = token.signature().to_vec();
            signature[9] ^= 1;
            assert_eq!(verify(&key.spki, &signature), Ok(false));
            assert_eq!(verify(&key.spki, &[]), Ok(false));
            let mut spki = key.spki.clone();
            *spki.last_mut().unwrap() ^= 1;
            assert_eq!(verify(&spki, token.signature()), Ok(false));
            assert_eq!(verify(&[], token.signature()), Ok(false));
        }
    }
}
