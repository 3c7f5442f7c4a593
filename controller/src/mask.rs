//! Secrets out of text: what a server answered, or a library said, may quote them. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;
use url::form_urlencoded;

use crate::provider::Target;

/// What stands where a secret stood.
const MASK: &str = "*****";
/// What stands for a text that a secret can't be taken out of.
const HIDDEN: &str = "(not shown: it may hold a secret)";
/// Shorter secrets would mask half of any text: a text that has one is hidden whole.
const SHORTEST: usize = 4;
/// Shorter parts of a URL are no secrets.
const SHORTEST_PART: usize = 8;
/// What is kept of a text, in characters.
const LONGEST: usize = 1_000;

/// What must not be seen.
pub struct Mask {
    secrets: Vec<SecretString>,
}

impl Mask {
    /// The secrets of a Target, in each form that is likely to be quoted.
    pub fn of(target: &Target) -> Self {
        let mut mask = Self {
            secrets: Vec::new(),
        };
        let texts = [
            &target.password,
            &target.token,
            &target.creds,
            &target.nkey,
            &target.proxy,
        ];
        for secret in texts.into_iter().flatten().chain(target.headers.values()) {
            mask.add(secret.expose_secret());
        }
        if let Some(app) = &target.github_app {
            mask.add(app.private_key.expose_secret());
        }
        // A header often is a word, such as Bearer, and then the secret.
        for value in target.headers.values() {
            let mut words = value.expose_secret().split_whitespace();
            words.by_ref().take(1).for_each(drop);
            words.for_each(|word| mask.add(word));
        }
        if let Some(password) = &target.password {
            mask.add_basic(&target.username, password.expose_secret());
        }
        for url in [Some(&target.address), target.proxy.as_ref()] {
            mask.add_url(url.map_or("", |url| url.expose_secret()));
        }
        mask
    }

    /// Also masks this, such as a token that was fetched.
    pub fn add(&mut self, secret: &str) {
        for form in [secret, secret.trim()] {
            let lines = form.lines().filter(|line| !line.starts_with("-----"));
            for text in std::iter::once(form).chain(lines) {
                if !text.trim().is_empty() {
                    self.add_forms(text);
                }
            }
        }
        // Longer ones first: one may be part of another.
        self.secrets
            .sort_by_key(|secret| std::cmp::Reverse(secret.expose_secret().len()));
    }

    /// A secret as it is and as it is written in headers, URLs, forms and JSON.
    fn add_forms(&mut self, secret: &str) {
        self.secrets.push(secret.into());
        if secret.len() < SHORTEST {
            return;
        }
        let json = serde_json::Value::from(secret).to_string();
        let encoded = [
            STANDARD.encode(secret),
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            utf8_percent_encode(secret, NON_ALPHANUMERIC).to_string(),
            form_urlencoded::byte_serialize(secret.as_bytes()).collect(),
            json.trim_matches('"').to_owned(),
        ];
        for form in encoded.into_iter().filter(|form| form != secret) {
            if !self
                .secrets
                .iter()
                .any(|known| known.expose_secret() == form)
            {
                self.secrets.push(form.into());
            }
        }
    }

    /// What `Authorization: Basic` makes of a user and a password.
    fn add_basic(&mut self, user: &str, password: &str) {
        if !password.is_empty() {
            self.add(&STANDARD.encode(format!("{user}:{password}")));
        }
    }

    /// The whole of a URL, and its parts but for scheme and host.
    fn add_url(&mut self, text: &str) {
        let Ok(url) = Url::parse(text) else {
            // What is no URL may be a connection string.
            if text.contains("Key") || text.contains('@') {
                self.add(text);
                text.split(';')
                    .filter_map(|part| part.split_once('='))
                    .filter(|(name, _)| name.ends_with("Key") || name.contains("Signature"))
                    .for_each(|(_, value)| self.add(value));
            }
            return;
        };
        self.add(text);
        self.add(url.as_str());
        let decoded = |text| percent_decode_str(text).decode_utf8_lossy().into_owned();
        let user = decoded(url.username());
        let password = decoded(url.password().unwrap_or_default());
        for part in [
            url.username(),
            url.password().unwrap_or_default(),
            &user,
            &password,
        ] {
            self.add(part);
        }
        self.add_basic(&user, &password);
        let path = url.path().split('/');
        let query = url.query().unwrap_or_default().split(['&', '=']);
        for part in path.chain(query).filter(|part| part.len() >= SHORTEST_PART) {
            self.add(part);
        }
    }

    /// The text without secrets, on one line, and not too long.
    pub fn apply(&self, text: &str) -> String {
        let mut masked = text.to_owned();
        for secret in &self.secrets {
            let secret = secret.expose_secret();
            if secret.len() >= SHORTEST {
                masked = masked.replace(secret, MASK);
            } else if masked.contains(secret) {
                return HIDDEN.to_owned();
            }
        }
        let mut line: String = masked
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(LONGEST)
            .collect();
        if line.len() < masked.len() {
            line.push('…');
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(target: &Target, text: &str) -> String {
        Mask::of(target).apply(text)
    }

    #[test]
    fn every_secret_of_a_target_is_masked() {
        let target = Target {
            address: "https://us:pa55word@hooks.test/services/T00000000/B0000?key=abcdefgh".into(),
            token: Some("t0ken-with-newline\n".to_owned().into()),
            password: Some("hunter22".to_owned().into()),
            headers: [(
                "Authorization".to_owned(),
                "Bearer s3cret".to_owned().into(),
            )]
            .into(),
            proxy: Some("http://proxyuser:proxypass@proxy.test/".to_owned().into()),
            ..Target::default()
        };
        assert_eq!(
            masked(
                &target,
                "POST https://us:pa55word@hooks.test/services/T00000000/B0000?key=abcdefgh: no"
            ),
            "POST *****: no"
        );
        assert_eq!(
            masked(
                &target,
                "T00000000 t0ken-with-newline hunter22 s3cret pa55word abcdefgh proxyuser proxypass end"
            ),
            "***** ***** ***** ***** ***** ***** ***** ***** end"
        );
    }

    #[test]
    fn a_secret_is_masked_in_every_form_it_is_sent_in() {
        let target = Target {
            username: "user".to_owned(),
            password: Some("p@ss wörd\"?".to_owned().into()),
            proxy: Some("http://me:c%40d%20e@proxy.test/".to_owned().into()),
            ..Target::default()
        };
        for form in [
            "p@ss wörd\"?",
            "cEBzcyB3w7ZyZCI/",
            "cEBzcyB3w7ZyZCI_",
            "dXNlcjpwQHNzIHfDtnJkIj8=",
            "p%40ss%20w%C3%B6rd%22%3F",
            "p%40ss+w%C3%B6rd%22%3F",
            "p@ss wörd\\\"?",
            "c@d e",
            "c%40d%20e",
            "bWU6Y0BkIGU=",
        ] {
            assert_eq!(masked(&target, &format!("no {form} here")), "no ***** here");
        }
    }

    #[test]
    fn a_token_that_is_learnt_later_is_masked_whole() {
        let target = Target {
            token: Some("abcd".to_owned().into()),
            ..Target::default()
        };
        let mut mask = Mask::of(&target);
        mask.add("abcd-efgh");
        assert_eq!(mask.apply("abcd-efgh abcd"), "***** *****");
    }

    #[test]
    fn keys_of_connection_strings_are_masked() {
        let target = Target {
            address: "Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey=c2VjcmV0".into(),
            ..Target::default()
        };
        assert_eq!(masked(&target, "bad key c2VjcmV0"), "bad key *****");
    }

    #[test]
    fn a_text_with_a_tiny_secret_is_not_shown() {
        let target = Target {
            password: Some("x".to_owned().into()),
            ..Target::default()
        };
        assert_eq!(masked(&target, "extra"), HIDDEN);
        assert_eq!(masked(&target, "fine"), "fine");
    }

    #[test]
    fn a_text_stays_on_one_line_and_is_bounded() {
        let target = Target::default();
        assert_eq!(masked(&target, "a\nb\u{7}"), "a b ");
        let long = masked(&target, &"é".repeat(5_000));
        assert_eq!(long.chars().count(), LONGEST + 1);
    }
}
