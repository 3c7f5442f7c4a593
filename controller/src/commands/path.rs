//! `hookgate path`: the webhook path of a token, name and namespace.

use std::path::PathBuf;

use clap::Args;
use hook::digest::Digest;

use super::{AnyError, print};

/// Print the webhook path of a Receiver. The path is a secret
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  printf %s \"$TOKEN\" | hookgate path --name app --namespace flux-system --token-file -"
)]
pub(super) struct PathArgs {
    /// Name of the Receiver
    #[arg(long)]
    name: String,

    /// Namespace of the Receiver
    #[arg(long, short, default_value = "flux-system")]
    namespace: String,

    #[command(flatten)]
    token: TokenArgs,
}

/// Where a token comes from: never the command line, which other users can see.
#[derive(Debug, Args)]
pub(super) struct TokenArgs {
    /// File with the token, taken byte by byte, a trailing newline included; `-` for stdin. Without it the token is empty, as for generic-oidc
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Bytes of a token; a Secret holds no more.
const MAX_TOKEN: u64 = 1024 * 1024;

impl TokenArgs {
    /// Reads the token.
    pub(super) fn read(&self) -> Result<Vec<u8>, AnyError> {
        match &self.token_file {
            None => Ok(Vec::new()),
            Some(path) => super::sign::read_file(path, MAX_TOKEN),
        }
    }
}

pub(super) fn run(args: &PathArgs) -> Result<(), AnyError> {
    let token = args.token.read()?;
    print(&format!(
        "{}\n",
        Digest::of(&token, &args.name, &args.namespace).path()
    ))
}
