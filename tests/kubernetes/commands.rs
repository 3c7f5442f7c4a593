//! `flux` and `kubectl`, as the people who run Flux use them.

use e2e::Shell;
use e2e::trials::Trials;
use serde_json::{Value, json};

use crate::hookgate::Stand;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials.shared(
        "the_flux_command_and_kubectl_do_with_receivers_what_they_do_with_notification_controller",
        receivers,
    )
}

fn receivers(stand: &Stand) {
    let namespace = stand.cluster.namespace("commands");
    let shell = Shell::on(&stand.cluster);
    let flux =
        |arguments: &str| shell.run(&format!("flux -n {namespace} --timeout 20s {arguments}"));
    let done = |arguments: &str| {
        let ran = flux(arguments);
        assert_eq!(
            ran.code,
            Some(0),
            "{arguments}: {}{}",
            ran.stdout,
            ran.stderr
        );
        format!("{}{}", ran.stdout, ran.stderr)
    };
    let object = || -> Value {
        let text = shell.succeed(&format!("kubectl -n {namespace} get receiver web -o json"));
        serde_json::from_str(&text).expect("kubectl prints JSON")
    };
    let _ = shell.succeed(&format!(
        "kubectl -n {namespace} create secret generic web-token --from-literal=token=t"
    ));

    let created = done(
        "create receiver web --type github --event ping --event push \
         --secret-ref web-token --resource GitRepository/web",
    );
    let path = object()["status"]["webhookPath"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    assert!(
        path.starts_with("/hook/") && created.contains(&path),
        "{created}"
    );
    let _ = shell.succeed(&format!(
        "kubectl -n {namespace} wait --for=condition=Ready --timeout=20s receiver/web"
    ));
    let shown = done("get receivers");
    let row: Vec<&str> = shown
        .lines()
        .nth(1)
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let message = format!("Receiver initialized for path: {path}");
    assert_eq!(
        row,
        [
            &["web", "False", "True"],
            &*message.split(' ').collect::<Vec<_>>()
        ]
        .concat(),
        "{shown}"
    );
    let listed = shell.succeed(&format!("kubectl -n {namespace} get receivers"));
    assert!(
        listed.contains("READY") && listed.contains(&message),
        "{listed}"
    );

    let _ = done("suspend receiver web");
    assert_eq!(object()["spec"]["suspend"], true);
    let refused = flux("reconcile receiver web");
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("suspended"), "{}", refused.stderr);
    let _ = done("resume receiver web");
    assert_ne!(object()["spec"]["suspend"], true);

    let _ = done("reconcile receiver web");
    let object = object();
    let requested = &object["metadata"]["annotations"]["reconcile.fluxcd.io/requestedAt"];
    assert!(requested.is_string(), "{object}");
    assert_eq!(&object["status"]["lastHandledReconcileAt"], requested);
    assert_eq!(
        object["status"]["conditions"][0]["reason"],
        json!("Succeeded")
    );

    let exported = done("export receiver web");
    assert!(exported.contains("name: web-token"), "{exported}");
    let _ = done("delete receiver web --silent");
    let _ = shell.succeed(&format!(
        "kubectl -n {namespace} wait --for=delete --timeout=20s receiver/web"
    ));
}
