//! `matrix`: a message for a room. Its transaction ID is Flux's, so that attempts are one message.
//!
//! Mended: a message keeps well below the 64 KiB of an event; nobody is mentioned
//! (`m.mentions` is empty); room IDs are escaped, an address may end in `/`; a missing token or
//! room is told at once.

use ring::digest;
use serde_json::json;

use super::part::fit::{self, Limit, fit};
use super::part::git::below;
use super::part::{chat, subject};
use super::{Context, Exchange, HttpRequest, Method, ProviderError, ProviderType, Target};
use crate::api::event::Event;

const LIMIT: Limit = Limit {
    total: 48_000,
    message: 48_000,
    pairs: 200,
    key: 300,
    value: 2_000,
    markup: 6,
    cost: fit::json,
};

/// Matrix.
pub(super) struct Matrix;

impl ProviderType for Matrix {
    fn name(&self) -> &'static str {
        "matrix"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        _: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let homeserver = target.url("invalid Matrix homeserver URL *****")?;
        let room = target.channel("the Matrix room's ID is missing")?;
        let token = target.token("the Matrix access token is missing")?;
        let transaction = transaction(event);
        let path = [
            "_matrix",
            "client",
            "r0",
            "rooms",
            room,
            "send",
            "m.room.message",
        ];
        let url = below(&homeserver, path.into_iter().chain([transaction.as_str()]))?;
        let body = json!({
            "msgtype": "m.text",
            "body": text(&fit(event, &LIMIT)),
            "m.mentions": {},
        });
        Ok(Exchange::once(
            HttpRequest::new(Method::Put, url)
                .bearer(&token)
                .json(&body),
        ))
    }
}

/// SHA-1 of the event: a name, not a guard.
fn transaction(event: &Event) -> String {
    let json = event.to_json();
    hex::encode(digest::digest(
        &digest::SHA1_FOR_LEGACY_USE_ONLY,
        json.as_bytes(),
    ))
}

fn text(event: &Event) -> String {
    let emoji = if event.is_error() { "🚨" } else { "💫" };
    let name = subject::object_name(event);
    let lines = chat::lines(event, |key, value| format!("- {key}: {value}\n"));
    format!("{emoji} {name}\n{}\n{lines}", event.message)
}

#[cfg(test)]
mod tests {
    use expect_test::expect;
    use secrecy::ExposeSecret;

    use super::*;
    use crate::provider::testing::{self, check};

    #[test]
    fn an_error_is_put_under_the_hash_of_its_event() {
        check(
            &Matrix,
            testing::error(),
            expect![[r#"
            PUT https://provider.test/hook/hush-address/_matrix/client/r0/rooms/general/send/m.room.message/4b42b8135e781a62725a43957777532535ceea57
            authorization: Bearer hush-token
            content-type: application/json

            {
              "body": "🚨 kustomization/webapp.apps\nvalidation failed: <Ingress> & more\nsecond line\n- change_request: 7\n- cluster: prod\n- revision: main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738\n- summary: prod impacted\n",
              "m.mentions": {},
              "msgtype": "m.text"
            }

            done
        "#]],
        );
    }

    #[test]
    fn transactions_are_those_of_flux() {
        let event = Event::parse(
            br#"{"involvedObject":{},"severity":"info","timestamp":"2021-08-24T16:18:00Z","message":"update successful","reason":"update sucesful","reportingController":""}"#,
        );
        assert_eq!(
            transaction(&event.unwrap()),
            "37d91b4f6a1e44c6a38273b0a0fd408fade7b0f5"
        );
        let mut event = testing::error();
        event.metadata.remove("change_request");
        event
            .metadata
            .insert("deploymentID".to_owned(), "e076".to_owned());
        assert_eq!(
            transaction(&event),
            "c0b4374957065fd2ef36d6bb204495572ee18ea3"
        );
    }

    #[test]
    fn a_room_stays_within_the_path() {
        let mut target = Matrix.example().target;
        target.address = "https://matrix.test/".to_owned().into();
        target.channel = "!a/b?c:matrix.test".to_owned();
        let request = testing::request(&Matrix, &testing::info(), &target);
        let url = request.url.expose_secret();
        let want = "https://matrix.test/_matrix/client/r0/rooms/!a%2Fb%3Fc:matrix.test/send/m.room.message/";
        assert_eq!(&url[..want.len()], want);
    }

    #[test]
    fn a_message_keeps_to_64_kibibytes() {
        let (_, length) = testing::body(&Matrix, &testing::huge());
        assert!((24_000..=60_000).contains(&length), "{length}");
    }

    #[test]
    fn a_room_and_a_token_are_needed() {
        let mut target = Matrix.example().target;
        target.token = None;
        let refusal = |target: &Target| testing::refusal(&Matrix, &testing::info(), target);
        assert_eq!(
            refusal(&target),
            "the Provider cannot be used: the Matrix access token is missing; set token in the Secret"
        );
        target.channel.clear();
        assert_eq!(
            refusal(&target),
            "the Provider cannot be used: the Matrix room's ID is missing; set spec.channel"
        );
    }
}
