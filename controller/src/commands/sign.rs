//! `hookgate sign`: the headers that make a body a genuine hook, for trying and testing.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use hook::mac::{Hash, Midstates};
use hook::receiver::{self, SecretUse};

use super::path::TokenArgs;
use super::{AnyError, print};
use crate::clock;

/// Print the headers that make a body a genuine hook, one `name: value` a line
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookgate sign --type github --token-file token --event push --body push.json > headers\n  curl -H @headers --data-binary @push.json \"https://flux.example.com$(hookgate path --name app --token-file token)\""
)]
pub(super) struct SignArgs {
    /// Receiver type
    #[arg(long = "type", value_name = "TYPE", value_parser = receiver_type)]
    receiver_type: &'static dyn receiver::ReceiverType,

    #[command(flatten)]
    token: TokenArgs,

    /// File with the body; `-` for stdin
    #[arg(long, value_name = "FILE", default_value = "-")]
    body: PathBuf,

    /// Event, for types that have one
    #[arg(long)]
    event: Option<String>,

    /// Hash, for types that sign
    #[arg(long, default_value = "sha256", value_parser = ["sha1", "sha256", "sha512"])]
    hash: String,

    /// Sign as Standard Webhooks, with a whsec_ token; for gitlab and generic-hmac
    #[arg(long)]
    signing_token: bool,
}

fn receiver_type(name: &str) -> Result<&'static dyn receiver::ReceiverType, String> {
    receiver::find(name).ok_or_else(|| {
        let names: Vec<_> = receiver::RECEIVER_TYPES.iter().map(|t| t.name()).collect();
        format!("give one of {}", names.join(", "))
    })
}

pub(super) fn run(args: &SignArgs) -> Result<(), AnyError> {
    let body = read_file(&args.body, hook::config::MAX_BODY)?;
    let token = args.token.read()?;
    let mut headers = vec![("content-type", "application/json".to_owned())];
    if let (Some(name), Some(event)) = (args.receiver_type.event_headers().first(), &args.event) {
        headers.push((*name, event.clone()));
    }
    headers.extend(proof(args, &token, &body)?);
    let lines: Vec<_> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\n"))
        .collect();
    print(&lines.concat())
}

fn proof(
    args: &SignArgs,
    token: &[u8],
    body: &[u8],
) -> Result<Vec<(&'static str, String)>, AnyError> {
    let name = args.receiver_type.name();
    let text = || String::from_utf8(token.to_vec()).map_err(|_| "the token is not text");
    if args.signing_token {
        return standard_webhooks(name, token, body);
    }
    match args.receiver_type.secret() {
        SecretUse::Path => Ok(Vec::new()),
        SecretUse::Presents { .. } if name == "gitlab" => Ok(vec![("x-gitlab-token", text()?)]),
        SecretUse::Presents { .. } => Ok(vec![("authorization", text()?)]),
        SecretUse::Signs { .. } if name == "nexus" => {
            Ok(vec![("x-nexus-webhook-signature", mac(Hash::Sha1, token, body)?)])
        }
        SecretUse::Signs { .. } => {
            let hash = Hash::from_name(args.hash.as_bytes()).ok_or("give --hash")?;
            let value = format!("{}={}", hash.name(), mac(hash, token, body)?);
            Ok(vec![(signature_header(name, hash), value)])
        }
        SecretUse::Issuers | SecretUse::Google => Err(format!(
            "{name} takes a token that its issuer signs; get one there and send it as `authorization: Bearer …`"
        )
        .into()),
    }
}

fn signature_header(name: &str, hash: Hash) -> &'static str {
    match (name, hash) {
        ("generic-hmac", _) => "x-signature",
        ("github", Hash::Sha256) => "x-hub-signature-256",
        _ => "x-hub-signature",
    }
}

fn standard_webhooks(
    name: &str,
    token: &[u8],
    body: &[u8],
) -> Result<Vec<(&'static str, String)>, AnyError> {
    if !matches!(name, "gitlab" | "generic-hmac") {
        return Err("--signing-token is for gitlab and generic-hmac".into());
    }
    let key = hook::signed::key(token).ok_or("the token is not whsec_ and base64")?;
    let now = clock::now_ms();
    let (id, timestamp) = (format!("msg_{now}"), (now / 1000).to_string());
    let signed = [format!("{id}.{timestamp}.").as_bytes(), body].concat();
    let signature = format!(
        "v1,{}",
        STANDARD.encode(hook::mac::hmac_sha256(&key, &signed))
    );
    Ok(vec![
        ("webhook-id", id),
        ("webhook-timestamp", timestamp),
        ("webhook-signature", signature),
    ])
}

fn mac(hash: Hash, token: &[u8], body: &[u8]) -> Result<String, AnyError> {
    let mut mac = Midstates::of(hash, token)
        .start()
        .ok_or("failed to start the HMAC")?;
    mac.update(body);
    Ok(hex::encode(mac.finish()))
}

/// Reads a file, or stdin for `-`, of at most `max` bytes.
pub(super) fn read_file(path: &Path, max: u64) -> Result<Vec<u8>, AnyError> {
    let mut bytes = Vec::new();
    let failed = |error| format!("failed to read {}: {error}", path.display());
    if path == Path::new("-") {
        std::io::stdin()
            .take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    } else {
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(max.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(failed)?;
    }
    if bytes.len() as u64 > max {
        return Err(format!("{} is larger than {max} bytes", path.display()).into());
    }
    Ok(bytes)
}
