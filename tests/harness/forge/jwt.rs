//! Signs JWTs with ring: the keys of the in-process issuer.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RsaEncoding,
    RsaKeyPair, RsaPublicKeyComponents,
};
use serde_json::{Value, json};

/// ring cannot generate RSA keys, so one is part of the tests. It guards nothing.
const RSA_TEST_KEY: &str = include_str!("rsa-test-key.pem");

/// What a token is signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// RSASSA-PSS with SHA-256.
    Ps256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5 with SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5 with SHA-512.
    Rs512,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Ps256,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// Its name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Ps256 => "PS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }
}

/// One key of each family, under ids of one generation.
#[derive(Debug)]
pub struct Keys {
    generation: u32,
    random: SystemRandom,
    rsa: RsaKeyPair,
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    ed25519: Ed25519KeyPair,
}

impl Keys {
    /// New keys, the RSA one apart; `generation` goes into the ids.
    ///
    /// # Panics
    ///
    /// When the system has no random numbers.
    #[must_use]
    pub fn generate(generation: u32) -> Self {
        let random = SystemRandom::new();
        let pem: String = RSA_TEST_KEY
            .lines()
            .skip_while(|line| !line.starts_with("-----BEGIN"))
            .filter(|line| !line.starts_with("-----"))
            .collect();
        let der = STANDARD.decode(pem).expect("the test key is PEM");
        let p256 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
            .expect("a P-256 key can be generated");
        let p384 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P384_SHA384_FIXED_SIGNING, &random)
            .expect("a P-384 key can be generated");
        let ed25519 =
            Ed25519KeyPair::generate_pkcs8(&random).expect("an Ed25519 key can be generated");
        Self {
            generation,
            rsa: RsaKeyPair::from_pkcs8(&der).expect("the test key is an RSA key"),
            p256: EcdsaKeyPair::from_pkcs8(
                &ECDSA_P256_SHA256_FIXED_SIGNING,
                p256.as_ref(),
                &random,
            )
            .expect("a generated key parses"),
            p384: EcdsaKeyPair::from_pkcs8(
                &ECDSA_P384_SHA384_FIXED_SIGNING,
                p384.as_ref(),
                &random,
            )
            .expect("a generated key parses"),
            ed25519: Ed25519KeyPair::from_pkcs8(ed25519.as_ref()).expect("a generated key parses"),
            random,
        }
    }

    /// A token with these claims.
    #[must_use]
    pub fn sign(&self, algorithm: Algorithm, claims: &Value) -> String {
        let header = json!({"alg": algorithm.name(), "typ": "JWT", "kid": self.key_id(algorithm)});
        self.sign_with_header(algorithm, &header, claims)
    }

    /// A token with any header: another `alg` than it is signed with, no `kid`, an unknown one.
    ///
    /// # Panics
    ///
    /// When signing fails.
    #[must_use]
    pub fn sign_with_header(&self, algorithm: Algorithm, header: &Value, claims: &Value) -> String {
        let encoded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", encoded(header), encoded(claims));
        let signature = self.signature(algorithm, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// The id of the key that this algorithm signs with.
    #[must_use]
    pub fn key_id(&self, algorithm: Algorithm) -> String {
        let family = match algorithm {
            Algorithm::EdDsa => "ed25519",
            Algorithm::Es256 => "p256",
            Algorithm::Es384 => "p384",
            Algorithm::Ps256 | Algorithm::Rs256 | Algorithm::Rs384 | Algorithm::Rs512 => "rsa",
        };
        format!("{family}-{}", self.generation)
    }

    /// The public keys, as a JSON Web Key Set.
    #[must_use]
    pub fn jwks(&self) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let rsa = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public());
        let curve = |algorithm: Algorithm, name: &str, key: &EcdsaKeyPair| {
            // Uncompressed: 0x04, x, y.
            let point = &key.public_key().as_ref()[1..];
            let (x, y) = point.split_at(point.len() / 2);
            json!({
                "kty": "EC", "use": "sig", "alg": algorithm.name(), "crv": name,
                "kid": self.key_id(algorithm), "x": b64(x), "y": b64(y),
            })
        };
        json!({"keys": [
            {
                // No `alg`: the same key serves RS256 to RS512 and PS256.
                "kty": "RSA", "use": "sig", "kid": self.key_id(Algorithm::Rs256),
                "n": b64(&rsa.n),
                "e": b64(&rsa.e),
            },
            curve(Algorithm::Es256, "P-256", &self.p256),
            curve(Algorithm::Es384, "P-384", &self.p384),
            {
                "kty": "OKP", "use": "sig", "alg": "EdDSA", "crv": "Ed25519",
                "kid": self.key_id(Algorithm::EdDsa), "x": b64(self.ed25519.public_key().as_ref()),
            },
        ]})
    }

    fn signature(&self, algorithm: Algorithm, signed: &[u8]) -> Vec<u8> {
        let rsa = |encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public().modulus_len()];
            self.rsa
                .sign(encoding, &self.random, signed, &mut signature)
                .expect("the RSA key signs");
            signature
        };
        let ecdsa = |key: &EcdsaKeyPair| {
            key.sign(&self.random, signed)
                .expect("the EC key signs")
                .as_ref()
                .to_vec()
        };
        match algorithm {
            Algorithm::EdDsa => self.ed25519.sign(signed).as_ref().to_vec(),
            Algorithm::Es256 => ecdsa(&self.p256),
            Algorithm::Es384 => ecdsa(&self.p384),
            Algorithm::Ps256 => rsa(&RSA_PSS_SHA256),
            Algorithm::Rs256 => rsa(&RSA_PKCS1_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_SHA512),
        }
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};

    use super::*;

    fn parts(token: &str) -> (String, Vec<u8>) {
        let (signed, signature) = token.rsplit_once('.').unwrap();
        (
            signed.to_owned(),
            URL_SAFE_NO_PAD.decode(signature).unwrap(),
        )
    }

    fn field(key: &Value, name: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(key[name].as_str().unwrap()).unwrap()
    }

    #[test]
    fn tokens_verify_under_the_published_keys() {
        let keys = Keys::generate(1);
        let jwks = keys.jwks();
        let claims = json!({"sub": "x"});

        let (signed, signature) = parts(&keys.sign(Algorithm::Rs256, &claims));
        let rsa = RsaPublicKeyComponents {
            n: field(&jwks["keys"][0], "n"),
            e: field(&jwks["keys"][0], "e"),
        };
        let checked = rsa.verify(
            &ring::signature::RSA_PKCS1_2048_8192_SHA256,
            signed.as_bytes(),
            &signature,
        );
        assert_eq!(checked, Ok(()));

        let (signed, signature) = parts(&keys.sign(Algorithm::Es256, &claims));
        let (x, y) = (field(&jwks["keys"][1], "x"), field(&jwks["keys"][1], "y"));
        let point = [vec![4], x, y].concat();
        let p256 = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
        assert_eq!(p256.verify(signed.as_bytes(), &signature), Ok(()));
    }

    #[test]
    fn a_token_names_its_algorithm_and_key() {
        let keys = Keys::generate(7);
        let token = keys.sign(Algorithm::Es384, &json!({}));
        let header = URL_SAFE_NO_PAD
            .decode(token.split('.').next().unwrap())
            .unwrap();
        let header: Value = serde_json::from_slice(&header).unwrap();
        assert_eq!(
            header,
            json!({"alg": "ES384", "typ": "JWT", "kid": "p384-7"})
        );
    }
}
