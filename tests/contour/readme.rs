//! The README's section "Behind Contour", followed word for word: its commands and files are taken from the text.
//!
//! The trial plays those parts of a cluster that are not here: cert-manager, kubelets, the network, and `port-forward`. NetworkPolicies
//! are in the cluster, and nobody enforces them.

use e2e::cluster::NAMESPACE;
use e2e::envoy::Envoy;
use e2e::manifests::Receiver;
use e2e::network::own_address;
use e2e::trials::Trials;
use e2e::{Pod, binaries, contour, ports, readme};

use crate::gate::in_a_pod;
use crate::hookgate::ready;
use crate::installed::{FLUX, Installed, RECEIVER, issue, take_out};
use crate::stand::Stand;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .alone(
            "the_readme_followed_word_for_word_brings_the_gate_in_and_out",
            gate,
        )
        .alone(
            "a_gate_takes_renewed_certificates_without_a_restart",
            renewed,
        )
        .alone(
            "the_readme_followed_word_for_word_pins_the_filter_and_takes_it_out",
            pinned,
        )
}

/// The gate's Envoy, as the Pods of its Deployment start it, and in the network; its files go with the second.
fn start_gate(site: &Installed) -> (Envoy, Pod) {
    let deployment = site.workload("Deployment", NAMESPACE, "hookgate-gate");
    let pod = Pod::of(&site.cluster, &deployment, "envoy");
    let arguments = pod.arguments();
    let file = arguments.iter().skip_while(|word| *word != "-c").nth(1);
    assert!(
        file.is_some_and(|file| file.ends_with("/envoy.yaml")),
        "{arguments:?}"
    );
    let (address, port) = (own_address(), ports::reserve());
    let (field, resolver) = site.network.resolver();
    let bootstrap = in_a_pod(&pod.read("/etc/envoy/envoy.yaml"), address, port);
    let bootstrap = format!("{bootstrap}\n{field}: {resolver}\n");
    let endpoint = Some(("http-webhook", (address, port).into()));
    let nobody = std::net::Ipv4Addr::LOCALHOST;
    site.network.join(&pod, nobody, &[], endpoint);
    let started = Envoy::start(binaries::ENVOY, &bootstrap, site.dir.path());
    let envoy = started.unwrap_or_else(|error| panic!("{error}"));
    (envoy, pod)
}

/// The parts of a part of the section: what brings it in, and what takes it out.
fn in_and_out(heading: &str) -> (String, String) {
    let part = readme::part(&readme::section("Behind Contour"), heading);
    let (there, back) = part
        .split_once("\n**To undo it**")
        .expect("it says how to undo it");
    (there.to_owned(), back.to_owned())
}

fn gate() {
    let (there, back) = in_and_out("The gate");
    let site = Installed::before(&there, "../hookgate-gate");
    let gate = bring_gate_in(&site, &there);
    site.check(&there, "9901", &gate.0);

    take_out(&site.shell, FLUX, "../hookgate-gate");
    for command in readme::commands(&back, "kubectl") {
        let _ = site.shell.succeed(&command);
    }
    site.network.publish(NAMESPACE, RECEIVER);
    drop(gate);
    site.serves();
    assert!(site.hears_of_forged_hooks());
    nothing_is_left(&site);
}

/// Follows the part of the gate as far as to bring it in; its Envoy, and the files of that.
fn bring_gate_in(site: &Installed, there: &str) -> (Envoy, Pod) {
    site.print(there);
    let commands = readme::commands(there, "kubectl");
    let (forward, commands) = commands.split_last().expect("it has some");
    assert!(
        forward.contains("port-forward deployment/hookgate-gate 9901:9901"),
        "{forward}"
    );
    let mut gate = None;
    for command in commands {
        if command.contains("rollout status") {
            gate = Some(start_gate(site));
            site.tell_ready("deployments", NAMESPACE, "hookgate-gate");
        }
        let _ = site.shell.succeed(command);
    }
    site.network.publish(NAMESPACE, RECEIVER);
    site.ends_at_the_edge();
    gate.expect("somebody waits for it")
}

/// All certificates come from another CA, and the former ones are worth nothing: what runs takes them as they come.
fn renewed() {
    let (there, _) = in_and_out("The gate");
    let mut site = Installed::before(&there, "../hookgate-gate");
    let (_envoy, files) = bring_gate_in(&site, &there);
    issue(&site.cluster, site.dir.path());
    files.refresh(&site.cluster);
    if let Some(running) = &site.hookgate {
        running.pod.refresh(&site.cluster);
    }
    site.ends_at_the_edge();
    // One that starts now has never seen the former CA, so that only the gate's new certificate brings it a table.
    site.start_hookgate();
    site.receiver = ready(&site.cluster, Receiver::new("github", "later"));
    site.ends_at_the_edge();
}

fn pinned() {
    let (there, back) = in_and_out("Pinned");
    let mut site = Installed::before(&there, "../hookgate-edge");
    let blocks = readme::blocks(&there, "text");
    let [certificates, bring_in, look] = blocks.as_slice() else {
        panic!("{blocks:?}");
    };
    let _ = site.shell.succeed(certificates);
    site.print(&there);
    for command in bring_in.lines() {
        if command.contains("rollout status") {
            site.start_envoy();
        }
        let _ = site.shell.succeed(command);
        if command == "kubectl apply -k hookgate" {
            site.start_hookgate();
        }
        site.serves();
    }
    contour::await_valid(&site.cluster, NAMESPACE, "hooks");
    site.ends_at_the_edge();
    assert!(
        look.contains("port-forward daemonset/envoy 9001:9001"),
        "{look}"
    );
    let envoy = site.envoy.as_ref().expect("it runs");
    site.check(&there, "9001", envoy);

    take_out(&site.shell, FLUX, "../hookgate-edge");
    take_out(
        &site.shell,
        "contour/kustomization.yaml",
        "../hookgate-edge",
    );
    for command in readme::commands(&back, "kubectl") {
        if command.contains("rollout status") {
            site.start_envoy();
        }
        let _ = site.shell.succeed(&command);
        site.serves();
    }
    assert!(site.hears_of_forged_hooks());
    let daemon_set = site.workload("DaemonSet", contour::NAMESPACE, "envoy");
    let as_it_comes = contour::daemon_set();
    assert_eq!(
        contour::envoy_container(&daemon_set)["args"],
        contour::envoy_container(&as_it_comes)["args"]
    );
    nothing_is_left(&site);
}

/// Of what the edge brings nothing is there any more; what stands at `hookgate` belongs to the controller.
fn nothing_is_left(site: &Installed) {
    let admin = site.cluster.admin();
    for path in [
        format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments"),
        format!("/api/v1/namespaces/{NAMESPACE}/configmaps"),
        format!("/api/v1/namespaces/{}/configmaps", contour::NAMESPACE),
        format!("/api/v1/namespaces/{NAMESPACE}/services"),
        format!("/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"),
        format!("/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets"),
    ] {
        let list = admin.get(&path).body;
        let items = list["items"].as_array().into_iter().flatten();
        let names = items.filter_map(|item| item["metadata"]["name"].as_str());
        let left: Vec<&str> = names
            .filter(|name| {
                let of_the_edge = ["hookgate-gate", "hookgate-edge", "hookgate-overlay"];
                of_the_edge.iter().any(|start| name.starts_with(start))
                    || (path.ends_with("services") && *name == "hookgate")
            })
            .collect();
        assert_eq!(left, Vec::<&str>::new(), "{path}");
    }
}
