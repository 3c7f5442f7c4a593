//! A Receiver, its Secret and the keys of its issuers → a [`Plan`], or why there is none. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use hook::bucket::Limit;
use hook::config::{Hook, Key, Path, Slot, State};
use hook::digest::Digest;
use hook::jwt::Issuer;
use hook::mac::{Hash, Midstates, Salted};
use hook::receiver::{self, ReceiverType, SecretUse};
use sha2::{Digest as _, Sha256};

use crate::annotations::{Defaults, Settings};
use crate::api::condition::{self, Failure};
use crate::api::receiver::{Receiver, ResourceSpec};
use crate::api::secret::Secret;
use crate::cel::{Declared, Expression};
use crate::receiver::jwks::IssuerKeys;
use crate::receiver::oidc::Claims;
use crate::trigger::select::{self, Reach};

/// A Receiver that can be served.
#[derive(Debug)]
pub struct Plan {
    /// `namespace/name`.
    pub name: String,
    /// The Receiver's namespace, where its resources are unless they say otherwise.
    pub namespace: String,
    /// Its type.
    pub receiver_type: &'static dyn ReceiverType,
    /// What the Gate is told.
    pub hook: Hook,
    /// What its annotations say.
    pub settings: Settings,
    /// The resources that it names, each with its filter.
    pub resources: Vec<(ResourceSpec, Option<Expression>)>,
    /// `spec.resourceFilter`.
    pub resource_filter: Option<Expression>,
    /// The claims that each issuer's tokens must have, in the order of the table's issuers.
    pub claims: Vec<Claims>,
    /// What an operator should know, though it is served.
    pub warnings: Vec<String>,
}

impl Plan {
    /// Whether anything is decided from the body after the verdict.
    pub fn has_filters(&self) -> bool {
        self.resource_filter.is_some() || self.resources.iter().any(|(_, filter)| filter.is_some())
    }
}

/// What planning needs besides the Receiver.
#[derive(Debug)]
pub struct Inputs<'a> {
    /// The Secrets, by namespace and name.
    pub secrets: &'a BTreeMap<(String, String), Secret>,
    /// The keys of issuers, where they have been fetched.
    pub issuers: &'a BTreeMap<String, Arc<IssuerKeys>>,
    /// Why a Secret could not be read, where it is more than that there is none.
    pub secret_errors: &'a BTreeMap<(String, String), String>,
    /// The operator's defaults and caps.
    pub defaults: &'a Defaults,
    /// Where resources may be.
    pub reach: &'a Reach,
    /// Whether resources may be of any kind that an API server takes.
    pub any_kind: bool,
}

/// The name under which Google's keys stand among the issuers.
pub const GOOGLE: &str = "https://accounts.google.com";

/// What became of a Receiver.
#[derive(Debug)]
pub enum Planned {
    /// It can be served.
    Ready(Box<Plan>),
    /// It can't. Where its token is known its path answers 503, else 404.
    NotReady {
        /// Why.
        failure: Failure,
        /// What the Gate is told, if the token is known.
        hook: Option<Box<Hook>>,
    },
}

/// Plans one Receiver.
pub fn plan(receiver: &Receiver, inputs: &Inputs<'_>) -> Planned {
    let identity = identity(receiver);
    let Some(receiver_type) = receiver::find(&receiver.spec.r#type) else {
        let text = format!("spec.type: {:?} is not supported", receiver.spec.r#type);
        return Planned::NotReady {
            failure: condition::validation_failed(&text),
            hook: None,
        };
    };
    let built = match validated(receiver, inputs) {
        Ok(parts) => parts,
        Err(failure) => {
            let hook = base(receiver, receiver_type, inputs).ok().map(|mut hook| {
                hook.state = State::NotReady;
                Box::new(hook)
            });
            return Planned::NotReady { failure, hook };
        }
    };
    match base(receiver, receiver_type, inputs) {
        Err(failure) => Planned::NotReady {
            failure,
            hook: None,
        },
        Ok(mut hook) => {
            let mut warnings = built.settings.warnings.clone();
            apply_settings(&mut hook, &built.settings);
            keys(
                &mut hook,
                receiver,
                receiver_type,
                &built.settings,
                inputs,
                &mut warnings,
            );
            if receiver.spec.suspend {
                hook.state = State::Suspended;
            }
            warnings.extend(static_errors(receiver, inputs.reach));
            Planned::Ready(Box::new(Plan {
                name: identity,
                namespace: receiver.metadata.namespace.clone(),
                receiver_type,
                hook,
                settings: built.settings,
                resources: built.resources,
                resource_filter: built.resource_filter,
                claims: built.claims,
                warnings,
            }))
        }
    }
}

/// The digest that names a Receiver's path, where it has a token or needs none.
pub fn digest(receiver: &Receiver, inputs: &Inputs<'_>) -> Option<Digest> {
    let (name, namespace) = (&receiver.metadata.name, &receiver.metadata.namespace);
    let token = match receiver::find(&receiver.spec.r#type)?.secret() {
        SecretUse::Issuers => &b""[..],
        SecretUse::Path
        | SecretUse::Signs { .. }
        | SecretUse::Presents { .. }
        | SecretUse::Google => {
            let secret = secret(receiver, inputs).ok()?;
            let token = secret.get(Slot::Token.name())?;
            Some(token).filter(|token| !token.is_empty())?
        }
    };
    Some(Digest::of(token, name, namespace))
}

/// `namespace/name` of a Receiver.
pub fn identity(receiver: &Receiver) -> String {
    format!("{}/{}", receiver.metadata.namespace, receiver.metadata.name)
}

struct Parts {
    settings: Settings,
    resources: Vec<(ResourceSpec, Option<Expression>)>,
    resource_filter: Option<Expression>,
    claims: Vec<Claims>,
}

/// Everything that can be wrong without looking at the Secret, in the order of nc's reconciler.
fn validated(receiver: &Receiver, inputs: &Inputs<'_>) -> Result<Parts, Failure> {
    let spec = &receiver.spec;
    let declared = Declared {
        claims: spec.r#type == "generic-oidc",
        vars: false,
        objects: true,
        alerting: false,
    };
    let compile = |source: &String| Expression::filter(source, &declared);
    let resource_filter = spec
        .resource_filter
        .as_ref()
        .filter(|s| !s.is_empty())
        .map(compile)
        .transpose()
        .map_err(|error| {
            condition::invalid_cel(&format!("invalid resourceFilter expression: {error}"))
        })?;
    let mut resources = Vec::new();
    for (i, entry) in spec.resources.iter().enumerate() {
        let filter = entry
            .filter
            .as_ref()
            .filter(|s| !s.is_empty())
            .map(compile)
            .transpose()
            .map_err(|error| {
                condition::invalid_cel(&format!(
                    "invalid filter expression for resources[{i}] (kind={:?}, name={:?}): {error}",
                    entry.kind, entry.name
                ))
            })?;
        resources.push((entry.clone(), filter));
    }
    receiver.validate(inputs.any_kind).map_err(|errors| {
        let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
        condition::validation_failed(&texts.join("; "))
    })?;
    let mut claims = Vec::new();
    for (i, provider) in spec.oidc_providers.iter().enumerate() {
        claims.push(Claims::compile(provider).map_err(|error| {
            condition::invalid_cel(&format!(
                "oidcProviders[{i}] (issuerURL={:?}): {error}",
                provider.issuer_url
            ))
        })?);
    }
    let settings = Settings::parse(&receiver.metadata.annotations, inputs.defaults)
        .map_err(|error| condition::validation_failed(&error.to_string()))?;
    Ok(Parts {
        settings,
        resources,
        resource_filter,
        claims,
    })
}

/// The hook with its paths and nothing else.
fn base(
    receiver: &Receiver,
    receiver_type: &'static dyn ReceiverType,
    inputs: &Inputs<'_>,
) -> Result<Hook, Failure> {
    let (name, namespace) = (&receiver.metadata.name, &receiver.metadata.namespace);
    let path = |slot, token: &[u8]| Path {
        id: Digest::of(token, name, namespace).id(),
        slot,
    };
    let mut paths = Vec::new();
    match receiver_type.secret() {
        SecretUse::Issuers => paths.push(path(Slot::Token, b"")),
        SecretUse::Path
        | SecretUse::Signs { .. }
        | SecretUse::Presents { .. }
        | SecretUse::Google => {
            let secret = secret(receiver, inputs)?;
            for (slot, token) in tokens(secret) {
                paths.push(path(slot, token));
            }
            if !paths.iter().any(|path| path.slot == Slot::Token) {
                return Err(token_failure(receiver, secret.get("token").is_some()));
            }
        }
    }
    Ok(Hook {
        name: identity(receiver),
        receiver_type: receiver_type.name().to_owned(),
        paths,
        state: State::Ready,
        keys: Vec::new(),
        events: receiver.spec.events.clone(),
        filtered_status: 200,
        limit: Limit::per_second(1, 1),
        addresses: Vec::new(),
        issuers: Vec::new(),
        email: None,
    })
}

fn secret<'a>(receiver: &Receiver, inputs: &'a Inputs<'_>) -> Result<&'a Secret, Failure> {
    let name = receiver
        .spec
        .secret_ref
        .as_ref()
        .map(|r| r.name.clone())
        .unwrap_or_default();
    let namespace = receiver.metadata.namespace.clone();
    let key = (namespace.clone(), name.clone());
    inputs.secrets.get(&key).ok_or_else(|| {
        let error = inputs.secret_errors.get(&key).cloned();
        let error = error.unwrap_or_else(|| format!("Secret {name:?} not found"));
        condition::token_not_found(&format!(
            "unable to read token from secret '{namespace}/{name}' error: {error}"
        ))
    })
}

fn token_failure(receiver: &Receiver, is_empty: bool) -> Failure {
    let name = receiver
        .spec
        .secret_ref
        .as_ref()
        .map(|r| r.name.clone())
        .unwrap_or_default();
    let namespace = &receiver.metadata.namespace;
    condition::token_not_found(&if is_empty {
        format!(
            "invalid '{namespace}/{name}' secret data: 'token' is empty, so that anybody could compute the path"
        )
    } else {
        format!("invalid '{namespace}/{name}' secret data: required fields 'token'")
    })
}

/// The tokens that are accepted now. An empty one never is.
fn tokens(secret: &Secret) -> impl Iterator<Item = (Slot, &[u8])> {
    [Slot::Token, Slot::TokenPrevious]
        .into_iter()
        .filter_map(|slot| Some((slot, secret.get(slot.name())?)))
        .filter(|(_, token)| !token.is_empty())
}

fn apply_settings(hook: &mut Hook, settings: &Settings) {
    hook.limit = settings.limit;
    hook.filtered_status = settings.filtered_status;
    hook.addresses.clone_from(&settings.addresses);
}

fn keys(
    hook: &mut Hook,
    receiver: &Receiver,
    receiver_type: &'static dyn ReceiverType,
    settings: &Settings,
    inputs: &Inputs<'_>,
    warnings: &mut Vec<String>,
) {
    let secret = secret(receiver, inputs).ok();
    if let (Some(secret), Some(registry_host)) = (secret, &settings.flux_recv) {
        for (slot, token) in tokens(secret) {
            hook.paths.push(Path {
                id: Digest::of_flux_recv(token, registry_host).id(),
                slot,
            });
        }
    }
    let tokens: Vec<_> = secret.map(tokens).into_iter().flatten().collect();
    match receiver_type.secret() {
        SecretUse::Path => {}
        SecretUse::Signs {
            hashes,
            signing_token,
        } => {
            hook.keys = tokens
                .iter()
                .map(|(slot, token)| signing(*slot, token, hashes, settings))
                .collect();
            signing_key(hook, secret.filter(|_| signing_token), warnings);
            if hook.keys.iter().all(|key| key.macs.is_empty()) {
                warnings.push(format!(
                    "no hook can pass: {} signs with {} only, and the weakest hash allowed is {}",
                    receiver_type.name(),
                    hashes
                        .iter()
                        .map(|hash| hash.name())
                        .collect::<Vec<_>>()
                        .join(", "),
                    settings.min_signature_hash.name(),
                ));
            }
        }
        SecretUse::Presents { signing_token } => {
            let salt = salt(receiver);
            hook.keys = tokens
                .iter()
                .map(|(slot, token)| Key {
                    slot: *slot,
                    macs: Vec::new(),
                    token: Some(Salted::of(&salt, token)),
                })
                .collect();
            signing_key(hook, secret.filter(|_| signing_token), warnings);
        }
        SecretUse::Issuers => hook.issuers = issuers(receiver, inputs),
        SecretUse::Google => google(hook, receiver, secret, inputs, warnings),
    }
}

fn signing(slot: Slot, token: &[u8], hashes: &[Hash], settings: &Settings) -> Key {
    let allowed = hashes
        .iter()
        .filter(|hash| **hash >= settings.min_signature_hash);
    Key {
        slot,
        macs: allowed.map(|hash| Midstates::of(*hash, token)).collect(),
        token: None,
    }
}

/// A `signing-token` makes Standard Webhooks signatures a must. One that can't be read keeps the
/// must and fits no signature: to fall back to the plain token would be to loosen.
fn signing_key(hook: &mut Hook, secret: Option<&Secret>, warnings: &mut Vec<String>) {
    let Some(text) = secret.and_then(|secret| secret.get(Slot::SigningToken.name())) else {
        return;
    };
    let macs = match hook::signed::key(text) {
        Some(key) => vec![Midstates::of(Hash::Sha256, &key)],
        None => {
            warnings.push(
                "no hook can pass: the Secret's signing-token is not whsec_ and base64".into(),
            );
            Vec::new()
        }
    };
    hook.keys = vec![Key {
        slot: Slot::SigningToken,
        macs,
        token: None,
    }];
}

/// Made from the UID, so that equal tokens of two Receivers do not show as equal.
fn salt(receiver: &Receiver) -> [u8; 32] {
    let uid = receiver.metadata.uid.as_deref().unwrap_or_default();
    Sha256::new()
        .chain_update("hookgate/salt/")
        .chain_update(identity(receiver))
        .chain_update("/")
        .chain_update(uid)
        .finalize()
        .into()
}

fn issuers(receiver: &Receiver, inputs: &Inputs<'_>) -> Vec<Issuer> {
    let providers = receiver.spec.oidc_providers.iter();
    providers
        .map(|provider| {
            let audience = provider
                .audience
                .clone()
                .filter(|audience| !audience.is_empty());
            issuer(
                &provider.issuer_url,
                audience.unwrap_or_else(|| "notification-controller".to_owned()),
                inputs,
            )
        })
        .collect()
}

fn issuer(url: &str, audience: String, inputs: &Inputs<'_>) -> Issuer {
    let fetched = inputs.issuers.get(url);
    Issuer {
        issuer: url.to_owned(),
        audience,
        algorithms: fetched
            .map(|keys| keys.algorithms.clone())
            .unwrap_or_default(),
        keys: fetched.map(|keys| keys.keys.clone()).unwrap_or_default(),
    }
}

fn google(
    hook: &mut Hook,
    receiver: &Receiver,
    secret: Option<&Secret>,
    inputs: &Inputs<'_>,
    warnings: &mut Vec<String>,
) {
    let text = |key: &str| {
        let value = secret
            .and_then(|secret| secret.get(key))
            .unwrap_or_default();
        std::str::from_utf8(value)
            .ok()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    match (text("email"), text("audience")) {
        (Some(email), Some(audience)) => {
            hook.email = Some(Salted::of(&salt(receiver), email.as_bytes()));
            hook.issuers = vec![issuer(GOOGLE, audience, inputs)];
        }
        (email, audience) => {
            let missing: Vec<_> = [("email", email), ("audience", audience)]
                .into_iter()
                .filter_map(|(key, value)| value.is_none().then_some(key))
                .collect();
            warnings.push(format!(
                "no hook can pass: the Secret lacks {}",
                missing.join(" and ")
            ));
        }
    }
}

/// What nc finds out only when a hook comes.
fn static_errors(receiver: &Receiver, reach: &Reach) -> Vec<String> {
    let entries = receiver.spec.resources.iter().enumerate();
    entries
        .filter_map(|(i, entry)| {
            let error = select::static_error(entry, &receiver.metadata.namespace, reach)?;
            Some(format!("resources[{i}]: {error}"))
        })
        .collect()
}
