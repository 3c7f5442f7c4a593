//! What a renderer hands over: one text, or several files in a folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::error::EdgeError;

/// How Kubernetes objects are handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Kustomize components, in a folder: name it with --output
    Kustomize,
    /// For Helm: values of Contour's chart, or a chart in a folder
    Helm,
    /// Objects for kubectl; what is patched stands in comments
    Yaml,
}

/// The flags that say where objects go.
#[derive(Debug, Clone, clap::Args)]
pub struct OutputArgs {
    /// Form of the objects
    #[arg(long, value_enum, default_value_t = Format::Yaml)]
    pub format: Format,
    /// Folder that the files are written into [default: one text on standard output]
    #[arg(long, value_name = "DIR")]
    pub output: Option<PathBuf>,
}

/// Files by their path in the folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Files(pub Vec<(&'static str, String)>);

impl OutputArgs {
    /// Whether the files can go where they were asked for, to be known before anything costly.
    ///
    /// # Errors
    /// Several files without a folder.
    pub(super) fn check(&self, files: &Files) -> Result<(), EdgeError> {
        match self.output {
            None if files.0.len() > 1 => Err(EdgeError::NoFolder {
                format: match self.format {
                    Format::Kustomize => "kustomize",
                    Format::Helm => "helm",
                    Format::Yaml => "yaml",
                },
            }),
            None | Some(_) => Ok(()),
        }
    }

    /// Writes the files into the folder, or their texts to `out`.
    ///
    /// # Errors
    /// A failed write.
    pub(super) fn deliver(&self, files: &Files, out: &mut impl Write) -> Result<(), EdgeError> {
        match &self.output {
            Some(folder) => files.0.iter().try_for_each(|(name, text)| {
                let path = folder.join(name);
                write(&path, text).map_err(|source| EdgeError::File { path, source })
            }),
            None => files
                .0
                .iter()
                .try_for_each(|(_, text)| out.write_all(text.as_bytes()))
                .and_then(|()| out.flush())
                .map_err(EdgeError::Write),
        }
    }
}

fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(path, text)
}
