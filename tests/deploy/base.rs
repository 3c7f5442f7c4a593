//! `envoy/controller` and `envoy/flux`: the objects, alone and with each component.

use std::fs;

use e2e::cluster::{NAMESPACE, shipped};
use e2e::definitions::FLUX_POLICIES;
use e2e::hookgate::Hookgate;
use e2e::kustomize::Kustomization;
use e2e::manifests::Receiver;
use e2e::tls::Tls;
use e2e::trials::Trials;
use e2e::wait::{self, PATIENCE};
use e2e::{Cluster, Forge, Shell, binaries, controller, flux, readme};
use serde_json::{Value, json};

use crate::{find, has_labels, list, strings, workload};

pub(crate) fn trials(trials: Trials<Cluster>) -> Trials<Cluster> {
    trials
        .shared("every_form_of_the_base_is_taken_by_an_api_server", taken)
        .shared(
            "pods_are_admitted_where_a_namespace_is_restricted",
            restricted,
        )
        .alone("every_name_in_a_manifest_leads_somewhere", names)
        .alone(
            "flux_and_its_command_find_what_they_look_for",
            found_by_flux,
        )
        .shared("the_flux_command_tells_hookgates_version", version)
        .shared(
            "the_controller_works_with_the_arguments_and_rights_of_the_base",
            works,
        )
        .alone(
            "more_replicas_are_a_stateful_set_with_a_volume_each",
            replicas,
        )
        .alone(
            "the_table_is_in_plain_text_only_where_a_component_says_so",
            plain_text,
        )
        .alone(
            "the_readme_patches_flux_as_the_component_does",
            readme_patches,
        )
}

/// The base, and with what can be added.
pub(crate) fn forms() -> Vec<Kustomization> {
    let base = Kustomization::of("controller");
    vec![
        base.clone(),
        base.clone().with("controller/replicas"),
        base.clone().with("controller/plain-xds"),
        base.clone().with("controller/contour-ca"),
        crate::monitoring::form(),
        base.with("controller/replicas")
            .with("controller/plain-xds")
            .with("controller/services"),
    ]
}

fn taken(cluster: &Cluster) {
    let shell = Shell::on(cluster);
    for form in forms() {
        fs::write(shell.dir().join("form.yaml"), form.text()).expect("a file can be written");
        shell.dry_run("-f form.yaml");
    }
}

/// A Pod as the workload would make it.
fn pod(workload: &Value) -> Value {
    let mut spec = workload["spec"]["template"]["spec"].clone();
    if let Some(volumes) = spec["volumes"].as_array_mut()
        && workload["kind"] == "StatefulSet"
    {
        volumes.push(json!({"name": "spool", "emptyDir": {}}));
    }
    json!({
        "apiVersion": "v1", "kind": "Pod", "spec": spec,
        "metadata": {"name": "x", "namespace": NAMESPACE},
    })
}

fn restricted(cluster: &Cluster) {
    let admin = cluster.admin();
    for form in forms() {
        let pod = pod(workload(&form.objects()));
        let answer = admin.dry_run(&pod);
        assert_eq!(answer.status, 201, "{form:?}: {}", answer.body);
        for part in ["seccompProfile", "runAsNonRoot"] {
            let mut careless = pod.clone();
            for context in [
                "/spec/securityContext",
                "/spec/containers/0/securityContext",
            ] {
                let context = careless.pointer_mut(context).and_then(Value::as_object_mut);
                context.expect("there is a context").remove(part);
            }
            assert_eq!(admin.dry_run(&careless).status, 403, "without {part}");
        }
    }
    let objects = Kustomization::of("controller").objects();
    let container = &workload(&objects)["spec"]["template"]["spec"]["containers"][0];
    // What the standard does not ask for.
    assert_eq!(
        container["securityContext"]["readOnlyRootFilesystem"], true,
        "{container}"
    );
}

fn names() {
    for form in forms() {
        let objects = form.objects();
        let workload = workload(&objects);
        let spec = &workload["spec"];
        let template = &spec["template"];
        let labels = &template["metadata"]["labels"];
        let container = &template["spec"]["containers"][0];
        let ports: Vec<&str> = list(&container["ports"])
            .iter()
            .filter_map(|port| port["name"].as_str())
            .collect();
        let is_port = |port: &Value| ports.iter().any(|known| port == known);
        assert!(has_labels(labels, &spec["selector"]["matchLabels"]));
        for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
            assert!(is_port(&container[probe]["httpGet"]["port"]), "{probe}");
        }
        for constraint in list(&template["spec"]["topologySpreadConstraints"]) {
            assert!(has_labels(
                labels,
                &constraint["labelSelector"]["matchLabels"]
            ));
        }
        let mut volumes: Vec<&str> = list(&template["spec"]["volumes"])
            .iter()
            .chain(
                list(&spec["volumeClaimTemplates"])
                    .iter()
                    .map(|claim| &claim["metadata"]),
            )
            .filter_map(|volume| volume["name"].as_str())
            .collect();
        let mut mounts: Vec<&str> = list(&container["volumeMounts"])
            .iter()
            .filter_map(|mount| mount["name"].as_str())
            .collect();
        volumes.sort_unstable();
        mounts.sort_unstable();
        assert_eq!(volumes, mounts);
        for volume in list(&template["spec"]["volumes"]) {
            if let Some(claim) = volume["persistentVolumeClaim"]["claimName"].as_str() {
                find(&objects, "PersistentVolumeClaim", claim);
            }
        }
        if let Some(service) = spec["serviceName"].as_str() {
            find(&objects, "Service", service);
        }
        let account = template["spec"]["serviceAccountName"].as_str();
        find(&objects, "ServiceAccount", account.expect("there is one"));
        for object in &objects {
            let spec = &object["spec"];
            let selector = match object["kind"].as_str() {
                Some("Service") => &spec["selector"],
                Some("NetworkPolicy") => &spec["podSelector"]["matchLabels"],
                Some("PodDisruptionBudget") => &spec["selector"]["matchLabels"],
                _ => continue,
            };
            let name = &object["metadata"]["name"];
            assert!(
                has_labels(labels, selector) && selector.is_object(),
                "{name}"
            );
            let of_rules = list(&spec["ingress"])
                .iter()
                .flat_map(|rule| list(&rule["ports"]));
            for port in list(&spec["ports"])
                .iter()
                .map(|port| &port["targetPort"])
                .chain(of_rules.map(|port| &port["port"]))
            {
                assert!(is_port(port), "{name} leads to {port}");
            }
        }
    }
}

/// Names and numbers of ports, as the list has them under these keys.
fn ports(ports: &Value, number: &str, name: &str) -> Vec<(String, u64)> {
    let pair = |port: &Value| Some((port[name].as_str()?.to_owned(), port[number].as_u64()?));
    list(ports).iter().filter_map(pair).collect()
}

fn found_by_flux() {
    let objects = Kustomization::of("controller")
        .with("controller/services")
        .objects();
    let workload = workload(&objects);
    let labels = &workload["metadata"]["labels"];
    assert!(has_labels(
        labels,
        &json!({
            "app.kubernetes.io/component": "notification-controller",
            "app.kubernetes.io/instance": "flux-system",
            "app.kubernetes.io/part-of": "flux",
            "control-plane": "controller",
        })
    ));
    assert_eq!(&workload["spec"]["template"]["metadata"]["labels"], labels);
    let pod = &workload["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(
        (&pod["serviceAccountName"], &container["name"]),
        (&json!("notification-controller"), &json!("manager"))
    );
    let listens = ports(&container["ports"], "containerPort", "name");
    let wanted = [
        ("http", 9090),
        ("http-webhook", 9292),
        ("http-prom", 8080),
        ("healthz", 9440),
        ("xds", 18000),
    ];
    assert_eq!(listens, wanted.map(|(name, port)| (name.to_owned(), port)));
    // The container says nothing of the first four: they are the program's own.
    let help = controller::hookgate(&["run", "--help"]).expect("it tells its flags");
    for (name, port) in wanted {
        assert!(help.contains(&format!(":{port}]")), "{name}");
    }
    for (service, from, to) in [
        ("notification-controller", 80, "http"),
        ("webhook-receiver", 80, "http-webhook"),
        ("hookgate-xds", 18000, "xds"),
    ] {
        let spec = &find(&objects, "Service", service)["spec"];
        assert_eq!(
            ports(&spec["ports"], "port", "targetPort"),
            [(to.to_owned(), from)],
            "{service}"
        );
    }
    let release = format!("v{}", env!("CARGO_PKG_VERSION"));
    assert_eq!(
        (&labels["app.kubernetes.io/version"], &container["image"]),
        (&json!(release), &json!(format!("hookgate:{release}")))
    );
}

fn version(cluster: &Cluster) {
    let shell = Shell::on(cluster);
    let deployment = workload(&forms()[0].objects()).clone();
    cluster.admin().apply(&deployment);
    let said = shell.succeed("flux version --output json");
    cluster.admin().delete(&deployment);
    let said: Value = serde_json::from_str(&said).expect("it is JSON");
    assert_eq!(
        said["hookgate"],
        format!("v{}", env!("CARGO_PKG_VERSION")),
        "{said}"
    );
}

fn works(cluster: &Cluster) {
    let objects = Kustomization::of("controller").objects();
    // Who may do what was given to the API server as it stands in the file: the base has the same.
    let rights = shipped("envoy/controller/rbac.yaml").expect("the file is YAML");
    for wanted in &rights {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (kind, name) = (text(&wanted["kind"]), text(&wanted["metadata"]["name"]));
        assert_eq!(find(&objects, &kind, &name), wanted);
    }
    let others = objects.iter().filter(|object| {
        let group = object["apiVersion"].as_str().unwrap_or_default();
        group.starts_with("rbac") || object["kind"] == "ServiceAccount"
    });
    assert_eq!(others.count(), rights.len());

    // The files of the Pod's volumes, somewhere else.
    let dir = cluster.dir().join("pod");
    fs::create_dir_all(dir.join("spool")).expect("a folder can be made");
    fs::create_dir_all(dir.join("xds")).expect("a folder can be made");
    let tls = Tls::create(&dir.join("xds"));
    fs::copy(tls.ca_file(), dir.join("xds/ca.crt")).expect("a file can be copied");
    let container = &workload(&objects)["spec"]["template"]["spec"]["containers"][0];
    let arguments = strings(&container["args"]);
    let (command, flags) = arguments.split_first().expect("there are arguments");
    assert_eq!(*command, "run");
    let flags: Vec<String> = flags
        .iter()
        // The port of the test, and not that of the Pod.
        .filter(|flag| !flag.starts_with("--xds-addr="))
        .map(|flag| {
            flag.replace("=/spool", &format!("={}/spool", dir.display()))
                .replace("=/xds", &format!("={}/xds", dir.display()))
        })
        .collect();
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let hookgate = Hookgate::start(cluster, "base", &flags);
    let namespace = cluster.namespace("base");
    let mut receiver = Receiver::new("github", "base");
    receiver.namespace = namespace.clone();
    let admin = cluster.admin();
    admin.apply(&flux::object("GitRepository", &namespace, "base"));
    let yaml = receiver.manifest();
    let mut manifest: Vec<Value> = serde_saphyr::from_multiple(&yaml).expect("it is YAML");
    manifest.reverse();
    for object in &manifest {
        admin.apply(object);
    }
    let kind = "notification.toolkit.fluxcd.io/v1";
    wait::until("the Receiver is ready", PATIENCE, || {
        let object = admin.object(kind, "Receiver", &namespace, "base");
        (object["status"]["webhookPath"] == receiver.path()).then_some(())
    })
    .expect("it is");
    let answer = hookgate.client().send(Forge::new().hook(&receiver));
    assert_eq!(answer.expect("it answers").status, 200);
    let refused: Vec<_> = cluster
        .calls()
        .into_iter()
        .filter(|call| call.code == 403)
        .collect();
    assert_eq!(refused, Vec::new(), "it does not ask for more than it has");
}

fn replicas() {
    let form = Kustomization::of("controller").with("controller/replicas");
    let objects = form.objects();
    let set = find(&objects, "StatefulSet", "hookgate");
    let claims = &set["spec"]["volumeClaimTemplates"];
    assert_eq!(
        (
            &set["spec"]["replicas"],
            &claims[0]["metadata"]["name"],
            &set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"],
        ),
        (&json!(3), &json!("spool"), &json!("Retain"))
    );
    assert!(!objects.iter().any(|object| {
        object["kind"] == "PersistentVolumeClaim" || object["kind"] == "Deployment"
    }));
    // Of one replica there is one at a time; of its Pod nothing else is different.
    let one = Kustomization::of("controller").objects();
    let one = find(&one, "Deployment", "hookgate");
    assert_eq!(
        (&one["spec"]["replicas"], &one["spec"]["strategy"]["type"]),
        (&json!(1), &json!("Recreate"))
    );
    let containers = "/spec/template/spec/containers";
    assert_eq!(set.pointer(containers), one.pointer(containers));
}

fn plain_text() {
    let flags = |form: &Kustomization| {
        let objects = form.objects();
        let container = &workload(&objects)["spec"]["template"]["spec"]["containers"][0];
        let args = strings(&container["args"]).into_iter();
        let xds = args.filter(|flag| flag.starts_with("--xds"));
        xds.map(str::to_owned).collect::<Vec<_>>()
    };
    let base = Kustomization::of("controller");
    assert_eq!(
        flags(&base),
        [
            "--xds-addr=:18000",
            "--xds-cert=/xds/tls.crt",
            "--xds-key=/xds/tls.key",
            "--xds-client-ca=/xds/ca.crt"
        ]
    );
    assert_eq!(
        flags(&base.with("controller/plain-xds")),
        ["--xds-addr=:18000", "--xds-insecure"]
    );
}

fn readme_patches() {
    let section = readme::section("From notification-controller");
    let blocks = readme::blocks(&section, "yaml");
    let mut found = blocks.iter().filter_map(|block| readme::named(block));
    let (_, text) = found
        .find(|(name, _)| *name == "flux-system/kustomization.yaml")
        .expect("README.md has it");
    let in_readme: Value = serde_saphyr::from_str(text).expect("it is YAML");
    let path = binaries::workspace().join("envoy/flux/kustomization.yaml");
    let file = fs::read_to_string(path).expect("the file can be read");
    let component: Value = serde_saphyr::from_str(&file).expect("it is YAML");
    assert_eq!(in_readme["patches"], component["patches"]);
}

/// Flux's own NetworkPolicies, with the component's patches or without.
pub(crate) fn flux_policies(are_patched: bool) -> Vec<Value> {
    let shipped = FLUX_POLICIES.objects();
    let mut policies = shipped.unwrap_or_else(|error| panic!("{error}"));
    for policy in &mut policies {
        policy["metadata"]["namespace"] = json!(NAMESPACE);
    }
    if !are_patched {
        return policies;
    }
    let others = [
        ("apps/v1", "Deployment", "notification-controller"),
        ("v1", "Service", "notification-controller"),
        ("v1", "Service", "webhook-receiver"),
    ]
    .map(|(api_version, kind, name)| {
        json!({
            "apiVersion": api_version, "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": {"replicas": 1, "selector": {"app": "notification-controller"}},
        })
    });
    policies.extend(others);
    patched(&policies)
        .into_iter()
        .filter(|object| object["kind"] == "NetworkPolicy")
        .collect()
}

/// What the component makes of Flux's objects.
fn patched(objects: &[Value]) -> Vec<Value> {
    let mut form = Kustomization::default().with("flux");
    form.given = objects.to_vec();
    form.objects()
}
