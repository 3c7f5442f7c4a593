//! What nobody who reads logs, metrics or Envoy's admin port may learn: tokens, keys, paths, digests, signatures.
#![expect(clippy::expect_used, reason = "a trial fails by panicking")]

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use e2e::client::Version;
use e2e::tls::Tls;
use e2e::trials::{Trials, expect, options};
use e2e::wait::{PATIENCE, until};
use e2e::world::Options;
use e2e::{Request, World};
use tempfile::TempDir;

fn main() -> ExitCode {
    Trials::on(options())
        .alone("nothing_secret_is_told_anywhere", nothing_is_told)
        .alone(
            "only_an_envoy_with_a_certificate_gets_the_table_and_renewed_ones_are_taken",
            mutual_tls,
        )
        .run()
}

/// A text that must not be seen, and what it is.
struct Secret {
    what: String,
    text: String,
}

fn nothing_is_told() {
    let mut all = options();
    all.controller_flags.push("--log-level=debug".to_owned());
    let mut world = World::start(Options {
        envoy_arguments: ["--log-level", "info", "--component-log-level", "wasm:debug"]
            .map(str::to_owned)
            .to_vec(),
        ..all
    });
    let rotated = world
        .receiver("github")
        .clone()
        .token("a token that came later")
        .secret("token-previous", "a token that was there before");
    world.apply(&rotated);
    world.await_everywhere(Request::get(&rotated.path()), 405);
    let secrets = traffic(&world);
    let places = [
        (
            "Envoy's config dump",
            world.envoy().config_dump().to_string(),
        ),
        ("Envoy's stats", world.envoy().admin("/stats")),
        (
            "Envoy's Prometheus stats",
            world.envoy().admin("/stats/prometheus"),
        ),
        ("Envoy's log", world.envoy().log()),
        ("the controller's metrics", world.controller().metrics()),
        ("the controller's log", world.controller().log()),
        (
            "the controller's requests",
            world.controller().debug_requests().to_string(),
        ),
    ];
    let mut told = Vec::new();
    for (place, text) in &places {
        assert!(!text.is_empty(), "{place} is empty: nothing was looked at");
        for secret in &secrets {
            if text.contains(&secret.text) {
                told.push(format!("{place} tells {}", secret.what));
            }
        }
    }
    assert_eq!(told, Vec::<String>::new());
    assert!(
        places[0].1.contains("apps/github"),
        "the dump shows the table"
    );
}

/// Flags for the files of `Tls::create` in `folder`.
fn flags(folder: &Path, flags: [(&str, &str); 3]) -> Vec<String> {
    flags
        .map(|(flag, file)| format!("--{flag}={}", folder.join(file).display()))
        .to_vec()
}

fn mutual_tls() {
    let pki = TempDir::new().expect("a folder can be made");
    let _files = Tls::create(pki.path());
    let served = || {
        let mut all = options();
        all.controller_flags.extend(flags(
            pki.path(),
            [
                ("xds-cert", "tls.crt"),
                ("xds-key", "tls.key"),
                ("xds-client-ca", "ca.pem"),
            ],
        ));
        all
    };
    let shown = |cert: &str, key: &str| {
        let files = [("xds-client-cert", cert), ("xds-client-key", key)];
        flags(pki.path(), [files[0], files[1], ("xds-ca", "ca.pem")])
    };
    let mut misnamed = shown("client.crt", "client.key");
    misnamed.push("--xds-server-name=other.example".to_owned());
    for (what, edge_flags) in [
        ("plain text", Vec::new()),
        // Ours, but not for clients.
        ("no client's certificate", shown("tls.crt", "tls.key")),
        ("a controller of another name", misnamed),
    ] {
        let world = World::start(Options {
            edge_flags,
            await_table: false,
            ..served()
        });
        // What Envoy may have tried meanwhile has failed.
        let failures = || {
            world
                .envoy()
                .stat("cluster.hookgate_ecds.upstream_cx_total")
        };
        let tried = until("an attempt", PATIENCE, || failures().filter(|n| *n >= 2));
        assert!(tried.is_ok(), "{what}: {tried:?}");
        expect(what, &world.send(world.hook("github")), 503);
        let pushed = world.controller().metric("hookgate_xds_pushes_total", &[]);
        assert!(pushed == 0.0, "{what}: the table was pushed");
    }
    let mut world = World::start(Options {
        edge_flags: shown("client.crt", "client.key"),
        ..served()
    });
    let genuine = world.hook("github");
    expect("genuine", &world.send(&genuine), 200);

    // A renewal that went wrong: the port goes on with what it had.
    let count = |world: &World, name: &str, least: f64| {
        let seen = until(name, PATIENCE, || {
            (world.controller().metric(name, &[]) >= least).then_some(())
        });
        assert!(seen.is_ok(), "{seen:?}");
    };
    fs::write(pki.path().join("tls.key"), "no key").expect("the file can be written");
    count(&world, "hookgate_xds_tls_reload_failures_total", 1.0);
    world.restart_envoy();
    world.await_everywhere(&genuine, 200);
    // One that is good: another CA for both sides.
    let _files = Tls::create(pki.path());
    count(&world, "hookgate_xds_tls_reloads_total", 1.0);
    world.restart_envoy();
    world.await_everywhere(&genuine, 200);
    expect("forged", &world.send(genuine.forged()), 400);
}

/// Genuine and forged hooks of every Receiver; everything in them that is secret.
fn traffic(world: &World) -> Vec<Secret> {
    let mut secrets = Vec::new();
    let mut add = |what: String, text: String| {
        if text.len() >= 8 {
            secrets.push(Secret { what, text });
        }
    };
    for receiver in world.receivers() {
        let name = &receiver.name;
        let token = String::from_utf8(receiver.token.clone()).expect("tokens of ours are text");
        add(format!("the token of {name}"), token);
        add(
            format!("the digest of {name}"),
            receiver.path().trim_start_matches("/hook/").to_owned(),
        );
        for (key, value) in &receiver.secret {
            // Who may send is not what proves it.
            if !matches!(key.as_str(), "email" | "audience") {
                let bare = value.trim_start_matches("whsec_").to_owned();
                add(format!("{key} of {name}"), bare);
            }
            if key == "token-previous" {
                let path = receiver.path_with(value.as_bytes());
                let digest = path.trim_start_matches("/hook/").to_owned();
                add(format!("the old digest of {name}"), digest);
            }
        }
        for version in [Version::Http1, Version::Http2] {
            let hook = world.forge.hook(receiver);
            for hook in [
                hook.clone().forged(),
                hook.clone().with_path(&format!("{}?x=1", hook.path)),
                hook.clone().with_method("GET"),
                hook,
            ] {
                if let Some(header) = hook.credential_header() {
                    let value = hook.header(header).unwrap_or_default();
                    let value = String::from_utf8_lossy(value).into_owned();
                    let bare = value.rsplit(['=', ' ', ',']).find(|part| !part.is_empty());
                    add(
                        format!("a credential of {name}"),
                        bare.unwrap_or_default().to_owned(),
                    );
                }
                let _any = world.send(Request::from(&hook).version(version));
                let _any = world.controller().client().send(&hook);
            }
        }
    }
    secrets
}
