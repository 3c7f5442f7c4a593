//! The rules of both receiver types, row by row, with a signature scheme of the tests' own.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.example";

/// RS256 and ES256 as a hash over key and message: wrong with another key, message or algorithm.
/// PS256 is what this side does not know.
struct Toy;

impl Signatures for Toy {
    fn verify(
        &self,
        algorithm: Algorithm,
        spki: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<bool, Unsupported> {
        if algorithm == Algorithm::Ps256 {
            return Err(Unsupported);
        }
        Ok(signature == toy(algorithm, spki, message))
    }
}

fn toy(algorithm: Algorithm, spki: &[u8], message: &[u8]) -> Vec<u8> {
    let hash = Sha256::new()
        .chain_update(algorithm.name())
        .chain_update(spki)
        .chain_update(message)
        .finalize();
    [hash, hash].concat()
}

fn sign(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let algorithm = header["alg"]
        .as_str()
        .and_then(Algorithm::parse)
        .unwrap_or(Algorithm::Rs256);
    let signature = toy(algorithm, key, message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn key(kid: Option<&str>, algorithm: Algorithm, spki: &[u8]) -> Key {
    Key {
        kid: kid.map(ToString::to_string),
        algorithms: vec![algorithm],
        spki: spki.to_vec(),
    }
}

fn issuer(url: &str, audience: &str) -> Issuer {
    Issuer {
        issuer: url.into(),
        audience: audience.into(),
        algorithms: vec![Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256],
        keys: vec![
            key(None, Algorithm::Rs256, b"none"),
            key(Some("a"), Algorithm::Rs256, b"a"),
            key(Some("e"), Algorithm::Es256, b"e"),
            key(Some("p"), Algorithm::Ps256, b"p"),
        ],
    }
}

/// `base` with members replaced; `"-"` removes one.
fn with(mut base: Value, members: &Value) -> Value {
    for (name, value) in members.as_object().unwrap() {
        if value == "-" {
            base.as_object_mut().unwrap().remove(name);
        } else {
            base[name] = value.clone();
        }
    }
    base
}

type Outcome = Result<Verified, JwtError>;

fn ok(issuer_index: usize) -> Outcome {
    Ok(Verified {
        issuer_index,
        signature_checked: true,
    })
}

fn unchecked(issuer_index: usize) -> Outcome {
    Ok(Verified {
        issuer_index,
        signature_checked: false,
    })
}

fn oidc(header: &Value, claims: &Value, spki: &[u8]) -> Outcome {
    let header = with(json!({"alg": "RS256", "kid": "a"}), header);
    let claims = with(
        json!({"iss": ISSUER, "aud": "notification-controller", "exp": NOW + 60}),
        claims,
    );
    let issuers = [
        issuer(ISSUER, "notification-controller"),
        issuer(ISSUER, "second"),
        issuer("https://other.example/", "notification-controller"),
        issuer(GOOGLE_ISSUER, "notification-controller"),
    ];
    let token = sign(&header, &claims, spki);
    verify_oidc(&Token::parse(token.as_bytes())?, &issuers, NOW, &Toy)
}

#[test]
fn generic_oidc_tokens_hold_by_their_claims() {
    let rows: Vec<(&str, Value, Outcome)> = vec![
        ("plain", json!({}), ok(0)),
        (
            "aud list with ours",
            json!({"aud": ["x", "notification-controller"]}),
            ok(0),
        ),
        ("aud missing", json!({"aud": "-"}), Err(JwtError::Audience)),
        ("aud null", json!({"aud": null}), Err(JwtError::Audience)),
        ("aud other", json!({"aud": "x"}), Err(JwtError::Audience)),
        (
            "aud empty list",
            json!({"aud": []}),
            Err(JwtError::Audience),
        ),
        (
            "aud list of others",
            json!({"aud": ["x", "y"]}),
            Err(JwtError::Audience),
        ),
        (
            "aud prefix",
            json!({"aud": "notification-controller2"}),
            Err(JwtError::Audience),
        ),
        (
            "aud case",
            json!({"aud": "Notification-Controller"}),
            Err(JwtError::Audience),
        ),
        (
            "the first entry of an issuer counts",
            json!({"aud": "second"}),
            Err(JwtError::Audience),
        ),
        ("exp in 1 s", json!({"exp": NOW + 1}), ok(0)),
        ("exp now", json!({"exp": NOW}), Err(JwtError::Expired)),
        (
            "exp 1 s ago",
            json!({"exp": NOW - 1}),
            Err(JwtError::Expired),
        ),
        ("exp missing", json!({"exp": "-"}), Err(JwtError::Expired)),
        ("nbf 4 min ahead", json!({"nbf": NOW + 240}), ok(0)),
        ("nbf 5 min ahead", json!({"nbf": NOW + 300}), ok(0)),
        (
            "nbf 6 min ahead",
            json!({"nbf": NOW + 360}),
            Err(JwtError::NotYetValid),
        ),
        ("iat in the future", json!({"iat": NOW + 9999}), ok(0)),
        ("iss missing", json!({"iss": "-"}), Err(JwtError::Issuer)),
        ("iss empty", json!({"iss": ""}), Err(JwtError::Issuer)),
        (
            "iss with a slash more",
            json!({"iss": "https://issuer.example/"}),
            Err(JwtError::Issuer),
        ),
        (
            "iss with a slash less",
            json!({"iss": "https://other.example"}),
            Err(JwtError::Issuer),
        ),
        (
            "iss with a slash",
            json!({"iss": "https://other.example/"}),
            ok(2),
        ),
        (
            "iss Google",
            json!({"iss": "https://accounts.google.com"}),
            ok(3),
        ),
        (
            "iss Google without scheme",
            json!({"iss": "accounts.google.com"}),
            ok(3),
        ),
        (
            "iss of another name",
            json!({"iss": "-", "ISS": ISSUER}),
            Err(JwtError::Issuer),
        ),
    ];
    for (name, claims, expected) in rows {
        assert_eq!(oidc(&json!({}), &claims, b"a"), expected, "{name}");
    }
}

#[test]
fn generic_oidc_tokens_hold_by_their_key() {
    let rows: Vec<(&str, Value, &[u8], Outcome)> = vec![
        ("wrong key", json!({}), b"x", Err(JwtError::Signature)),
        (
            "another key of the issuer",
            json!({}),
            b"e",
            Err(JwtError::Signature),
        ),
        ("typ", json!({"typ": "anything"}), b"a", ok(0)),
        (
            "alg none",
            json!({"alg": "none"}),
            b"a",
            Err(JwtError::Algorithm),
        ),
        (
            "alg HS256",
            json!({"alg": "HS256"}),
            b"a",
            Err(JwtError::Algorithm),
        ),
        (
            "alg not the issuer's",
            json!({"alg": "RS512"}),
            b"a",
            Err(JwtError::Algorithm),
        ),
        (
            "alg not the key's",
            json!({"kid": "e"}),
            b"e",
            Err(JwtError::Algorithm),
        ),
        ("ES256", json!({"alg": "ES256", "kid": "e"}), b"e", ok(0)),
        (
            "unknown kid",
            json!({"kid": "z"}),
            b"a",
            Err(JwtError::UnknownKey),
        ),
        ("no kid, one of the keys", json!({"kid": "-"}), b"a", ok(0)),
        ("no kid, key without id", json!({"kid": ""}), b"none", ok(0)),
        (
            "no kid, none of the keys",
            json!({"kid": "-"}),
            b"x",
            Err(JwtError::UnknownKey),
        ),
        (
            "not for this side",
            json!({"alg": "PS256", "kid": "p"}),
            b"p",
            unchecked(0),
        ),
        (
            "not for this side, no kid",
            json!({"alg": "PS256", "kid": "-"}),
            b"p",
            unchecked(0),
        ),
        (
            "not for this side, no key",
            json!({"alg": "PS256"}),
            b"p",
            Err(JwtError::Algorithm),
        ),
        (
            "not for this side, unknown",
            json!({"alg": "PS256", "kid": "z"}),
            b"p",
            Err(JwtError::UnknownKey),
        ),
    ];
    for (name, header, spki, expected) in rows {
        assert_eq!(oidc(&header, &json!({}), spki), expected, "{name}");
    }
}

#[test]
fn an_unchecked_signature_excuses_no_claim() {
    let header = json!({"alg": "PS256", "kid": "p"});
    assert_eq!(
        oidc(&header, &json!({"exp": NOW}), b"p"),
        Err(JwtError::Expired)
    );
    assert_eq!(
        oidc(&header, &json!({"aud": "x"}), b"p"),
        Err(JwtError::Audience)
    );
}

#[test]
fn a_changed_payload_breaks_the_signature() {
    let claims = json!({"iss": ISSUER, "aud": "a", "exp": NOW + 60});
    let token = sign(&json!({"alg": "RS256", "kid": "a"}), &claims, b"a");
    let mut parts = token.split('.');
    let (header, signature) = (parts.next().unwrap(), parts.next_back().unwrap());
    let forged = URL_SAFE_NO_PAD.encode(with(claims, &json!({"exp": NOW + 61})).to_string());
    let verdict = |token: String| {
        let token = Token::parse(token.as_bytes())?;
        verify_oidc(&token, &[issuer(ISSUER, "a")], NOW, &Toy)
    };
    assert_eq!(verdict(token.clone()), ok(0));
    assert_eq!(
        verdict(format!("{header}.{forged}.{signature}")),
        Err(JwtError::Signature)
    );
    assert_eq!(
        verdict(format!("{header}.{forged}.")),
        Err(JwtError::Signature)
    );
}

#[test]
fn elliptic_curve_signatures_have_exactly_their_length() {
    let claims = json!({"iss": ISSUER, "aud": "a", "exp": NOW + 60});
    let token = sign(&json!({"alg": "ES256", "kid": "e"}), &claims, b"e");
    let shorter = token.get(..token.len() - 2).unwrap();
    let token = Token::parse(shorter.as_bytes()).unwrap();
    assert_eq!(
        verify_oidc(&token, &[issuer(ISSUER, "a")], NOW, &Toy),
        Err(JwtError::Signature)
    );
}

#[test]
fn a_token_without_a_key_id_makes_bounded_work() {
    let mut issuer = issuer(ISSUER, "a");
    issuer.keys = (0..64).map(|n| key(None, Algorithm::Rs256, &[n])).collect();
    let claims = json!({"iss": ISSUER, "aud": "a", "exp": NOW + 60});
    let verdict = |spki: &[u8]| {
        let token = sign(&json!({"alg": "RS256"}), &claims, spki);
        let token = Token::parse(token.as_bytes())?;
        verify_oidc(&token, core::slice::from_ref(&issuer), NOW, &Toy)
    };
    assert_eq!(verdict(&[7]), ok(0));
    assert_eq!(verdict(&[8]), Err(JwtError::UnknownKey));
}

fn gcr(header: &Value, claims: &Value, spki: &[u8]) -> Outcome {
    let header = with(json!({"alg": "RS256", "kid": "a"}), header);
    let claims = with(
        json!({
            "iss": GOOGLE_ISSUER, "aud": "https://hooks.example/x", "exp": NOW + 60,
            "email": "push@project.example", "email_verified": true,
        }),
        claims,
    );
    let token = sign(&header, &claims, spki);
    let email = |email: &str| email == "push@project.example";
    let issuer = issuer(GOOGLE_ISSUER, "https://hooks.example/x");
    verify_gcr(&Token::parse(token.as_bytes())?, &issuer, &email, NOW, &Toy)
}

#[test]
fn gcr_tokens_hold_by_googles_rules() {
    let rows: Vec<(&str, Value, Value, Outcome)> = vec![
        ("plain", json!({}), json!({}), ok(0)),
        (
            "ES256",
            json!({"alg": "ES256", "kid": "e"}),
            json!({}),
            ok(0),
        ),
        (
            "iss without scheme",
            json!({}),
            json!({"iss": "accounts.google.com"}),
            ok(0),
        ),
        (
            "iss other",
            json!({}),
            json!({"iss": ISSUER}),
            Err(JwtError::Issuer),
        ),
        (
            "iss missing",
            json!({}),
            json!({"iss": "-"}),
            Err(JwtError::Issuer),
        ),
        (
            "aud list",
            json!({}),
            json!({"aud": ["https://hooks.example/x"]}),
            Err(JwtError::Audience),
        ),
        (
            "aud other",
            json!({}),
            json!({"aud": "https://hooks.example/X"}),
            Err(JwtError::Audience),
        ),
        (
            "aud missing",
            json!({}),
            json!({"aud": "-"}),
            Err(JwtError::Audience),
        ),
        ("exp now", json!({}), json!({"exp": NOW}), ok(0)),
        (
            "exp 1 s ago",
            json!({}),
            json!({"exp": NOW - 1}),
            Err(JwtError::Expired),
        ),
        (
            "exp missing",
            json!({}),
            json!({"exp": "-"}),
            Err(JwtError::Expired),
        ),
        (
            "nbf ahead does not matter",
            json!({}),
            json!({"nbf": NOW + 999}),
            ok(0),
        ),
        (
            "email other",
            json!({}),
            json!({"email": "x@project.example"}),
            Err(JwtError::Email),
        ),
        (
            "email missing",
            json!({}),
            json!({"email": "-"}),
            Err(JwtError::Email),
        ),
        (
            "email list",
            json!({}),
            json!({"email": ["push@project.example"]}),
            Err(JwtError::Email),
        ),
        (
            "email_verified text",
            json!({}),
            json!({"email_verified": "true"}),
            Err(JwtError::Email),
        ),
        (
            "email_verified 1",
            json!({}),
            json!({"email_verified": 1}),
            Err(JwtError::Email),
        ),
        (
            "email_verified false",
            json!({}),
            json!({"email_verified": false}),
            Err(JwtError::Email),
        ),
        (
            "email_verified missing",
            json!({}),
            json!({"email_verified": "-"}),
            Err(JwtError::Email),
        ),
        (
            "alg PS256",
            json!({"alg": "PS256", "kid": "p"}),
            json!({}),
            Err(JwtError::Algorithm),
        ),
        (
            "alg none",
            json!({"alg": "none"}),
            json!({}),
            Err(JwtError::Algorithm),
        ),
        (
            "kid unknown",
            json!({"kid": "z"}),
            json!({}),
            Err(JwtError::UnknownKey),
        ),
        (
            "kid missing",
            json!({"kid": "-"}),
            json!({}),
            Err(JwtError::UnknownKey),
        ),
    ];
    for (name, header, claims, expected) in rows {
        let spki = if header["alg"] == "ES256" { b"e" } else { b"a" };
        assert_eq!(gcr(&header, &claims, spki), expected, "{name}");
    }
    assert_eq!(gcr(&json!({}), &json!({}), b"x"), Err(JwtError::Signature));
}

#[test]
fn a_bearer_token_follows_exactly_its_prefix() {
    type Row = (&'static [u8], bool, Option<&'static [u8]>);
    let rows: [Row; 12] = [
        (b"Bearer x", true, Some(b"x")),
        (b"Bearer x", false, Some(b"x")),
        (b"Bearer  x \t", true, Some(b"x")),
        (b"Bearer  x", false, Some(b" x")),
        (b"bearer x", true, None),
        (b"BEARER x", true, None),
        (b"Bearer\tx", true, None),
        (b" Bearer x", true, None),
        (b"Bearer", true, None),
        (b"Bearer   ", true, None),
        (b"Bearer ", false, None),
        (b"", true, None),
    ];
    for (header, trim, expected) in rows {
        assert_eq!(bearer(header, trim), expected, "{header:?} {trim}");
    }
}

#[test]
fn algorithms_are_named_in_the_table_as_in_tokens() {
    for algorithm in Algorithm::ALL {
        assert_eq!(Algorithm::parse(algorithm.name()), Some(algorithm));
        assert_eq!(serde_json::to_value(algorithm).unwrap(), algorithm.name());
    }
    for word in [
        "none", "None", "HS256", "HS512", "ES512", "ES256K", "rs256", "RS256 ", "",
    ] {
        assert_eq!(Algorithm::parse(word), None, "{word:?}");
    }
}

#[test]
fn an_issuer_in_the_table_is_read_back_and_unknown_members_are_refused() {
    let issuer = Issuer {
        issuer: ISSUER.into(),
        audience: "a".into(),
        algorithms: vec![Algorithm::EdDsa],
        keys: vec![
            key(None, Algorithm::EdDsa, &[1, 2]),
            key(Some("k"), Algorithm::EdDsa, &[3]),
        ],
    };
    let json = serde_json::to_string(&issuer).unwrap();
    assert_eq!(
        json,
        r#"{"issuer":"https://issuer.example","audience":"a","algorithms":["EdDSA"],"keys":[{"algorithms":["EdDSA"],"spki":"AQI="},{"kid":"k","algorithms":["EdDSA"],"spki":"Aw=="}]}"#
    );
    assert_eq!(serde_json::from_str::<Issuer>(&json).unwrap(), issuer);
    for bad in [
        json.replace("\"audience\"", "\"aud\""),
        json.replace("\"kid\"", "\"id\""),
        json.replace("AQI=", "AQI"),
        json.replace("EdDSA", "none"),
    ] {
        assert!(serde_json::from_str::<Issuer>(&bad).is_err(), "{bad}");
    }
}
