//! What changes for a Receiver.

use hook::mac::Hash;
use hook::receiver::{self, ReceiverType, SecretUse};
use http::Uri;

use super::{Changes, Outlook, Plans, Today, joined};
use crate::address;
use crate::api::receiver::Receiver;
use crate::api::secret::Secret;
use crate::kubernetes::Live;
use crate::publish::Status;
use crate::receiver::plan::{self, Plan};

pub(super) fn outlook(receiver: &Receiver, today: &Today<'_>, plans: &Plans<'_>) -> Outlook {
    let name = plan::identity(receiver);
    let key = (
        receiver.metadata.namespace.clone(),
        receiver.metadata.name.clone(),
    );
    let live = today.lives.get(&key);
    let mut changes = Changes::default();
    if let Some(status) = today.compiled.statuses.get(&name) {
        state(status, live, &mut changes);
    }
    let plan = today.compiled.plans.get(&name);
    if let Some(receiver_type) = receiver::find(&receiver.spec.r#type) {
        if let Some(plan) = plan {
            events(receiver_type, receiver, plan, &mut changes);
            hashes(receiver_type, plan, &mut changes);
        }
        methods(receiver_type, plans, &mut changes);
        let secret = secret(receiver, today);
        keys(receiver_type, secret, &mut changes);
    }
    issuers(receiver, plans, &mut changes);
    if receiver.spec.suspend {
        changes.note("it stays suspended: hooks get 503");
    }
    changes.of(format!("Receiver {name} ({})", receiver.spec.r#type))
}

/// Whether it is ready, and on which path.
fn state(status: &Status, live: Option<&Live>, changes: &mut Changes) {
    if let Some(failure) = &status.failure {
        let why = format!("{}: {}", failure.reason, failure.message);
        // A suspended one keeps the status of old, which says nothing.
        let is_ready = live.is_none_or(|live| live.status.is_ready() || status.suspended);
        if is_ready {
            changes.act(format!("it would not be ready: {why}"));
        } else {
            changes.note(format!("it is not ready now either: {why}"));
        }
    }
    for warning in &status.warnings {
        changes.act(warning.clone());
    }
    let Some(live) = live else {
        return;
    };
    let path_now = live.status.webhook_path.as_deref().unwrap_or_default();
    let is_other = status
        .digest
        .is_some_and(|digest| digest.path() != path_now);
    if is_other && !path_now.is_empty() {
        changes.act(
            "its URL changes: its status still has that of another token; give senders the new one, or put the old token into token-previous",
        );
    }
    if live.is_deleting {
        changes.note("it is being deleted: its finalizer is taken off");
    }
}

fn events(
    receiver_type: &dyn ReceiverType,
    receiver: &Receiver,
    plan: &Plan,
    changes: &mut Changes,
) {
    let filters = !receiver.spec.events.is_empty() && !receiver_type.event_headers().is_empty();
    let status = plan.settings.filtered_status;
    if filters && status != 400 {
        changes.note(format!(
            "a genuine hook whose event is not in spec.events gets {status}, not 400; --filtered-hook-status or the annotation hookgate.dev/filtered-hook-status change that"
        ));
    }
}

fn hashes(receiver_type: &dyn ReceiverType, plan: &Plan, changes: &mut Changes) {
    let SecretUse::Signs { hashes, .. } = receiver_type.secret() else {
        return;
    };
    let least = plan.settings.min_signature_hash;
    let refused: Vec<_> = hashes.iter().filter(|hash| **hash < least).collect();
    if !refused.is_empty() && refused.len() < hashes.len() {
        let names = joined(refused.iter().map(|hash| hash.name()));
        changes.act(format!(
            "hooks that are signed with {names} are refused; see that its sender signs with {} or stronger",
            least.name()
        ));
    } else if refused.is_empty() && hashes.contains(&Hash::Sha1) {
        let only = if hashes.len() == 1 {
            ", and has no other"
        } else {
            ""
        };
        changes.note(format!(
            "it takes signatures with SHA-1, which are weak{only}: they are counted"
        ));
    }
}

fn methods(receiver_type: &dyn ReceiverType, plans: &Plans<'_>, changes: &mut Changes) {
    // The others can be proven or parsed with a body only.
    let needs_no_body = matches!(receiver_type.name(), "generic" | "generic-oidc");
    if needs_no_body && !plans.options.allow_any_method {
        changes.note(
            "POST and PUT trigger, and other methods get 405; --allow-any-method lets GET through, too",
        );
    }
}

/// Keys that notification-controller does not know.
fn keys(receiver_type: &dyn ReceiverType, secret: Option<&Secret>, changes: &mut Changes) {
    let has = |key: &str| secret.and_then(|secret| secret.get(key)).is_some();
    let (SecretUse::Signs { signing_token, .. } | SecretUse::Presents { signing_token }) =
        receiver_type.secret()
    else {
        if has("token-previous") && !matches!(receiver_type.secret(), SecretUse::Issuers) {
            changes.act(PREVIOUS);
        }
        return;
    };
    if has("token-previous") {
        changes.act(PREVIOUS);
    }
    if signing_token && has("signing-token") {
        changes.act(
            "its Secret has the key signing-token: hooks must have a Standard Webhooks signature, and the token alone is refused",
        );
    }
}

const PREVIOUS: &str = "its Secret has the key token-previous: hooks with that token pass, too, on a path of their own; remove the key if that is not meant";

fn secret<'a>(receiver: &Receiver, today: &'a Today<'_>) -> Option<&'a Secret> {
    let name = receiver.spec.secret_ref.as_ref()?.name.clone();
    let key = (receiver.metadata.namespace.clone(), name);
    today.compiled.snapshot.secrets.get(&key)
}

fn issuers(receiver: &Receiver, plans: &Plans<'_>, changes: &mut Changes) {
    for (i, provider) in receiver.spec.oidc_providers.iter().enumerate() {
        let uri = provider.issuer_url.parse::<Uri>().ok();
        let host = uri.as_ref().and_then(Uri::host).unwrap_or_default();
        if address::is_metadata_host(host) && !plans.allow_metadata_addresses {
            changes.act(format!(
                "oidcProviders[{i}].issuerURL is at a link-local or cloud metadata address, where no keys are fetched; --allow-metadata-addresses allows it"
            ));
        }
    }
}
