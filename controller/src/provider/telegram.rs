//! `telegram`: a message of a bot, by the Bot API; the address is not used.
//!
//! Mended: a message keeps to 4,096 characters; nobody is mentioned; white space around the token
//! is dropped; when a limit lets the next message through is read from the answer.

use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use super::part::fit::{Limit, fit};
use super::part::git::below;
use super::part::{chat, text};
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const API: &str = "https://api.telegram.org/";

/// What means something in MarkdownV2.
const MARKUP: &str = "\\.-_[]()~>`#+=|{}!*";

const LIMIT: Limit = Limit {
    // What remains of 4,096 is for the object's name. Telegram counts as UTF-16 does, without
    // escapes.
    total: 3_600,
    message: 3_600,
    pairs: 50,
    key: 100,
    value: 500,
    markup: 5,
    cost: |c| if c == '@' { 2 } else { c.len_utf16() },
};

/// Telegram.
pub(super) struct Telegram;

impl ProviderType for Telegram {
    fn name(&self) -> &'static str {
        "telegram"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let channel = target.channel("empty Telegram channel")?;
        let token = target.token("empty Telegram token")?;
        let base = Url::parse(API)
            .map_err(|_| ProviderError::Config("the address of Telegram is none".to_owned()))?;
        let bot = format!("bot{}", token.expose_secret());
        let url = below(&base, [bot.as_str(), "sendMessage"])?;
        let mut body = json!({
            "text": text(&fit(event, &LIMIT)),
            "parse_mode": "MarkdownV2",
        });
        match channel.split_once(':') {
            Some((chat, thread)) => {
                body["chat_id"] = chat.into();
                body["message_thread_id"] = thread.into();
            }
            None => body["chat_id"] = channel.into(),
        }
        Ok(Exchange::once(HttpRequest::post(url).json(&body)))
    }
}

fn text(event: &Event) -> String {
    let emoji = if event.is_error() { "🚨" } else { "💫" };
    let object = &event.involved_object;
    let kind = object.kind.to_lowercase();
    let name = escape(&format!("{kind}/{}/{}", object.name, object.namespace));
    let lines = chat::lines(event, |key, value| {
        format!("\\- *{}*: {}\n", escape(key), escape(value))
    });
    let message = escape(&event.message);
    format!("*{emoji} {name}*\n{message}\n{lines}")
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text::quiet(text).chars() {
        if MARKUP.contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::testing::{self, check, check_with};

    #[test]
    fn an_error_is_a_message_with_its_markup_escaped() {
        check(
            &Telegram,
            testing::error(),
            expect![[r#"
            POST https://api.telegram.org/bothush-token/sendMessage
            content-type: application/json

            {
              "chat_id": "general",
              "parse_mode": "MarkdownV2",
              "text": "*🚨 kustomization/webapp/apps*\nvalidation failed: <Ingress\\> & more\nsecond line\n\\- *change\\_request*: 7\n\\- *cluster*: prod\n\\- *revision*: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n\\- *summary*: prod impacted\n"
            }

            done
        "#]],
        );
    }

    #[test]
    fn a_thread_follows_the_channel() {
        let mut example = Telegram.example();
        example.target.channel = "-100123:7".to_owned();
        let mut event = testing::info();
        event.metadata.clear();
        check_with(
            &Telegram,
            event,
            &example,
            expect![[r#"
            POST https://api.telegram.org/bothush-token/sendMessage
            content-type: application/json

            {
              "chat_id": "-100123",
              "message_thread_id": "7",
              "parse_mode": "MarkdownV2",
              "text": "*💫 kustomization/webapp/apps*\nReconciliation finished\n"
            }

            done
        "#]],
        );
    }

    #[test]
    fn all_markup_is_escaped_and_nobody_mentioned() {
        assert_eq!(
            escape("\\.-_[]()~>`#+=|{}!* <&\"' @bot a@b"),
            "\\\\\\.\\-\\_\\[\\]\\(\\)\\~\\>\\`\\#\\+\\=\\|\\{\\}\\!\\* <&\"' @\u{200b}bot a@b"
        );
    }

    #[test]
    fn a_message_keeps_to_4096_characters() {
        let (body, _) = testing::body(&Telegram, &testing::huge());
        let text = body["text"].as_str().unwrap();
        let escapes = text.matches('\\').count();
        let length = text.encode_utf16().count() - escapes;
        assert!((3_000..=4_096).contains(&length), "{length}");
    }

    #[test]
    fn channel_and_token_are_needed() {
        let mut target = Telegram.example().target;
        target.token = Some(" ".to_owned().into());
        let refusal = |target: &Target| testing::refusal(&Telegram, &testing::info(), target);
        assert_eq!(
            refusal(&target),
            "the Provider cannot be used: empty Telegram token; set token in the Secret"
        );
        target.channel.clear();
        assert_eq!(
            refusal(&target),
            "the Provider cannot be used: empty Telegram channel; set spec.channel"
        );
    }
}
