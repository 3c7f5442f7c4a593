//! The scenes, in order: who sends what, and what was promised to become of it.

use e2e::client::{Request, Tally};
use e2e::forge::payload;
use e2e::manifests::{NAMESPACE, Receiver};

use crate::alerts;
use crate::stage::{LIMITED, LIMITED_BURST, Outcome, Stage, counted, said};

/// A scene.
pub(crate) struct Scene {
    /// The heading it stands under.
    pub(crate) act: &'static str,
    pub(crate) title: &'static str,
    pub(crate) sent: &'static str,
    pub(crate) play: fn(&mut Stage) -> Outcome,
}

const GENUINE: &str = "genuine hooks pass, and Flux is asked to reconcile what the Receiver names";
const REFUSED: &str =
    "everything else ends at the gate: no Pod is woken, the Kubernetes API is not asked";
const FLOODS: &str = "floods are limited, and genuine hooks still pass";
const ROTATION: &str = "a token is rotated without a lost hook";
const ALERTS: &str = "an alert reaches a chat, a pager and a commit, whatever is down in between";
const OUTAGE: &str = "parts fail: the gate stays shut for forgers, and opens again by itself";

/// Every scene. Their order matters: floods come after what they would disturb, outages last.
pub(crate) const SCENES: &[Scene] = &[
    genuine("GitHub push", "signed with SHA-256", |stage| {
        admit(stage, "github")
    }),
    genuine("GitLab push", "with the secret token", |stage| {
        admit(stage, "gitlab")
    }),
    genuine(
        "GitLab push, signing token",
        "Standard Webhooks signature",
        |stage| admit(stage, "gitlab-signed"),
    ),
    genuine("Bitbucket refs changed", "signed with SHA-256", |stage| {
        admit(stage, "bitbucket")
    }),
    genuine("Harbor artifact pushed", "with the auth header", |stage| {
        admit(stage, "harbor")
    }),
    genuine(
        "CI job, generic-hmac",
        "X-Signature with SHA-256",
        |stage| admit(stage, "generic-hmac"),
    ),
    genuine(
        "CI job, Standard Webhooks",
        "webhook-signature, v1",
        |stage| admit(stage, "generic-hmac-signed"),
    ),
    genuine("CI job, generic-oidc", "ID token, RS256", |stage| {
        admit(stage, "generic-oidc")
    }),
    genuine(
        "Artifact Registry, gcr",
        "Pub/Sub push with a Google ID token",
        |stage| admit(stage, "gcr"),
    ),
    genuine("Nexus component", "signed with SHA-1", |stage| {
        admit(stage, "nexus")
    }),
    genuine("Docker Hub push", "to the secret path", |stage| {
        admit(stage, "dockerhub")
    }),
    genuine("Quay push", "to the secret path", |stage| {
        admit(stage, "quay")
    }),
    genuine(
        "Azure Container Registry push",
        "to the secret path",
        |stage| admit(stage, "acr"),
    ),
    genuine("CDEvents change merged", "to the secret path", |stage| {
        admit(stage, "cdevents")
    }),
    genuine("curl, generic", "to the secret path", |stage| {
        admit(stage, "generic")
    }),
    Scene {
        act: REFUSED,
        title: "forged GitHub push",
        sent: "real path, real body, one digit of the signature differs",
        play: |stage| stage.end_at_gate(stage.world.hook("github").forged(), 400, "signature"),
    },
    Scene {
        act: REFUSED,
        title: "GitHub push with another body",
        sent: "a genuine signature over another body",
        play: |stage| {
            let hook = stage
                .world
                .hook("github")
                .with_body("{\"ref\":\"refs/heads/evil\"}");
            stage.end_at_gate(hook, 400, "signature")
        },
    },
    Scene {
        act: REFUSED,
        title: "forged GitLab push",
        sent: "a wrong token",
        play: |stage| stage.end_at_gate(stage.world.hook("gitlab").forged(), 400, "token"),
    },
    Scene {
        act: REFUSED,
        title: "replay of an old GitLab hook",
        sent: "genuine signature, signed 10 minutes ago",
        play: |stage| {
            let receiver = stage.world.receiver("gitlab-signed");
            let hook = stage.world.forge.ahead(-600).hook(receiver);
            stage.end_at_gate(hook, 400, "stale")
        },
    },
    Scene {
        act: REFUSED,
        title: "GitHub event that is not listed",
        sent: "a genuine hook of the event \"star\"",
        play: |stage| {
            let hook = stage.world.hook("github").with_event("star");
            stage.end_at_gate(hook, 200, "ignored")
        },
    },
    Scene {
        act: REFUSED,
        title: "oversized body",
        sent: "a genuine hook of 3 MiB and a byte",
        play: |stage| {
            let receiver = stage.world.receiver("github");
            let body = vec![b' '; (3 << 20) + 1];
            let hook = stage.world.forge.hook_with(receiver, &body);
            stage.end_at_gate(hook, 413, "too_large")
        },
    },
    Scene {
        act: REFUSED,
        title: "unknown path",
        sent: "a guess of 64 hex digits",
        play: |stage| {
            let guess = Receiver::new("github", "nobody");
            stage.end_at_gate(stage.world.forge.hook(&guess), 404, "unknown_path")
        },
    },
    Scene {
        act: FLOODS,
        title: "one address floods",
        sent: "1,000 requests from 127.0.1.9, then a genuine hook from elsewhere",
        play: address_flood,
    },
    Scene {
        act: FLOODS,
        title: "a sender runs wild",
        sent: "30 genuine hooks to a Receiver with hookgate.dev/burst: 5",
        play: genuine_flood,
    },
    Scene {
        act: FLOODS,
        title: "forged flood on a known path",
        sent: "300 forged hooks from 10 addresses, then 100 of 100 KB, then a genuine one",
        play: forged_flood,
    },
    Scene {
        act: ROTATION,
        title: "token rotated",
        sent: "genuine hooks of the old token all the while, of the new one after, then token-previous removed",
        play: rotation,
    },
    Scene {
        act: OUTAGE,
        title: "controller stopped: forged",
        sent: "a forged GitHub push",
        play: |stage| {
            stage.world.stop_controller();
            let status = stage.status(stage.world.hook("github").forged());
            Outcome {
                answer: said(status),
                happened: "refused at the gate, by the last table".to_owned(),
                ok: status == Some(400),
            }
        },
    },
    Scene {
        act: OUTAGE,
        title: "controller stopped: genuine",
        sent: "a genuine GitHub push",
        play: |stage| {
            let status = stage.status(stage.world.hook("github"));
            Outcome {
                answer: said(status),
                happened: "verified at the gate, nobody behind it: senders try again".to_owned(),
                ok: status == Some(503),
            }
        },
    },
    Scene {
        act: OUTAGE,
        title: "Envoy restarted meanwhile",
        sent: "a genuine push and an unknown path",
        play: |stage| {
            stage.world.restart_envoy();
            let genuine = stage.status(stage.world.hook("github"));
            let unknown = stage.status(Request::new("POST", "/").body("{}"));
            Outcome {
                answer: format!("{}, {}", said(genuine), said(unknown)),
                happened: "no table, nothing passes: closed".to_owned(),
                ok: (genuine, unknown) == (Some(503), Some(503)),
            }
        },
    },
    Scene {
        act: OUTAGE,
        title: "controller started again",
        sent: "a genuine GitHub push",
        play: |stage| {
            stage.world.start_controller();
            let github = stage.world.receiver("github").clone();
            match stage.await_served(&github) {
                Ok(()) => admit(stage, "github"),
                Err(error) => failed(error),
            }
        },
    },
    Scene {
        act: ALERTS,
        title: "a Kustomization fails",
        sent: "one event, as kustomize-controller posts it",
        play: alerts::arrive,
    },
    Scene {
        act: ALERTS,
        title: "the chat is down, then kill -9",
        sent: "20 events while the chat is down; then hookgate is killed",
        play: alerts::outage,
    },
];

const fn genuine(
    title: &'static str,
    sent: &'static str,
    play: fn(&mut Stage) -> Outcome,
) -> Scene {
    Scene {
        act: GENUINE,
        title,
        sent,
        play,
    }
}

fn admit(stage: &Stage, name: &str) -> Outcome {
    stage.admit(name, stage.world.hook(name))
}

fn failed(reason: String) -> Outcome {
    Outcome {
        answer: "none".to_owned(),
        happened: reason,
        ok: false,
    }
}

/// Envoy's own limit per address, before the filter.
fn address_flood(stage: &mut Stage) -> Outcome {
    let guess = stage.world.forge.hook(&Receiver::new("github", "nobody"));
    let tally = stage.client(9).flood(guess, 1_000, 8);
    let after = stage.admit("github", stage.world.hook("github"));
    let limited = tally.count(429);
    Outcome {
        answer: counted(&tally),
        happened: format!(
            "{limited} limited by address; the genuine hook: {}",
            after.answer
        ),
        ok: after.ok && limited >= 500 && limited + tally.count(404) == 1_000,
    }
}

/// The success bucket of one hook.
fn genuine_flood(stage: &mut Stage) -> Outcome {
    let hooks = (0..30).map(|_| stage.world.hook(LIMITED).into()).collect();
    let answers = stage.client(10).send_all(hooks, 8);
    let mut tally = Tally::default();
    let mut patient = 0;
    for answer in answers {
        match answer {
            Ok(response) => {
                *tally.statuses.entry(response.status).or_default() += 1;
                patient +=
                    usize::from(response.status == 429 && response.header("retry-after").is_some());
            }
            Err(_) => tally.failed += 1,
        }
    }
    let other = stage.admit("generic-hmac", stage.world.hook("generic-hmac"));
    let passed = tally.count(200);
    Outcome {
        answer: counted(&tally),
        happened: format!(
            "{patient} told to try again later; another Receiver's hook: {}",
            other.answer
        ),
        // The bucket refills while the flood lasts.
        ok: other.ok
            && (LIMITED_BURST..LIMITED_BURST + 10).contains(&passed)
            && passed + patient == 30,
    }
}

/// The failure bucket of one hook.
fn forged_flood(stage: &mut Stage) -> Outcome {
    let forged = stage.world.hook("github").forged();
    let mut small = 0;
    for address in 20..30 {
        small += stage.client(address).flood(&forged, 30, 4).count(400);
    }
    let receiver = stage.world.receiver("github");
    let mut large_body = payload::GITHUB_PUSH.to_vec();
    large_body.resize(100_000, b' ');
    let large = stage.world.forge.hook_with(receiver, &large_body).forged();
    let tally = stage.client(30).flood(large, 80, 4);
    // From an address that was never seen before.
    let genuine = stage.client(31).send(stage.world.hook("github"));
    let genuine = genuine.ok().map(|response| response.status);
    Outcome {
        answer: counted(&tally),
        happened: format!(
            "{small} small ones refused, large ones limited unread; the genuine hook: {}",
            said(genuine)
        ),
        ok: small == 300 && tally.count(429) >= 50 && tally.count(200) == 0 && genuine == Some(200),
    }
}

/// `token` becomes `token-previous`, a new `token` takes its place, and later the old one goes.
fn rotation(stage: &mut Stage) -> Outcome {
    let old = stage.world.receiver("gitlab").clone();
    let old_token = String::from_utf8_lossy(&old.token).into_owned();
    let rotated = old
        .clone()
        .token("a-token-made-this-morning")
        .secret("token-previous", &old_token);
    let (mut sent, mut passed) = (0, 0);
    let mut send = |stage: &Stage, receiver: &Receiver| {
        let status = stage.status(stage.world.forge.hook(receiver));
        sent += 1;
        passed += usize::from(status == Some(200));
        status
    };
    send(stage, &old);
    stage.world.apply(&rotated);
    // The new path is unknown until the gate has the new table; the old one works on.
    let probe = stage.world.forge.hook(&rotated).forged();
    for _ in 0..2_000 {
        send(stage, &old);
        if stage.status(&probe) == Some(400) {
            break;
        }
    }
    send(stage, &old);
    send(stage, &rotated);
    let mut finished = rotated.clone();
    finished.secret.clear();
    stage.world.apply(&finished);
    let gone = stage.world.await_answer(stage.world.forge.hook(&old), 404);
    send(stage, &rotated);
    Outcome {
        answer: format!("200 {passed}x, then {}", gone.status),
        happened: format!(
            "{passed} of {sent} hooks admitted; the old URL is gone with token-previous (GitRepository/{NAMESPACE}/gitlab)"
        ),
        ok: passed == sent && sent >= 5,
    }
}
