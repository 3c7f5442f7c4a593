//! `smtp`: a mail, which Flux's schema does not name: a Provider of type `generic` with the
//! annotation `hookgate.dev/provider-type: smtp`.
//!
//! The address is `smtp://host[:587]` with STARTTLS, `smtps://host[:465]`, or `smtp://host?tls=none`
//! for a relay nearby, which gets no password. `spec.channel` holds the recipients, with commas
//! between; the Secret `username` and `password`, where the server wants them. The sender is
//! `?from=` of the address, else the user name, where it is an address.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::http::credentials;
use super::part::fit::{Limit, fit};
use super::part::{chat, mime, subject, text};
use super::{Context, Exchange, Mail, MailSecurity, ProviderError, ProviderType, Target};
use crate::api::event::Event;
#[cfg(test)]
use crate::provider::testing::Example;

/// Characters of a subject.
const SUBJECT: usize = 200;

/// How many recipients a mail has at most; RFC 5321 asks servers for 100.
const RECIPIENTS: usize = 100;

const LIMIT: Limit = Limit {
    total: 200_000,
    message: 200_000,
    pairs: 100,
    key: 300,
    value: 2_000,
    markup: 3,
    cost: char::len_utf8,
};

/// Mail.
pub(super) struct Smtp;

impl ProviderType for Smtp {
    fn name(&self) -> &'static str {
        "smtp"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = url(target)?;
        let security = security(&url)?;
        let to = recipients(target)?;
        let from = sender(&url, target)?;
        let login = login(&url, target);
        if login.is_some() && security == MailSecurity::Open {
            return Err(config(
                "a password goes to no server without TLS; take tls=none out of the address",
            ));
        }
        let now = i64::try_from(context.now).unwrap_or_default();
        let message = mime::Message {
            from: &from,
            to: &to,
            subject: &title(event),
            date: event.timestamp.map_or(now, |time| time.unix()),
            id: &context.key_hex(),
            text: &body(&fit(event, &LIMIT)),
        }
        .finish();
        let host = url.host_str().unwrap_or_default();
        let port = if security == MailSecurity::Tls {
            465
        } else {
            587
        };
        Ok(Exchange::once(Mail {
            // An IPv6 address stands in brackets in a URL only.
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(port),
            security,
            login,
            from,
            to,
            message,
        }))
    }

    #[cfg(test)]
    fn example(&self) -> Example {
        let mut example = Example::default();
        example.target.address = "smtp://mail.test".to_owned().into();
        example.target.channel = "oncall@acme.test, web@acme.test".to_owned();
        example.target.username = "flux@acme.test".to_owned();
        example.target.password = Some("hush-password".to_owned().into());
        example
    }
}

fn config(text: &str) -> ProviderError {
    ProviderError::Config(text.to_owned())
}

fn url(target: &Target) -> Result<Url, ProviderError> {
    Url::parse(target.address.expose_secret())
        .ok()
        .filter(|url| matches!(url.scheme(), "smtp" | "smtps"))
        .filter(|url| url.host_str().is_some_and(|host| !host.is_empty()))
        .ok_or_else(|| config("the address is not a mail server's, such as smtp://host:587"))
}

fn parameter(url: &Url, wanted: &str) -> Option<String> {
    let mut pairs = url.query_pairs();
    let found = pairs.find(|(name, _)| name == wanted);
    found.map(|(_, value)| value.into_owned())
}

fn security(url: &Url) -> Result<MailSecurity, ProviderError> {
    match (url.scheme(), parameter(url, "tls").as_deref()) {
        ("smtps", None) => Ok(MailSecurity::Tls),
        ("smtp", None) => Ok(MailSecurity::StartTls),
        ("smtp", Some("none")) => Ok(MailSecurity::Open),
        _ => Err(config("tls in the address is not none, or goes with smtps")),
    }
}

fn recipients(target: &Target) -> Result<Vec<String>, ProviderError> {
    let channel = target.channel("the list of recipients is missing")?;
    let to: Vec<String> = channel
        .split(',')
        .map(|address| address.trim().to_owned())
        .collect();
    if to.len() > RECIPIENTS || !to.iter().all(|address| mime::is_address(address)) {
        return Err(config(
            "spec.channel is not a list of at most 100 mail addresses with commas between",
        ));
    }
    Ok(to)
}

fn sender(url: &Url, target: &Target) -> Result<String, ProviderError> {
    let sender = parameter(url, "from").unwrap_or_else(|| target.username.clone());
    Some(sender)
        .filter(|sender| mime::is_address(sender))
        .ok_or_else(|| config("the sender is missing; add ?from=flux@example.com to the address"))
}

/// The Secret's, or what the address holds.
fn login(url: &Url, target: &Target) -> Option<(String, SecretString)> {
    if let Some((user, password)) = target.login() {
        return Some((user.to_owned(), password));
    }
    let (user, password) = credentials(url)?;
    Some((user, password.into()))
}

fn title(event: &Event) -> String {
    let name = subject::object_name(event);
    let title = format!("[{}] {name}: {}", event.severity, event.reason);
    let title: String = title.chars().filter(|c| !c.is_control()).collect();
    text::cut(&title, SUBJECT).into_owned()
}

fn body(event: &Event) -> String {
    let lines = chat::lines(event, |key, value| format!("{key}: {value}\n"));
    let object = &event.involved_object;
    let controller = &event.reporting_controller;
    format!(
        "{}\n\n{lines}\n-- \n{object}, {controller}\n",
        event.message
    )
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check};

    fn refusal(address: &str, channel: &str) -> String {
        let mut target = Smtp.example().target;
        target.address = address.to_owned().into();
        target.channel = channel.to_owned();
        let text = testing::refusal(&Smtp, &testing::info(), &target);
        text.trim_start_matches("the Provider cannot be used: ")
            .to_owned()
    }

    #[test]
    fn an_error_is_a_mail() {
        check(
            &Smtp,
            testing::error(),
            expect![[r#"
            MAIL from flux@acme.test to ["oncall@acme.test", "web@acme.test"] at mail.test:587 by StartTls as Some("flux@acme.test:hush-password")

            From: flux@acme.test
            To: oncall@acme.test,
             web@acme.test
            Subject: [error] kustomization/webapp.apps: ValidationFailed
            Date: Fri, 2 Jan 2026 03:04:05 +0000
            Message-ID: <3803d3be840f0a6e52fd213ceca66867a9626b829a2e35ec9a0ed77a18d8c00e@acme.test>
            MIME-Version: 1.0
            Content-Type: text/plain; charset=utf-8
            Content-Transfer-Encoding: base64
            Auto-Submitted: auto-generated

            validation failed: <Ingress> & more
            second line

            change_request: 7
            cluster: prod
            revision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738
            summary: prod impacted

            -- 
            Kustomization/apps/webapp, kustomize-controller

            done
        "#]],
        );
    }

    #[test]
    fn an_event_cannot_add_a_header() {
        let mut event = testing::info();
        event.reason = "x\r\nBcc: all@acme.test".to_owned();
        assert_eq!(
            title(&event),
            "[info] kustomization/webapp.apps: xBcc: all@acme.test"
        );
    }

    #[test]
    fn the_address_says_how_it_is_kept_secret() {
        for (address, want) in [
            ("smtp://mail.test", MailSecurity::StartTls),
            ("smtps://mail.test:4650", MailSecurity::Tls),
            ("smtp://10.0.0.1:25?tls=none&from=a@b", MailSecurity::Open),
        ] {
            assert_eq!(security(&Url::parse(address).unwrap()), Ok(want));
        }
        let target = Target::default();
        let (user, password) = login(
            &Url::parse("smtps://us%40er:p%3Ass@mail.test").unwrap(),
            &target,
        )
        .unwrap();
        assert_eq!((user.as_str(), password.expose_secret()), ("us@er", "p:ss"));
        assert_eq!(
            refusal("smtp://mail.test?tls=off", "a@b"),
            "tls in the address is not none, or goes with smtps"
        );
        assert_eq!(
            refusal("smtp://mail.test?tls=none", "a@b"),
            "a password goes to no server without TLS; take tls=none out of the address"
        );
        assert_eq!(
            refusal("https://mail.test", "a@b"),
            "the address is not a mail server's, such as smtp://host:587"
        );
    }

    #[test]
    fn sender_and_recipients_are_plain_addresses() {
        for channel in ["a", "a@b,", "A <a@b>", "a@b\r\nc@d"] {
            assert_eq!(
                refusal("smtp://mail.test", channel),
                "spec.channel is not a list of at most 100 mail addresses with commas between"
            );
        }
        assert_eq!(
            refusal("smtp://mail.test?from=nobody", "a@b"),
            "the sender is missing; add ?from=flux@example.com to the address"
        );
        let url = Url::parse("smtp://mail.test?from=flux%2Btest@acme.test").unwrap();
        assert_eq!(
            sender(&url, &Target::default()).unwrap(),
            "flux+test@acme.test"
        );
    }
}
