//! stub
#[derive(Debug, clap::Args)]
pub struct EdgeArgs {}
#[derive(Debug, thiserror::Error)]
#[error("x")]
pub struct EdgeError;
pub fn run(_: EdgeArgs) -> Result<(), EdgeError> {
    Ok(())
}
