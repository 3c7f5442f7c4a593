//! `hookgate crds`: the custom resource definitions of Receiver, Alert and Provider.

use clap::Args;

use super::{AnyError, print};
use crate::api::crds;

/// Print the custom resource definitions of Receiver, Alert and Provider
///
/// A cluster with Flux has them already: these take and refuse the same objects.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  hookgate crds | kubectl apply --server-side -f -")]
pub(super) struct CrdsArgs {}

pub(super) fn run(CrdsArgs {}: &CrdsArgs) -> Result<(), AnyError> {
    print(&crds::manifest())
}
