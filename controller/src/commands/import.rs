//! `hookgate import`: manifests from the configuration of what came before.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use super::sign::read_file;
use super::{AnyError, print};
use crate::api::meta::{is_label, is_object_name};
use crate::flux_recv::{self, Config, Names};

/// Make manifests from another receiver's configuration
#[derive(Debug, Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    FluxRecv(FluxRecvArgs),
}

/// Print Receivers and Secrets that keep the URLs of flux-recv (Flux v1) alive; stdout holds its keys
///
/// Says on stderr what each endpoint becomes, and what has no equivalent.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  hookgate import flux-recv fluxrecv.yaml --namespace flux-system | kubectl apply -f -\n\nExit codes: 0 imported, 1 the configuration or a key can't be used, 2 wrong arguments."
)]
struct FluxRecvArgs {
    /// The configuration, fluxRecvVersion 1; `-` for stdin, with --keys
    file: PathBuf,

    /// Folder of the key files [default: that of the configuration]
    #[arg(long, value_name = "DIR")]
    keys: Option<PathBuf>,

    /// Namespace of what is printed
    #[arg(long, short, default_value = "flux-system", value_parser = namespace)]
    namespace: String,

    /// GitRepository that hooks about Git reconcile; `*` for all of the namespace
    #[arg(long, value_name = "NAME", default_value = "flux-system", value_parser = resource)]
    git_repository: String,

    /// ImageRepository that hooks about images reconcile; `*` for all of the namespace
    #[arg(long, value_name = "NAME", default_value = "*", value_parser = resource)]
    image_repository: String,

    /// Service account that signs the tokens of Google's Pub/Sub, for GoogleContainerRegistry with an audience
    #[arg(long, value_name = "EMAIL")]
    gcr_email: Option<String>,
}

fn namespace(text: &str) -> Result<String, String> {
    let fits = is_label(text).then(|| text.to_owned());
    fits.ok_or_else(|| "give the name of a namespace".to_owned())
}

fn resource(text: &str) -> Result<String, String> {
    let fits = (text == "*" || is_object_name(text)).then(|| text.to_owned());
    fits.ok_or_else(|| "give the name of an object, or *".to_owned())
}

/// Bytes of a configuration.
const MAX_CONFIG: u64 = 1024 * 1024;
/// Bytes of a key: a Secret holds no more, and base64 makes it longer.
const MAX_KEY: u64 = 512 * 1024;

pub(super) fn run(args: ImportArgs) -> Result<(), AnyError> {
    match args.what {
        What::FluxRecv(args) => flux_recv(args),
    }
}

fn flux_recv(args: FluxRecvArgs) -> Result<(), AnyError> {
    let file = args.file.display();
    let text = String::from_utf8(read_file(&args.file, MAX_CONFIG)?)
        .map_err(|_| format!("{file}: not UTF-8"))?;
    let config = flux_recv::parse(&text).map_err(|error| format!("{file}: {error}"))?;
    let folder = folder(&args)?;
    let keys = keys(&config, &folder).map_err(|error| format!("{file}: {error}"))?;
    let names = Names {
        namespace: args.namespace,
        git_repository: args.git_repository,
        image_repository: args.image_repository,
        gcr_email: args.gcr_email,
    };
    let imported = flux_recv::import(&config, &keys, &names).map_err(|e| format!("{file}: {e}"))?;
    let mut stderr = std::io::stderr();
    for note in &imported.notes {
        // Where nobody listens nothing is lost that stdout needs.
        let _ = writeln!(stderr, "hookgate: {note}");
    }
    print(&imported.manifests)
}

fn folder(args: &FluxRecvArgs) -> Result<PathBuf, AnyError> {
    match &args.keys {
        Some(folder) => Ok(folder.clone()),
        None if args.file == Path::new("-") => {
            Err("give --keys DIR with a configuration from stdin".into())
        }
        None => Ok(args.file.parent().map(Path::to_owned).unwrap_or_default()),
    }
}

fn keys(config: &Config, folder: &Path) -> Result<BTreeMap<String, Vec<u8>>, AnyError> {
    let mut keys = BTreeMap::new();
    for (i, endpoint) in config.endpoints.iter().enumerate() {
        let path = endpoint.key_path();
        let key = read_file(&folder.join(path), MAX_KEY)
            .map_err(|error| format!("endpoints[{i}].keyPath: {error}"))?;
        keys.insert(path.to_owned(), key);
    }
    Ok(keys)
}
