//! What nobody who reads logs, metrics or Envoy's admin port may learn: tokens, keys, paths, digests, signatures.
#![expect(clippy::expect_used, reason = "a trial fails by panicking")]

use std::process::ExitCode;

use e2e::client::Version;
use e2e::trials::{Trials, options};
use e2e::world::Options;
use e2e::{Request, World};

fn main() -> ExitCode {
    Trials::on(options())
        .alone("nothing_secret_is_told_anywhere", nothing_is_told)
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
