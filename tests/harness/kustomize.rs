//! What `kubectl kustomize` makes of the bases in `envoy/`.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use crate::{binaries, servers};

/// A kustomization as an operator writes it: a base of `envoy/`, and components of it.
#[derive(Clone, Debug, Default)]
pub struct Kustomization {
    /// The base, below `envoy/`; none where there are only objects.
    pub base: Option<String>,
    /// Objects that are there besides.
    pub given: Vec<Value>,
    /// Components, below `envoy/`.
    pub components: Vec<String>,
    /// More lines of the file.
    pub more: String,
}

impl Kustomization {
    /// A base without components.
    #[must_use]
    pub fn of(base: &str) -> Self {
        Self {
            base: Some(base.to_owned()),
            ..Self::default()
        }
    }

    /// With a component.
    #[must_use]
    pub fn with(mut self, component: &str) -> Self {
        self.components.push(component.to_owned());
        self
    }

    /// The objects that it comes to.
    ///
    /// # Panics
    ///
    /// When kubectl cannot be had, or refuses it.
    #[must_use]
    pub fn objects(&self) -> Vec<Value> {
        let text = self.text();
        let objects: Result<Vec<Value>, _> = serde_saphyr::from_multiple(&text);
        objects.unwrap_or_else(|error| panic!("{error}\n{text}"))
    }

    /// What kubectl prints.
    ///
    /// # Panics
    ///
    /// When kubectl cannot be had, or refuses it.
    #[must_use]
    pub fn text(&self) -> String {
        let dir = tempfile::Builder::new()
            .prefix("hookgate-kustomize-")
            .tempdir()
            .expect("a folder can be made");
        // A path in a kustomization is relative.
        symlink(
            binaries::workspace().join("envoy"),
            dir.path().join("envoy"),
        )
        .expect("a link can be made");
        let mut file = "resources:\n- given.yaml\n".to_owned();
        if let Some(base) = &self.base {
            file.push_str(&format!("- envoy/{base}\n"));
        }
        let given: Vec<String> = self.given.iter().map(Value::to_string).collect();
        let given = given.join("\n---\n");
        fs::write(dir.path().join("given.yaml"), given).expect("a file can be written");
        if !self.components.is_empty() {
            file.push_str("components:\n");
        }
        for component in &self.components {
            file.push_str(&format!("- envoy/{component}\n"));
        }
        file.push_str(&self.more);
        fs::write(dir.path().join("kustomization.yaml"), &file).expect("a file can be written");
        let output = Command::new(servers::kubectl().unwrap_or_else(|error| panic!("{error}")))
            .arg("kustomize")
            .arg(dir.path())
            .output()
            .expect("kubectl runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{file}{said}");
        // It warns of what is deprecated.
        assert_eq!(said, "", "{file}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}
