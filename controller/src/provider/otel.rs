//! `otel`: a span for each event, by OTLP over HTTP; the spans of a revision share a trace.
//!
//! Mended: user and password, or a token, are sent where the Secret has no `headers` too, and no
//! empty ones; the delivery has a result, which a partial success is not; the span's ID stays the
//! same over attempts. Spans are roots, as Flux's are: which one would be the parent of the others,
//! no event tells.

use secrecy::ExposeSecret;
use sha2::{Digest as _, Sha256};
use url::Url;

use super::part::headers;
use super::part::protobuf::{Message, Value, fields};
use super::part::text;
use super::{Context, Exchange, HttpRequest, ProviderError, ProviderType, Reply, Target};
use crate::api::event::Event;

/// The conventions that the resource's attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.34.0";
const SCOPE: &str = "flux:notification-controller";

/// `SPAN_KIND_INTERNAL`.
const INTERNAL: u64 = 1;

/// `STATUS_CODE_OK` and `STATUS_CODE_ERROR`.
const OK: u64 = 1;
const ERROR: u64 = 2;

/// Sampled, and known to have no remote parent.
const FLAGS: u32 = 0x101;

const NANOSECONDS: u64 = 1_000_000_000;

/// OpenTelemetry.
pub(super) struct Otel;

impl ProviderType for Otel {
    fn name(&self) -> &'static str {
        "otel"
    }

    fn exchange(
        &self,
        event: &Event,
        target: &Target,
        context: &Context<'_>,
    ) -> Result<Exchange, ProviderError> {
        let url = url(target)?;
        if event.involved_object.kind == "HelmRepository" {
            return Ok(Exchange::nothing());
        }
        let request = HttpRequest::post(url).body("application/x-protobuf", export(event, context));
        let request = headers::add(authorized(request, target), target)?;
        Ok(Exchange::ask(request, accepted))
    }
}

fn url(target: &Target) -> Result<Url, ProviderError> {
    let mut url = target.url("invalid OTLP endpoint URL *****")?;
    if url.scheme() == "http" && target.tls.is_some() {
        return Err(ProviderError::Config(
            "insecure HTTP endpoint cannot use TLS client configuration; set an address of https"
                .to_owned(),
        ));
    }
    if url.path() == "/" {
        url.set_path("/v1/traces");
    }
    Ok(url)
}

/// Basic for a user, Bearer without one; `Authorization` among the headers wins over both.
fn authorized(request: HttpRequest, target: &Target) -> HttpRequest {
    match target.token_or_password("a token") {
        Ok(secret) if target.username.is_empty() => request.bearer(&secret),
        Ok(secret) => request.basic(&target.username, secret.expose_secret()),
        Err(_) => request,
    }
}

/// `ExportTraceServiceRequest`.
fn export(event: &Event, context: &Context<'_>) -> Vec<u8> {
    let alert = context.alert;
    let resource = Message::default()
        .bytes(
            1,
            attribute(
                "service.name",
                &format!("{}/{}", alert.namespace, alert.name),
            ),
        )
        .bytes(1, attribute("service.namespace", &alert.namespace))
        .bytes(1, attribute("service.instance.id", &alert.uid));
    let scope_spans = Message::default()
        .bytes(1, Message::default().bytes(1, SCOPE))
        .bytes(2, span(event, context));
    let resource_spans = Message::default()
        .bytes(1, resource)
        .bytes(2, scope_spans)
        .bytes(3, SCHEMA);
    Message::default().bytes(1, resource_spans).finish()
}

fn span(event: &Event, context: &Context<'_>) -> Message {
    let object = &event.involved_object;
    let seen = event
        .timestamp
        .and_then(|time| u64::try_from(time.unix()).ok());
    let start = seen.unwrap_or(context.now);
    let end = context.now.max(start);
    let name = format!("{}: {}/{}", object.kind, object.namespace, object.name);
    let mut span = Message::default()
        .bytes(1, trace_id(event, &context.alert.uid))
        .bytes(2, &context.key()[..8])
        .bytes(5, name)
        .number(6, INTERNAL)
        .fixed64(7, start.saturating_mul(NANOSECONDS))
        .fixed64(8, end.saturating_mul(NANOSECONDS));
    let own = [
        ("object.uid", &object.uid),
        ("object.kind", &object.kind),
        ("object.name", &object.name),
        ("object.namespace", &object.namespace),
    ];
    let metadata = event.metadata.iter();
    let metadata = metadata.map(|(key, value)| (key.as_str(), value));
    for (key, value) in own.into_iter().chain(metadata) {
        span = span.bytes(9, attribute(key, value));
    }
    let status = if event.is_error() {
        Message::default().bytes(2, &event.message).number(3, ERROR)
    } else {
        Message::default().number(3, OK)
    };
    span.bytes(15, status).fixed32(16, FLAGS)
}

fn attribute(key: &str, value: &str) -> Message {
    Message::default()
        .bytes(1, key)
        .bytes(2, Message::default().bytes(1, value))
}

/// The same for all events of a revision that go through an Alert.
fn trace_id(event: &Event, alert: &str) -> Vec<u8> {
    let get = |key: &str| event.metadata.get(key);
    let revision = match (get("app-version"), get("oci-digest")) {
        (Some(version), Some(digest)) => format!("{version}@{digest}"),
        _ => get("revision").map_or_else(|| "unknown".to_owned(), Clone::clone),
    };
    let mut id = Sha256::digest(format!("{alert}:{revision}")).to_vec();
    id.truncate(16);
    id
}

/// `ExportTraceServiceResponse`: its field 1 says how many spans were rejected, and why.
fn accepted(reply: &Reply) -> Result<Exchange, ProviderError> {
    let Reply::Http(reply) = reply else {
        return Ok(Exchange::nothing());
    };
    let partial = fields(&reply.body).find_map(|field| match field {
        (1, Value::Bytes(partial)) => Some(partial),
        _ => None,
    });
    let partial = partial.unwrap_or_default();
    let is_rejected = fields(partial).any(|(field, value)| field == 1 && value != Value::Number(0));
    if !is_rejected {
        return Ok(Exchange::nothing());
    }
    let said = fields(partial).find_map(|field| match field {
        (2, Value::Bytes(said)) => Some(String::from_utf8_lossy(said)),
        _ => None,
    });
    Err(ProviderError::Refused {
        said: text::cut(&said.unwrap_or_default(), 300).into_owned(),
        is_permanent: true,
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;
    use crate::provider::target::Tls;
    use crate::provider::testing::{self, answer, check};

    #[test]
    fn an_error_is_a_span() {
        check(
            &Otel,
            testing::error(),
            expect![[r#"
                POST https://provider.test/hook/hush-address
                authorization: Bearer hush-token
                content-type: application/x-protobuf
                x-team: web

                1:
                  1:
                    1:
                      1: "service.name"
                      2:
                        1: "apps/on-call"
                    1:
                      1: "service.namespace"
                      2:
                        1: "apps"
                    1:
                      1: "service.instance.id"
                      2:
                        1: "6b1d7a52-0f3e-4a59-8a4b-2f8f0c8b1c11"
                  2:
                    1:
                      1: "flux:notification-controller"
                    2:
                      1: 7755ff5bf93f9d76daa533a137d5f46f
                      2: 3803d3be840f0a6e
                      5: "Kustomization: apps/webapp"
                      6: 1
                      7: 1767323045000000000
                      8: 1767323045000000000
                      9:
                        1: "object.uid"
                        2:
                          1: "7d0cdc51-ddcf-4743-b223-83ca5c699632"
                      9:
                        1: "object.kind"
                        2:
                          1: "Kustomization"
                      9:
                        1: "object.name"
                        2:
                          1: "webapp"
                      9:
                        1: "object.namespace"
                        2:
                          1: "apps"
                      9:
                        1: "change_request"
                        2:
                          1: "7"
                      9:
                        1: "cluster"
                        2:
                          1: "prod"
                      9:
                        1: "revision"
                        2:
                          1: "main@sha1:5394cb7f48332b2de7c17dd8b8384bbc84b7e738"
                      9:
                        1: "summary"
                        2:
                          1: "prod impacted"
                      15:
                        2: "validation failed: <Ingress> & more\nsecond line"
                        3: 2
                      16: 257
                  3: "https://opentelemetry.io/schemas/1.34.0"

                done
            "#]],
        );
    }

    #[test]
    fn an_info_is_one_that_is_ok() {
        let mut event = testing::info();
        event.metadata.clear();
        event.timestamp = None;
        check(
            &Otel,
            event,
            expect![[r#"
                POST https://provider.test/hook/hush-address
                authorization: Bearer hush-token
                content-type: application/x-protobuf
                x-team: web

                1:
                  1:
                    1:
                      1: "service.name"
                      2:
                        1: "apps/on-call"
                    1:
                      1: "service.namespace"
                      2:
                        1: "apps"
                    1:
                      1: "service.instance.id"
                      2:
                        1: "6b1d7a52-0f3e-4a59-8a4b-2f8f0c8b1c11"
                  2:
                    1:
                      1: "flux:notification-controller"
                    2:
                      1: df7fffff8cd03bc75de5e32fc2ba0860
                      2: 74121bc8195d5736
                      5: "Kustomization: apps/webapp"
                      6: 1
                      7: 1767323045000000000
                      8: 1767323045000000000
                      9:
                        1: "object.uid"
                        2:
                          1: "7d0cdc51-ddcf-4743-b223-83ca5c699632"
                      9:
                        1: "object.kind"
                        2:
                          1: "Kustomization"
                      9:
                        1: "object.name"
                        2:
                          1: "webapp"
                      9:
                        1: "object.namespace"
                        2:
                          1: "apps"
                      15:
                        3: 1
                      16: 257
                  3: "https://opentelemetry.io/schemas/1.34.0"

                done
            "#]],
        );
    }

    /// The bytes are those of OpenTelemetry's own encoder for Python, given the same span.
    #[test]
    fn it_is_encoded_as_opentelemetry_does() {
        let request = testing::request(&Otel, &testing::error(), &Otel.example().target);
        let mut body = hex::encode(&request.body);
        // The span's ID, which is the context's.
        let at = body.find("1208").unwrap() + 4;
        body.replace_range(at..at + 16, "0102030405060708");
        assert_eq!(
            body,
            concat!(
                "0ae7040a7c0a1e0a0c736572766963652e6e616d65120e0a0c617070732f6f6e2d63616c6c0a1b0a1173657276",
                "6963652e6e616d65737061636512060a04617070730a3d0a13736572766963652e696e7374616e63652e696412",
                "260a2436623164376135322d306633652d346135392d386134622d32663866306338623163313112bd030a1e0a",
                "1c666c75783a6e6f74696669636174696f6e2d636f6e74726f6c6c6572129a030a107755ff5bf93f9d76daa533",
                "a137d5f46f120801020304050607082a1a4b7573746f6d697a6174696f6e3a20617070732f7765626170703001",
                "390032961cf2ca8618410032961cf2ca86184a340a0a6f626a6563742e75696412260a2437643063646335312d",
                "646463662d343734332d623232332d3833636135633639393633324a1e0a0b6f626a6563742e6b696e64120f0a",
                "0d4b7573746f6d697a6174696f6e4a170a0b6f626a6563742e6e616d6512080a067765626170704a1a0a106f62",
                "6a6563742e6e616d65737061636512060a04617070734a150a0e6368616e67655f7265717565737412030a0137",
                "4a110a07636c757374657212060a0470726f644a400a087265766973696f6e12340a326d61696e40736861313a",
                "353339346362376634383333326232646537633137646438623833383462626338346237653733384a1a0a0773",
                "756d6d617279120f0a0d70726f6420696d7061637465647a33122f76616c69646174696f6e206661696c65643a",
                "203c496e67726573733e2026206d6f72650a7365636f6e64206c696e6518028501010100001a2768747470733a",
                "2f2f6f70656e74656c656d657472792e696f2f736368656d61732f312e33342e30",
            )
        );
    }

    #[test]
    fn the_trace_is_that_of_flux() {
        let alert = "6b1d7a52-0f3e-4a59-8a4b-2f8f0c8b1c11";
        let id = |event: &Event| hex::encode(trace_id(event, alert));
        let mut event = testing::error();
        assert_eq!(id(&event), "7755ff5bf93f9d76daa533a137d5f46f");
        event
            .metadata
            .insert("app-version".to_owned(), "1.2".to_owned());
        assert_eq!(id(&event), "7755ff5bf93f9d76daa533a137d5f46f");
        event
            .metadata
            .insert("oci-digest".to_owned(), "sha256:a".to_owned());
        let by_digest = hex::encode(&Sha256::digest(format!("{alert}:1.2@sha256:a"))[..16]);
        assert_eq!(id(&event), by_digest);
        event.metadata.clear();
        let unknown = hex::encode(&Sha256::digest(format!("{alert}:unknown"))[..16]);
        assert_eq!(id(&event), unknown);
    }

    #[test]
    fn a_helm_repository_is_not_told() {
        let mut event = testing::info();
        event.involved_object.kind = "HelmRepository".to_owned();
        let (requests, end) = testing::converse(&Otel, &event, &Otel.example());
        assert_eq!((requests.len(), end), (0, Ok(())));
    }

    #[test]
    fn credentials_are_sent_without_headers_too() {
        let authorization = |target: &Target| {
            let request = testing::request(&Otel, &testing::info(), target);
            let found = request.headers.into_iter();
            found
                .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                .map(|(_, value)| value.expose_secret().to_owned())
                .collect::<Vec<_>>()
        };
        let mut target = Otel.example().target;
        target.headers.clear();
        assert_eq!(authorization(&target), ["Bearer hush-token"]);
        target.username = "u".to_owned();
        target.password = Some("p".to_owned().into());
        assert_eq!(authorization(&target), ["Basic dTpodXNoLXRva2Vu"]);
        target.token = None;
        assert_eq!(authorization(&target), ["Basic dTpw"]);
        target.username.clear();
        assert_eq!(authorization(&target), ["Bearer p"]);
        target.headers = [("authorization".to_owned(), "x".to_owned().into())].into();
        assert_eq!(authorization(&target), ["x"]);
        target.headers.clear();
        target.password = None;
        assert_eq!(authorization(&target), [""; 0]);
    }

    #[test]
    fn an_address_without_a_path_gets_the_usual_one() {
        let mut target = Otel.example().target;
        for (address, want) in [
            ("https://otel.test", "https://otel.test/v1/traces"),
            ("http://otel.test:4318/", "http://otel.test:4318/v1/traces"),
            ("https://otel.test/own/path", "https://otel.test/own/path"),
        ] {
            target.address = address.to_owned().into();
            assert_eq!(url(&target).unwrap().as_str(), want);
        }
        target.address = "http://otel.test".to_owned().into();
        target.tls = Some(Tls {
            ca: None,
            identity: None,
        });
        assert!(
            testing::refusal(&Otel, &testing::info(), &target)
                .contains("insecure HTTP endpoint cannot use TLS client configuration")
        );
    }

    #[test]
    fn a_rejected_span_is_a_refusal() {
        let rejected = Message::default().number(1, 1).bytes(2, "too big");
        let warned = Message::default().number(1, 0).bytes(2, "old");
        for (partial, want) in [
            (
                Some(rejected),
                Err("the server refused the message: too big".to_owned()),
            ),
            (Some(warned), Ok(())),
            (None, Ok(())),
        ] {
            let mut example = Otel.example();
            let body = partial.map(|partial| Message::default().bytes(1, partial).finish());
            let mut reply = answer(200, "");
            reply.body = body.unwrap_or_default();
            example.answers = vec![reply];
            let (_, end) = testing::converse(&Otel, &testing::info(), &example);
            assert_eq!(end.map_err(|error| error.to_string()), want);
        }
    }
}
