//! JSON Web Tokens signed with RS256.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use crate::provider::error::ProviderError;

/// Signs claims with an RSA key in PEM (PKCS#1 or PKCS#8); `what` names the key in errors.
pub(in crate::provider) fn sign(
    claims: &Value,
    pem: &SecretString,
    what: &str,
) -> Result<SecretString, ProviderError> {
    let unusable = || ProviderError::Config(format!("{what} is not an RSA key in PEM"));
    let key = key(pem.expose_secret()).ok_or_else(unusable)?;
    let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"RS256","typ":"JWT"}"#);
    let input = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(
        &RSA_PKCS1_SHA256,
        &SystemRandom::new(),
        input.as_bytes(),
        &mut signature,
    )
    .map_err(|_| unusable())?;
    Ok(format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature)).into())
}

fn key(pem: &str) -> Option<RsaKeyPair> {
    let inside = pem.split("-----BEGIN ").nth(1)?;
    let (label, rest) = inside.split_once("-----")?;
    let base64: String = rest
        .split("-----END")
        .next()?
        .chars()
        .filter(|c| !c.is_whitespace())
        .collect();
    let der = STANDARD.decode(base64).ok()?;
    match label {
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&der).ok(),
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::json;

    use super::*;
    use crate::provider::testing::rsa_key;

    #[test]
    fn a_token_verifies_under_the_keys_public_half() {
        let pem = rsa_key();
        let token = sign(&json!({"iss": "1"}), &pem, "the key").unwrap();
        let (input, signature) = token.expose_secret().rsplit_once('.').unwrap();
        let public = key(pem.expose_secret()).unwrap();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public.public_key())
            .verify(
                input.as_bytes(),
                &URL_SAFE_NO_PAD.decode(signature).unwrap(),
            )
            .unwrap();
        let claims = URL_SAFE_NO_PAD
            .decode(input.split('.').nth(1).unwrap())
            .unwrap();
        assert_eq!(claims, br#"{"iss":"1"}"#);
    }

    #[test]
    fn a_key_that_is_none_is_named_without_its_text() {
        for pem in [
            "",
            "hush",
            "-----BEGIN PRIVATE KEY-----\naHVzaA==\n-----END PRIVATE KEY-----",
        ] {
            let error = sign(&json!({}), &pem.to_owned().into(), "the App's private key");
            assert_eq!(
                error.map(drop).unwrap_err().to_string(),
                "the Provider cannot be used: the App's private key is not an RSA key in PEM"
            );
        }
    }
}
