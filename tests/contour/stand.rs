//! A cluster with Contour's kinds and rights, and one `hookgate` for all of its namespaces.

use std::error::Error;

use e2e::hookgate::Hookgate;
use e2e::trials::Stage;
use e2e::{Cluster, contour};

/// Flags of every `hookgate` here.
pub(crate) const FLAGS: [&str; 1] = ["--trigger-interval=10ms"];

/// What the trials share. Each has Contours and Envoys of its own on it.
pub(crate) struct Stand {
    pub(crate) hookgate: Hookgate,
    pub(crate) cluster: Cluster,
}

impl Stand {
    pub(crate) fn try_start() -> Result<Self, Box<dyn Error + Send + Sync>> {
        let cluster = Cluster::try_start()?;
        contour::install(&cluster)?;
        let hookgate = Hookgate::try_start(&cluster, "hookgate", &FLAGS)?;
        Ok(Self { hookgate, cluster })
    }
}

impl Stage for Stand {
    fn keep_files(&mut self) {
        self.cluster.keep_files();
    }
}
