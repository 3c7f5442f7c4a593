//! The rendered objects on a real API server, by server-side dry run.

use e2e::{Cluster, controller};
use serde_json::{Value, json};

pub(crate) fn taken() {
    let cluster = Cluster::start();
    for namespace in ["flux-system", "projectcontour"] {
        let object =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        cluster.admin().apply(&object);
    }
    for way in [
        &["edge", "overlay", "--xds-insecure"][..],
        &["edge", "gate", "--xds-insecure"],
        &["edge", "gate", "--xds-secret=hookgate-xds-client"],
    ] {
        let text = controller::hookgate(way).unwrap_or_else(|error| panic!("{error}"));
        for object in text.split("\n---\n") {
            let object: Value = serde_saphyr::from_str(object).expect("an object is YAML");
            let answer = cluster.admin().dry_run(&object);
            assert!(
                matches!(answer.status, 200 | 201),
                "{way:?}: {} {}: {answer:?}",
                object["kind"],
                object["metadata"]["name"]
            );
        }
    }
}
