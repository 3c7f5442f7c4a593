//! The rows of the reference's conformance cases, a test a section, with our answer where that differs.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a1_signatures() {
    let old = |algorithm: &str, digits: &str| {
        row("old header", "github", (200, 1))
            .with("X-Hub-Signature", format!("{algorithm}={digits}"))
    };
    let sha512 = "ba49015231e38c2779666c90692d82917c88a814b1c1ae23e94d9544b321011aa9c10824df4d5ac1c5bbb397d1947d4eda37014bbd33d4acb1b11a6f71039f59";
    let good = format!("sha256={SHA256}");
    let form = |want| {
        row("a form", "github", want)
            .with("Content-Type", "application/x-www-form-urlencoded")
            .body("payload=%7B%22action%22%3A%22push%22%7D")
            .with(
                "X-Hub-Signature-256",
                "sha256=75a94070d3a7810961f64822568c0d40546bedb6d70dc7ab59cb443a0197d55c",
            )
    };
    let empty = |want| {
        row("an empty body", "github", want).body("").with(
            "X-Hub-Signature-256",
            "sha256=ce282bed9e6f7eb223c19a9ed2220e32c351b5a3e14ddfeab0f2230755a2987b",
        )
    };
    let nexus = |signature: &str, want| {
        row("nexus", "nexus", want).with("X-Nexus-Webhook-Signature", signature)
    };
    let trailing = r#"{"action":"push"} x"#;
    let sha1 = |body: &str| {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"token");
        hex::encode(hmac::sign(&key, body.as_bytes()))
    };
    check(vec![
        row("sha256", "github", (200, 1)).with("X-Hub-Signature-256", good.as_str()),
        old("sha1", SHA1),
        old("sha512", sha512),
        row("the prefix decides", "github", (200, 1))
            .with("X-Hub-Signature-256", format!("sha1={SHA1}")),
        row("both, the strong one wrong", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("sha256={}", "0".repeat(64)))
            .with("X-Hub-Signature", good.as_str()),
        row("both, the strong one empty", "github", (200, 1))
            .with("X-Hub-Signature-256", "")
            .with("X-Hub-Signature", good.as_str()),
        row("upper case", "github", (200, 1)).with(
            "X-Hub-Signature-256",
            format!("sha256={}", SHA256.to_uppercase()),
        ),
        row("an upper-case prefix", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("SHA256={SHA256}")),
        row("another prefix", "github", (400, 0))
            .with("X-Hub-Signature-256", format!("sha384={SHA256}")),
        row("no prefix", "github", (400, 0)).with("X-Hub-Signature-256", SHA256),
        row("no signature", "github", (400, 0)),
        // nc takes an empty token; here the Receiver is not ready and its path unknown.
        row("an empty token, unsigned", "github", (404, 0)).token(""),
        row("an empty token, signed", "github", (404, 0))
            .token("")
            .with(
                "X-Hub-Signature-256",
                "sha256=f9eb7404aac82dec8dc6304fb1c8401fa81c04e6f8467bce161af10a2b25cbd3",
            ),
        row("signed without the token's newline", "github", (400, 0))
            .token("token\n")
            .with("X-Hub-Signature-256", good.as_str()),
        row("signed with the token's newline", "github", (200, 1))
            .token("token\n")
            .with(
                "X-Hub-Signature-256",
                "sha256=f85bd3e39b74742729fc55bd2bb28bd13a506d264bf8e697a997c6bd1a587d03",
            ),
        empty((200, 1)),
        empty((500, 0)).spec("resourceFilter: 'true'"),
        form((200, 1)),
        form((500, 0)).spec("resourceFilter: req.action == 'push'"),
        row("a key longer than the block", "github", (200, 1))
            .token(&"k".repeat(100))
            .with(
                "X-Hub-Signature-256",
                "sha256=847dbff4779ddefefe5d4754496ac78fa9b7914d752ac2105121b110351cc4a5",
            ),
        row("no content type", "generic-hmac", (200, 1))
            .with("X-Signature", good.as_str())
            .with("Content-Type", ""),
        row("in GitHub's header", "generic-hmac", (400, 0))
            .with("X-Hub-Signature-256", good.as_str()),
        nexus(SHA1, (200, 1)),
        nexus(&SHA1.to_uppercase(), (400, 0)),
        nexus(&format!("sha1={SHA1}"), (400, 0)),
        nexus(&sha1(trailing), (400, 0)).body(trailing),
        row("sha256", "bitbucket", (200, 1)).with("X-Hub-Signature", good.as_str()),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a2_content_types() {
    let mut rows = Vec::new();
    for receiver_type in ["github", "bitbucket"] {
        for (content_type, status) in [
            ("application/json", 200),
            ("Application/JSON", 200),
            ("application/json; charset=utf-8", 200),
            ("application/json;", 200),
            ("application/x-www-form-urlencoded; charset=utf-8", 200),
            ("", 400),
            ("text/plain", 400),
            ("application/vnd.github+json", 400),
            ("application/json, text/plain", 400),
            ("application/json; charset", 400),
            ("application/json; a=1; a=2", 400),
        ] {
            let want = (status, usize::from(status == 200));
            let row = row(content_type, receiver_type, want).with("Content-Type", content_type);
            rows.push(row.signed());
        }
        let mut absent = row("no content type", receiver_type, (400, 0)).signed();
        absent.headers.retain(|(name, _)| *name != "Content-Type");
        rows.push(absent);
    }
    // Filters see the body where the first readable element of the header is JSON.
    for (content_type, status) in [
        ("text/plain, application/json", 200),
        ("application/json, ;", 200),
        ("; , application/json", 500),
        ("application/cloudevents+json", 500),
    ] {
        let want = (status, usize::from(status == 200));
        rows.push(
            row(content_type, "generic", want)
                .with("Content-Type", content_type)
                .spec("resourceFilter: req.action == 'push'"),
        );
    }
    check(rows).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a3_events() {
    let github = |event: &str, want| {
        row("github", "github", want)
            .signed()
            .spec("events: [push, ping]")
            .with("X-GitHub-Event", event)
    };
    let gitlab = |event: &str, want| {
        row("gitlab", "gitlab", want)
            .with("X-Gitlab-Token", "token")
            .spec("events: [Push Hook]")
            .with("X-Gitlab-Event", event)
    };
    let unread =
        |receiver_type| row("events do not count", receiver_type, (200, 1)).spec("events: [x]");
    check(vec![
        github("push", (200, 1)),
        github("PUSH", (200, 1)),
        // Genuine, but not listed: ignored with 200, where nc answers 400.
        github("issues", (200, 0)),
        row("no event", "github", (200, 0))
            .signed()
            .spec("events: [push, ping]"),
        row("no list, no event", "github", (200, 1))
            .signed()
            .spec("events: []"),
        gitlab("push hook", (200, 1)),
        gitlab("Push Hook ", (200, 1)),
        gitlab("Tag Push Hook", (200, 0)),
        unread("harbor").with("Authorization", "token"),
        unread("quay"),
        unread("dockerhub"),
        unread("acr"),
        unread("generic"),
    ])
    .await;
    let strict = vec![
        github("issues", (400, 0)),
        gitlab("Tag Push Hook", (400, 0)),
    ];
    check_with(strict, &Signer::new(), &["--filtered-hook-status=400"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a4_token_headers() {
    let gitlab = |token: &str, want| row("gitlab", "gitlab", want).with("X-Gitlab-Token", token);
    let harbor = |token: &str, want| row("harbor", "harbor", want).with("Authorization", token);
    check(vec![
        gitlab("token", (200, 1)),
        gitlab("other", (400, 0)),
        gitlab("tok", (400, 0)),
        row("no token", "gitlab", (400, 0)),
        // Duplicates are refused, whichever is right.
        gitlab("token", (400, 0)).with("x-gitlab-token", "other"),
        gitlab("other", (400, 0)).with("x-gitlab-token", "token"),
        harbor("token", (200, 1)),
        harbor("Bearer token", (400, 0)),
        harbor("Bearer token", (200, 1)).token("Bearer token"),
        row("no token", "harbor", (400, 0)),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a5_paths_methods_and_sizes() {
    let methods = |status: fn(&str) -> u16| {
        ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"].map(|method| {
            let status = status(method);
            row(method, "generic", (status, usize::from(status == 200))).method(method)
        })
    };
    // nc takes any method.
    let mut rows = Vec::from(methods(|method| if method == "PUT" { 200 } else { 405 }));
    let targets: [fn(&str) -> String; 13] = [
        |path| format!("{path}?a=b"),
        |path| format!("{path}/"),
        |path| format!("/hook/{}", path[6..].to_uppercase()),
        |path| format!("/hook/%{:02x}{}", path.as_bytes()[6], &path[7..]),
        // nc redirects these.
        |path| format!("/{path}"),
        |_| "/hook".to_owned(),
        |_| "/".to_owned(),
        |_| "/healthz".to_owned(),
        |path| format!("/x/..{path}"),
        |path| path.replacen("/hook/", "/hook%2f", 1),
        |path| path.replacen("/hook/", "/Hook/", 1),
        |path| format!("{path};x=1"),
        |path| format!("http://h{path}"),
    ];
    rows.extend(targets.map(|target| row("another form", "generic", (404, 0)).target(target)));
    rows.extend([
        row("3 MiB", "generic", (200, 1)).body(vec![b' '; MAX]),
        row("3 MiB and a byte", "generic", (413, 0)).body(vec![b' '; MAX + 1]),
        // nc answers 413 before it looks; here the path comes first.
        row("as large, unknown", "generic", (404, 0))
            .body(vec![b' '; MAX + 1])
            .target(|_| "/hook/unknown".to_owned()),
        row("as large, suspended", "generic", (503, 0))
            .body(vec![b' '; MAX + 1])
            .spec("suspend: true"),
    ]);
    check(rows).await;
    let any = Vec::from(methods(|_| 200));
    check_with(any, &Signer::new(), &["--allow-any-method"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a6_states() {
    check(vec![
        row("suspended", "generic", (503, 0)).spec("suspend: true"),
        row("a broken filter", "generic", (503, 0)).spec("resourceFilter: req.flag"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a7_targets() {
    let of = |what, resources: &[&str], want| row(what, "generic", want).resources(resources);
    let labels = "matchLabels: {row: ROW}";
    let wild = format!("{{kind: GitRepository, name: '*', {labels}}}");
    let mut rows = vec![
        of(
            "the first fails",
            &["{kind: GitRepository, name: none}", "{kind: GitRepository, name: ROW}"],
            (500, 1),
        ),
        // One object's error leaves the others alone; nc stops at it.
        of(
            "a filter that fails for one of three",
            &[&wild.replace(
                labels,
                "matchLabels: {row: ROW}, filter: \"res.metadata.labels.app == 'x' || req.nothing == 1\"",
            )],
            (500, 2),
        ),
        of(
            "a wildcard that matches none",
            &["{kind: GitRepository, name: '*', matchLabels: {row: none}}"],
            (200, 0),
        ),
        of("a wildcard", &[&wild], (200, 3)),
        of("a wildcard without labels", &["{kind: GitRepository, name: '*'}"], (500, 0)),
        of(
            "labels of a name do not count",
            &["{kind: GitRepository, name: ROW, matchLabels: {no: match}}"],
            (200, 1),
        ),
        of("no resources", &[], (200, 0)),
        of(
            "another version of the group",
            &["{apiVersion: source.toolkit.fluxcd.io/v1beta2, kind: GitRepository, name: ROW}"],
            (200, 1),
        ),
        of(
            "another group",
            &["{apiVersion: source.example/v1, kind: GitRepository, name: ROW}"],
            (500, 0),
        ),
        of(
            "its own namespace, named",
            &["{kind: GitRepository, name: ROW, namespace: ns}"],
            (200, 1),
        ),
        of(
            "another namespace",
            &["{kind: GitRepository, name: ROW, namespace: other}"],
            (500, 0),
        ),
        of(
            "the same object by two entries",
            &["{kind: GitRepository, name: ROW}", &wild],
            (200, 3),
        ),
        row("both filters", "generic", (200, 1))
            .spec("resourceFilter: req.action == 'push'")
            .resources(&[&wild.replace(labels, "matchLabels: {row: ROW}, filter: \"res.metadata.name == 'ROW'\"")]),
        row("the top-level filter says no", "generic", (200, 0))
            .spec("resourceFilter: 'false'")
            .resources(&[&wild]),
    ];
    for kind in [
        "HelmRelease",
        "Kustomization",
        "ImagePolicy",
        "ImageUpdateAutomation",
        "ExternalArtifact",
    ] {
        let entry = format!("{{kind: {kind}, name: ROW}}");
        rows.push(of("no apiVersion", &[&entry], (500, 0)));
    }
    check(rows).await;
    // In the one namespace there is, everything: a stage of its own, to count.
    let all = of(
        "all",
        &["{kind: GitRepository, name: '*', matchLabels: {}}"],
        (200, 3),
    );
    check(vec![all]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a8_shapes_of_json() {
    let mut rows = Vec::new();
    for receiver_type in ["dockerhub", "quay", "acr"] {
        for (body, status) in [
            ("{}", 200),
            ("null", 200),
            (r#"{"push_data":null}"#, 200),
            ("{} trailing", 200),
            ("", 400),
            ("[]", 400),
            (r#""x""#, 400),
        ] {
            let want = (status, usize::from(status == 200));
            let row = row(body, receiver_type, want).body(body);
            rows.push(row.with("Content-Type", "text/plain"));
        }
    }
    rows.push(row("a tag", "dockerhub", (400, 0)).body(r#"{"push_data":{"tag":1}}"#));
    let signer = Signer::new();
    let google = signer.bearer(&json!({
        "iss": GOOGLE, "aud": AUDIENCE, "email": EMAIL, "email_verified": true,
    }));
    let gcr = |body: &str, want| {
        row("gcr", "gcr", want)
            .with("Authorization", google.as_str())
            .body(body)
    };
    let inner = |data: &str| format!(r#"{{"message":{{"data":"{}"}}}}"#, STANDARD.encode(data));
    rows.extend([
        gcr(r#"{"message":{"data":""}}"#, (400, 0)),
        gcr(&inner("{}"), (200, 1))
            .spec("resourceFilter: \"req == {'action': '', 'digest': '', 'tag': ''}\""),
        gcr(
            &inner(r#"{"action":"INSERT","tag":"v1","more":1}"#),
            (200, 1),
        )
        .spec("resourceFilter: req.tag == 'v1' && !has(req.more)"),
        gcr(
            &format!(
                r#"{{"message":{{"data":"{}","publishTime":"x"}}}}"#,
                STANDARD.encode("{}")
            ),
            (400, 0),
        ),
    ]);
    check_with(rows, &signer, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a9_tokens() {
    let signer = Signer::new();
    let now = crate::clock::now_ms() / 1000;
    let providers = format!(
        "oidcProviders: [{{issuerURL: {ISSUER:?}, variables: [{{name: repo, expression: claims.repo}}], validations: [{{expression: \"vars.repo == 'a/b'\", message: wrong repo}}]}}]"
    );
    let plain = format!(
        "oidcProviders: [{{issuerURL: {ISSUER:?}, validations: [{{expression: 'true', message: never}}]}}]"
    );
    let token = |changes: Value, want| {
        row("oidc", "generic-oidc", want)
            .spec(&plain)
            .with("Authorization", signer.bearer(&changes))
    };
    let validated = |changes: Value, want| {
        row("validated", "generic-oidc", want)
            .spec(&providers)
            .with("Authorization", signer.bearer(&changes))
    };
    let raw = |head: Value, want| {
        let claims = json!({"iss": ISSUER, "aud": "notification-controller", "exp": now + 600});
        row("raw", "generic-oidc", want).spec(&plain).with(
            "Authorization",
            format!("Bearer {}", signer.token(&head, &claims)),
        )
    };
    let google = |changes: Value, want| {
        let mut claims = json!({
            "iss": GOOGLE, "aud": AUDIENCE, "email": EMAIL, "email_verified": true,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        row("gcr", "gcr", want)
            .with("Authorization", signer.bearer(&claims))
            .body(format!(
                r#"{{"message":{{"data":"{}"}}}}"#,
                STANDARD.encode("{}")
            ))
    };
    let lower = signer.bearer(&json!({})).replacen("Bearer", "bearer", 1);
    let rows = vec![
        token(json!({}), (200, 1)),
        token(json!({}), (400, 0)).with("Authorization", lower),
        token(json!({}), (400, 0)).with("Authorization", "Bearer not-a-jwt"),
        row("no token", "generic-oidc", (400, 0)).spec(&plain),
        token(json!({"aud": ["x", "notification-controller"]}), (200, 1)),
        token(json!({"aud": null}), (400, 0)),
        token(json!({"aud": "x"}), (400, 0)),
        token(json!({"exp": now - 1}), (400, 0)),
        token(json!({"nbf": now + 240}), (200, 1)),
        token(json!({"nbf": now + 420}), (400, 0)),
        token(json!({"iss": format!("{ISSUER}/")}), (400, 0)),
        raw(json!({"alg": "none", "kid": "k"}), (400, 0)),
        raw(json!({"alg": "HS256", "kid": "k"}), (400, 0)),
        raw(json!({"alg": "ES256", "kid": "unknown"}), (400, 0)),
        validated(json!({"repo": "a/b"}), (200, 1)),
        validated(json!({"repo": "a/c"}), (400, 0)),
        validated(json!({}), (400, 0)),
        validated(json!({"repo": "a/b"}), (200, 1)).spec("resourceFilter: claims.repo == 'a/b'"),
        validated(json!({"repo": "a/b"}), (200, 0)).spec("resourceFilter: claims.repo == 'a/c'"),
        google(json!({}), (200, 1)),
        google(json!({"iss": "accounts.google.com"}), (200, 1)),
        google(json!({"aud": [AUDIENCE]}), (400, 0)),
        google(json!({"email_verified": "true"}), (400, 0)),
        google(json!({"email": "other@example.com"}), (400, 0)),
        // Nobody's token will do, not even one that lacks the same claim.
        google(json!({}), (400, 0)).secret(&format!("audience: {AUDIENCE:?}")),
        google(json!({"email": null}), (400, 0)).secret(&format!("audience: {AUDIENCE:?}")),
        google(json!({}), (400, 0)).secret(&format!("email: {EMAIL:?}")),
        google(json!({"aud": null}), (400, 0)).secret(&format!("email: {EMAIL:?}")),
    ];
    check_with(rows, &signer, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_held_take_so_much_memory_and_the_next_one_is_told_to_wait() {
    let held = row("held", "generic-hmac", (200, 1));
    let stage = Stage::start(&[held], &Signer::new(), &[]).await;
    let hook = row("held", "generic-hmac", (200, 1));
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: h\r\nX-Signature: sha256={}\r\nContent-Length: {MAX}\r\n\r\n",
        hook.path("row-0"),
        "0".repeat(64),
    );
    let open = |_| async {
        let mut stream = stage.connect().await;
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = [0; 256];
        let reading = stream.read(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(2), reading).await;
        let answer = read.map(|n| String::from_utf8_lossy(&answer[..n.unwrap()]).into_owned());
        (stream, answer.unwrap_or_default())
    };
    let answers = futures_util::future::join_all((0..64).map(open)).await;
    let refused = answers.iter().filter(|(_, answer)| !answer.is_empty());
    for (_, answer) in refused.clone() {
        assert!(
            answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: "),
            "{answer}"
        );
    }
    // 42 bodies of 3 MiB are 126 MiB of 128.
    assert_eq!(refused.count(), 64 - 42);
    drop(answers);
    let body = BODY.to_owned();
    let signature = format!("sha256={}", mac("token", body.as_bytes()));
    let hook = hook.with("X-Signature", signature);
    let mut status = 0;
    for _ in 0..50 {
        status = stage.send(&hook, "row-0").await;
        if status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(status, 200);
}
