//! Signs hooks as GitHub, GitLab, Bitbucket, Harbor and the other senders do, with code of its own.
//!
//! An oracle never shares code with what it checks: HMACs and JWTs are made with ring here, from the senders' published
//! schemes; payloads are of real size with real field names.

mod hook;
pub mod jwt;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::json;

pub use self::hook::Hook;
use crate::issuer::Issuer;
use crate::manifests::Receiver;

/// Payloads as senders deliver them.
pub mod payload {
    /// GitHub `ping`, 7 KB.
    pub const GITHUB_PING: &[u8] = include_bytes!("../payloads/github_ping.json");
    /// GitHub `push` with two commits, 9 KB.
    pub const GITHUB_PUSH: &[u8] = include_bytes!("../payloads/github_push.json");
    /// GitLab `Push Hook`.
    pub const GITLAB_PUSH: &[u8] = include_bytes!("../payloads/gitlab_push.json");
    /// Bitbucket Data Center `repo:refs_changed`.
    pub const BITBUCKET: &[u8] = include_bytes!("../payloads/bitbucket_refs_changed.json");
    /// Harbor `PUSH_ARTIFACT`.
    pub const HARBOR: &[u8] = include_bytes!("../payloads/harbor_push_artifact.json");
    /// Docker Hub push.
    pub const DOCKERHUB: &[u8] = include_bytes!("../payloads/dockerhub_push.json");
    /// Quay `repo_push`.
    pub const QUAY: &[u8] = include_bytes!("../payloads/quay_push.json");
    /// Azure Container Registry push.
    pub const ACR: &[u8] = include_bytes!("../payloads/acr_push.json");
    /// What Artifact Registry publishes; Pub/Sub wraps it.
    pub const GCR: &[u8] = include_bytes!("../payloads/gcr_insert.json");
    /// Nexus `rm:repository:component`.
    pub const NEXUS: &[u8] = include_bytes!("../payloads/nexus_component.json");
    /// CDEvents `change.merged`, specification 0.4.
    pub const CDEVENTS: &[u8] = include_bytes!("../payloads/cdevents_change_merged.json");
    /// A release of one's own making.
    pub const GENERIC: &[u8] = include_bytes!("../payloads/generic_release.json");
}

/// Signs hooks for Receivers.
#[derive(Clone, Debug, Default)]
pub struct Forge {
    /// Seconds that its clock is ahead of the machine's.
    offset: i64,
    issuer: Option<Arc<Issuer>>,
}

impl Forge {
    /// A forge without an issuer of tokens.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A forge that has its tokens (generic-oidc, gcr) from this issuer.
    #[must_use]
    pub fn with_issuer(issuer: Arc<Issuer>) -> Self {
        Self {
            offset: 0,
            issuer: Some(issuer),
        }
    }

    /// The same forge with a clock that is `seconds` ahead, or behind if negative: stale timestamps and tokens.
    #[must_use]
    pub fn ahead(&self, seconds: i64) -> Self {
        Self {
            offset: self.offset + seconds,
            issuer: self.issuer.clone(),
        }
    }

    /// A genuine hook of the Receiver's type, with a payload of its sender.
    #[must_use]
    pub fn hook(&self, receiver: &Receiver) -> Hook {
        self.hook_with(receiver, default_payload(receiver))
    }

    /// A genuine hook of the Receiver's type with this body. A Secret with a `signing-token` makes it a signed one.
    /// The body of a gcr hook is wrapped as Pub/Sub does.
    ///
    /// # Panics
    ///
    /// When the Receiver's type is unknown, or needs a token and the forge has no issuer.
    #[must_use]
    pub fn hook_with(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        let signed = receiver.secret_value("signing-token").is_some();
        match receiver.receiver_type.as_str() {
            "acr" => Hook::json(receiver, "AzureContainerRegistry/1.0", body),
            "bitbucket" => self.bitbucket(receiver, body),
            "cdevents" => self.cdevents(receiver, body),
            "dockerhub" => Hook::json(receiver, "Go-http-client/1.1", body),
            "gcr" => self.gcr(receiver, body),
            "generic" => Hook::json(receiver, "curl/8.14.1", body),
            "generic-hmac" if signed => self.standard_webhook(receiver, body),
            "generic-hmac" => self.generic_hmac(receiver, "sha256", body),
            "generic-oidc" => self.oidc(receiver, body),
            "github" => self.github(receiver, "push", body),
            "gitlab" if signed => self.gitlab_signed(receiver, body),
            "gitlab" => self.gitlab(receiver, body),
            "harbor" => Hook::json(receiver, "Go-http-client/1.1", body)
                .credential("Authorization", &receiver.token),
            "nexus" => self.nexus(receiver, body),
            "quay" => Hook::json(receiver, "Quay", body),
            other => panic!("{other:?} is no receiver type"),
        }
    }

    /// As github.com delivers: SHA-256, and SHA-1 beside it for old receivers.
    #[must_use]
    pub fn github(&self, receiver: &Receiver, event: &str, body: &[u8]) -> Hook {
        Hook::json(receiver, "GitHub-Hookshot/9f3a1c2", body)
            .also("Accept", "*/*")
            .also("X-GitHub-Delivery", unique_id())
            .event("X-GitHub-Event", event)
            .also("X-GitHub-Hook-ID", "509948940")
            .also("X-GitHub-Hook-Installation-Target-ID", "600184213")
            .also("X-GitHub-Hook-Installation-Target-Type", "repository")
            .also("X-Hub-Signature", prefixed("sha1", &receiver.token, body))
            .credential(
                "X-Hub-Signature-256",
                prefixed("sha256", &receiver.token, body),
            )
    }

    /// As an old GitHub Enterprise delivers: `X-Hub-Signature` with SHA-1 alone.
    #[must_use]
    pub fn github_sha1(&self, receiver: &Receiver, event: &str, body: &[u8]) -> Hook {
        self.github(receiver, event, body)
            .without("X-Hub-Signature-256")
            .without("X-Hub-Signature")
            .credential("X-Hub-Signature", prefixed("sha1", &receiver.token, body))
    }

    /// As github.com delivers with content type *form*: the raw form is what is signed.
    #[must_use]
    pub fn github_form(&self, receiver: &Receiver, event: &str, payload: &[u8]) -> Hook {
        let form = format!("payload={}", percent_encoded(payload));
        self.github(receiver, event, form.as_bytes())
            .with("Content-Type", "application/x-www-form-urlencoded")
    }

    /// As Gitea and Forgejo deliver to a GitHub-typed Receiver: four signatures.
    #[must_use]
    pub fn gitea(&self, receiver: &Receiver, event: &str, body: &[u8]) -> Hook {
        let bare = hex(&mac(hmac::HMAC_SHA256, &receiver.token, body));
        let delivery = unique_id();
        Hook::json(receiver, "Go-http-client/1.1", body)
            .also("X-Gitea-Delivery", &delivery)
            .also("X-Gitea-Event", event)
            .also("X-Gitea-Event-Type", event)
            .also("X-Gitea-Signature", &bare)
            .also("X-Gogs-Delivery", &delivery)
            .also("X-Gogs-Event", event)
            .also("X-Gogs-Signature", &bare)
            .also("X-GitHub-Delivery", &delivery)
            .event("X-GitHub-Event", event)
            .also("X-Hub-Signature", prefixed("sha1", &receiver.token, body))
            .credential(
                "X-Hub-Signature-256",
                prefixed("sha256", &receiver.token, body),
            )
    }

    /// As GitLab delivers with a secret token.
    #[must_use]
    pub fn gitlab(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        gitlab_frame(receiver, &unique_id(), body).credential("X-Gitlab-Token", &receiver.token)
    }

    /// As GitLab delivers with a signing token: a Standard Webhooks signature.
    #[must_use]
    pub fn gitlab_signed(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        let id = unique_id();
        self.sign_standard(gitlab_frame(receiver, &id, body), receiver, &id)
    }

    /// As a Standard Webhooks sender delivers.
    #[must_use]
    pub fn standard_webhook(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        let id = format!("msg_{}", unique_id().replace('-', ""));
        self.sign_standard(
            Hook::json(receiver, "Standard-Webhooks/1.0", body),
            receiver,
            &id,
        )
    }

    /// As Bitbucket Data Center delivers.
    #[must_use]
    pub fn bitbucket(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        Hook::new(
            receiver,
            "Atlassian HttpClient 4.2.0 / Bitbucket-9.4.3",
            "application/json; charset=utf-8",
            body,
        )
        .event("X-Event-Key", "repo:refs_changed")
        .also("X-Request-Id", unique_id())
        .credential("X-Hub-Signature", prefixed("sha256", &receiver.token, body))
    }

    /// As the `flux` CLI and CI scripts deliver: `X-Signature` with `sha1`, `sha256` or `sha512`.
    #[must_use]
    pub fn generic_hmac(&self, receiver: &Receiver, algorithm: &str, body: &[u8]) -> Hook {
        Hook::json(receiver, "flux/v2", body)
            .credential("X-Signature", prefixed(algorithm, &receiver.token, body))
    }

    /// As Sonatype Nexus delivers: SHA-1 without a prefix.
    #[must_use]
    pub fn nexus(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        let signature = hex(&mac(
            hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            &receiver.token,
            body,
        ));
        Hook::json(
            receiver,
            "Nexus/3.75.1-01 (OSS; Linux; 5.15; amd64; 17.0.13)",
            body,
        )
        .also("X-Nexus-Webhook-Delivery", unique_id())
        .also("X-Nexus-Webhook-Id", "rm:repository:component")
        .credential("X-Nexus-Webhook-Signature", signature)
    }

    /// As a CDEvents producer delivers, in CloudEvents' binary mode.
    #[must_use]
    pub fn cdevents(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        Hook::json(receiver, "cdevents-sdk-go/0.5.0", body)
            .also("Ce-Id", unique_id())
            .also("Ce-Source", "/ci/harbour-lights/fleet")
            .also("Ce-Specversion", "1.0")
            .event("Ce-Type", "dev.cdevents.change.merged.0.2.0")
    }

    /// As a CI job with an ID token delivers: RS256, with the audience that Flux expects by default.
    #[must_use]
    pub fn oidc(&self, receiver: &Receiver, body: &[u8]) -> Hook {
        let provider = receiver
            .oidc_providers
            .first()
            .expect("a generic-oidc Receiver trusts an issuer");
        let audience = provider
            .audience
            .as_deref()
            .unwrap_or("notification-controller");
        let claims = self.claims(&provider.issuer_url, audience);
        let token = self.issuer().keys().sign(jwt::Algorithm::Rs256, &claims);
        self.bearer(receiver, body, &token)
    }

    /// Any bearer token.
    #[must_use]
    pub fn bearer(&self, receiver: &Receiver, body: &[u8], token: &str) -> Hook {
        Hook::json(receiver, "flux/v2", body).credential("Authorization", format!("Bearer {token}"))
    }

    /// The claims of a genuine CI token, five minutes long.
    #[must_use]
    pub fn claims(&self, issuer: &str, audience: &str) -> serde_json::Value {
        let now = self.now();
        json!({
            "iss": issuer,
            "aud": audience,
            "sub": "repo:harbour-lights/fleet:ref:refs/heads/main",
            "repository": "harbour-lights/fleet",
            "ref": "refs/heads/main",
            "jti": unique_id(),
            "iat": now,
            "nbf": now,
            "exp": now + 300,
        })
    }

    /// As Pub/Sub pushes what Artifact Registry published: a Google ID token, the message wrapped.
    #[must_use]
    pub fn gcr(&self, receiver: &Receiver, message: &[u8]) -> Hook {
        let secret = |key| {
            receiver
                .secret_value(key)
                .expect("a gcr Receiver has email and audience")
        };
        let now = self.now();
        let claims = json!({
            "iss": "https://accounts.google.com",
            "aud": secret("audience"),
            "azp": "110248495921238986420",
            "email": secret("email"),
            "email_verified": true,
            "sub": "110248495921238986420",
            "iat": now,
            "exp": now + 3600,
        });
        let token = self.issuer().keys().sign(jwt::Algorithm::Rs256, &claims);
        let id = (now * 1_000 + 271).to_string();
        let envelope = json!({
            "message": {
                "data": STANDARD.encode(message),
                "messageId": id,
                "message_id": id,
                "publishTime": "2026-11-02T09:22:19.316Z",
                "publish_time": "2026-11-02T09:22:19.316Z",
            },
            "subscription": "projects/harbour-lights/subscriptions/hooks",
        });
        Hook::json(
            receiver,
            "CloudPubSub-Google",
            envelope.to_string().as_bytes(),
        )
        .credential("Authorization", format!("Bearer {token}"))
    }

    /// Seconds since 1970 on the forge's clock.
    #[must_use]
    pub fn now(&self) -> i64 {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        i64::try_from(now)
            .unwrap_or(i64::MAX)
            .saturating_add(self.offset)
    }

    fn issuer(&self) -> &Issuer {
        self.issuer
            .as_deref()
            .expect("this forge has an issuer of tokens (Forge::with_issuer)")
    }

    fn sign_standard(&self, hook: Hook, receiver: &Receiver, id: &str) -> Hook {
        let key = receiver
            .secret_value("signing-token")
            .expect("the Secret has a signing-token");
        let timestamp = self.now().to_string();
        let signature = standard_signature(key, id, &timestamp, &hook.body);
        hook.also("webhook-id", id)
            .also("webhook-timestamp", timestamp)
            .credential("webhook-signature", signature)
    }
}

/// The `webhook-signature` of Standard Webhooks: `v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`.
///
/// # Panics
///
/// When `whsec` is not `whsec_` and base64.
#[must_use]
pub fn standard_signature(whsec: &str, id: &str, timestamp: &str, body: &[u8]) -> String {
    let key = whsec
        .strip_prefix("whsec_")
        .and_then(|key| STANDARD.decode(key).ok());
    let key = key.expect("a signing token is whsec_ and base64");
    let signed = [id.as_bytes(), b".", timestamp.as_bytes(), b".", body].concat();
    format!(
        "v1,{}",
        STANDARD.encode(mac(hmac::HMAC_SHA256, &key, &signed))
    )
}

/// `ALGORITHM=` and the HMAC in lower-case hex; `sha1`, `sha256` or `sha512`.
///
/// # Panics
///
/// When the algorithm is another.
#[must_use]
pub fn prefixed(algorithm: &str, key: &[u8], body: &[u8]) -> String {
    let hash = match algorithm {
        "sha1" => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        "sha256" => hmac::HMAC_SHA256,
        "sha512" => hmac::HMAC_SHA512,
        other => panic!("{other:?} is no algorithm of a signature"),
    };
    format!("{algorithm}={}", hex(&mac(hash, key, body)))
}

/// Lower-case hex.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], body: &[u8]) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), body)
        .as_ref()
        .to_vec()
}

fn gitlab_frame(receiver: &Receiver, id: &str, body: &[u8]) -> Hook {
    Hook::json(receiver, "GitLab/18.5.1-ee", body)
        .also("Idempotency-Key", id)
        .event("X-Gitlab-Event", "Push Hook")
        .also(
            "X-Gitlab-Webhook-UUID",
            "0e1c8e0d-1f64-4d2c-9a4b-5f1b2ad0f9c3",
        )
        .also("X-Gitlab-Instance", "https://gitlab.harbour-lights.example")
        .also("X-Gitlab-Event-UUID", unique_id())
}

fn default_payload(receiver: &Receiver) -> &'static [u8] {
    match receiver.receiver_type.as_str() {
        "acr" => payload::ACR,
        "bitbucket" => payload::BITBUCKET,
        "cdevents" => payload::CDEVENTS,
        "dockerhub" => payload::DOCKERHUB,
        "gcr" => payload::GCR,
        "github" => payload::GITHUB_PUSH,
        "gitlab" => payload::GITLAB_PUSH,
        "harbor" => payload::HARBOR,
        "nexus" => payload::NEXUS,
        "quay" => payload::QUAY,
        _ => payload::GENERIC,
    }
}

/// An id in the form of a UUID that no other hook of this run has.
fn unique_id() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let (high, low) = ((now >> 16) & 0xffff_ffff, now & 0xffff);
    format!("{high:08x}-{low:04x}-4000-8000-{count:012x}")
}

fn percent_encoded(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(*byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests;
