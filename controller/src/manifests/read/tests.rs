//! What is read of a folder, and what is said of what can't be.

use super::*;

const RECEIVER: &str = "apiVersion: notification.toolkit.fluxcd.io/v1\nkind: Receiver\nmetadata:\n  name: app\n  namespace: flux-system\nspec:\n  type: github\n  secretRef:\n    name: token\n  resources:\n  - kind: GitRepository\n    name: app\n";

fn read_all(files: &[(&str, &str)]) -> Snapshot {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    read(dir.path()).unwrap()
}

fn problems(snapshot: &Snapshot) -> Vec<String> {
    snapshot.problems.iter().map(ToString::to_string).collect()
}

#[test]
fn objects_of_all_files_and_documents_are_read() {
    let secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: token, namespace: flux-system}\ndata: {token: dG9rZW4=}\nstringData: {other: plain}\n";
    let git = "apiVersion: source.toolkit.fluxcd.io/v1\nkind: GitRepository\nmetadata:\n  name: app\n  labels: {a: b}\nspec: {url: x}\n";
    let snapshot = read_all(&[
        ("a.yaml", &format!("{RECEIVER}---\n{secret}")),
        ("sub/b.yml", git),
        ("c.txt", "not: read"),
        (".hidden.yaml", "}{"),
        (
            "d.json",
            "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{\"name\":\"c\"}}",
        ),
    ]);
    assert_eq!(problems(&snapshot), [""; 0]);
    assert_eq!(snapshot.receivers.len(), 1);
    assert_eq!(snapshot.receivers[0].spec.r#type, "github");
    let secret = &snapshot.secrets[&("flux-system".to_owned(), "token".to_owned())];
    assert_eq!(secret.get("token"), Some(&b"token"[..]));
    assert_eq!(secret.get("other"), Some(&b"plain"[..]));
    let objects = snapshot.objects.load();
    let kinds: Vec<_> = objects.records.keys().map(ToString::to_string).collect();
    assert_eq!(kinds, ["GitRepository/default/app", "ConfigMap/default/c"]);
    let git = objects
        .records
        .values()
        .find(|o| o.metadata.name == "app")
        .unwrap();
    assert_eq!(
        git.json,
        json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "GitRepository",
               "metadata": {"name": "app", "namespace": "default", "labels": {"a": "b"}}})
    );
}

#[test]
fn alerts_and_providers_are_read_and_no_problem_of_a_provider_tells_its_address() {
    let alert = "apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Alert\nmetadata: {name: on-call, namespace: apps}\nspec:\n  providerRef: {name: chat}\n  eventSources: [{kind: Kustomization, name: '*'}]\n";
    let provider = "apiVersion: notification.toolkit.fluxcd.io/v1beta3\nkind: Provider\nmetadata: {name: chat, namespace: apps}\nspec: {type: slack, address: https://hooks.test/hunter2}\n";
    let snapshot = read_all(&[
        ("a.yaml", &format!("{alert}---\n{provider}")),
        (
            "b.yaml",
            &provider
                .replace("name: chat", "name: bad")
                .replace("slack", "[hunter2]"),
        ),
        (
            "c.yaml",
            &alert
                .replace("v1beta3", "v1beta1")
                .replace("on-call", "old"),
        ),
    ]);
    assert_eq!(snapshot.alerts[0].metadata.name, "on-call");
    assert_eq!(snapshot.alerts[0].spec.provider_ref.name, "chat");
    assert_eq!(snapshot.providers[0].spec.r#type, "slack");
    assert_eq!((snapshot.alerts.len(), snapshot.providers.len()), (1, 1));
    let got = problems(&snapshot);
    assert_eq!(got.len(), 2, "{got:?}");
    assert!(got[0].starts_with("b.yaml, document 1: Provider, ") && !got[0].contains("hunter2"));
    assert!(got[1].ends_with("of kind Alert is not served"), "{got:?}");
}

#[test]
fn a_bad_document_is_named_and_the_rest_counts() {
    let snapshot = read_all(&[
        (
            "bad.yaml",
            &format!("{RECEIVER}---\nkind: [\n---\nfoo: bar\n"),
        ),
        ("dup.yaml", RECEIVER),
        (
            "type.yaml",
            &RECEIVER
                .replace("name: app\n  namespace", "name: two\n  namespace")
                .replace("resources:", "resourcez:"),
        ),
        (
            "name.yaml",
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: A/B}\n",
        ),
    ]);
    assert_eq!(snapshot.receivers.len(), 1);
    let got = problems(&snapshot);
    assert_eq!(got.len(), 5, "{got:#?}");
    assert!(got[0].starts_with("bad.yaml, document 2: "), "{got:#?}");
    assert!(
        got[1].starts_with("bad.yaml, document 3: ")
            && got[1].ends_with("not a Kubernetes object with apiVersion, kind and metadata"),
        "{got:#?}"
    );
    assert_eq!(
        got[2],
        "dup.yaml, document 1: Receiver/flux-system/app stands in bad.yaml already, which counts"
    );
    assert_eq!(
        got[3],
        "name.yaml, document 1: metadata.name: \"A/B\" is not a name"
    );
    assert!(
        got[4].starts_with("type.yaml, document 1: Receiver, line ")
            && got[4].contains("resourcez"),
        "{got:#?}"
    );
}

#[test]
fn of_two_versions_of_one_object_the_first_counts_and_other_groups_are_others() {
    let bucket = |api_version: &str| {
        format!("apiVersion: {api_version}\nkind: Bucket\nmetadata: {{name: b}}\n")
    };
    let snapshot = read_all(&[
        ("a.yaml", &bucket("source.toolkit.fluxcd.io/v1")),
        ("b.yaml", &bucket("source.toolkit.fluxcd.io/v1beta2")),
        ("c.yaml", &bucket("storage.example/v1")),
    ]);
    assert_eq!(
        problems(&snapshot),
        ["b.yaml, document 1: Bucket/default/b stands in a.yaml already, which counts"]
    );
    let objects = snapshot.objects.load();
    let versions: Vec<_> = objects.records.keys().map(|o| &o.api_version).collect();
    assert_eq!(
        versions,
        ["source.toolkit.fluxcd.io/v1", "storage.example/v1"]
    );
}

#[test]
fn no_problem_of_a_secret_tells_a_value() {
    for text in [
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: {token: hunter2!}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\ndata: hunter2!\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: [hunter2!]}\n",
        "kind: Secret\nstringData: {token: hunter2!}\n",
        "apiVersion: v1\nkind: Secret\nmetadata: hunter2!\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: s}\nstringData: {token: \"hunter2!\n",
    ] {
        let snapshot = read_all(&[("s.yaml", text)]);
        let got = problems(&snapshot);
        assert_eq!(got.len(), 1, "{got:?}");
        assert!(!got[0].contains("hunter2"), "{got:?}");
    }
}

#[test]
fn a_file_that_breaks_keeps_what_it_said_until_it_is_mended_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.yaml");
    let mut folder = Folder::new(dir.path());
    let mut read = |text: Option<&str>| {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let snapshot = folder.read().unwrap()?;
        Some((snapshot.receivers.len(), snapshot.problems.len()))
    };
    assert_eq!(read(Some(RECEIVER)), Some((1, 0)));
    assert_eq!(read(Some(RECEIVER)), None);
    assert_eq!(read(Some(&RECEIVER[..150])), Some((1, 1)));
    assert_eq!(read(Some(RECEIVER)), Some((1, 0)));
    assert_eq!(read(None), Some((0, 0)));
    assert_eq!(read(Some("kind: [")), Some((0, 1)));
}

#[test]
fn a_missing_folder_is_an_error_that_names_it() {
    let error = read(Path::new("/nowhere/at/all")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to read the folder of manifests \"/nowhere/at/all\""
    );
}

#[test]
fn hostile_yaml_is_bounded() {
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]\ng: &g [*f,*f,*f,*f,*f,*f,*f,*f,*f]\n";
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let snapshot = read_all(&[
        ("bomb.yaml", bomb),
        ("deep.yaml", &deep),
        ("ok.yaml", RECEIVER),
    ]);
    assert_eq!((snapshot.receivers.len(), snapshot.problems.len()), (1, 2));
}
