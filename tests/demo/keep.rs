//! `--keep`: says where everything is and what to try, and waits for Ctrl-C.

use std::thread;

use e2e::forge::{Hook, payload, prefixed};
use e2e::wait::POLL;

use crate::interrupted;
use crate::stage::Stage;

/// Prints the lines to try and waits.
pub(crate) fn until_interrupted(stage: &Stage) {
    println!("{}", text(stage));
    while !interrupted() {
        thread::sleep(POLL);
    }
    eprintln!("demo: stopping");
}

fn text(stage: &Stage) -> String {
    let world = &stage.world;
    let addresses = world.controller().addresses();
    let github = world.receiver("github");
    let payloads = e2e::binaries::workspace().join("tests/payloads");
    let push = payloads.join("github_push.json");
    let signed = prefixed("sha256", &github.token, payload::GITHUB_PUSH);
    let forged = prefixed("sha256", b"a guess", payload::GITHUB_PUSH);
    let url = |hook: &Hook| format!("https://localhost:{}{}", world.listener().port(), hook.path);
    let curl = format!(
        "curl -i --cacert {} -H 'Content-Type: application/json'",
        world.tls.ca_file().display()
    );
    let gitlab = world.receiver("gitlab");
    format!(
        "
Everything is left running until Ctrl-C. Try:

# a genuine GitHub push: 200
{curl} -H 'X-GitHub-Event: push' \\
  -H 'X-Hub-Signature-256: {signed}' \\
  --data-binary @{push} {github_url}

# the same, forged: 400, answered by Envoy
{curl} -H 'X-GitHub-Event: push' \\
  -H 'X-Hub-Signature-256: {forged}' \\
  --data-binary @{push} {github_url}

# a GitLab push: 200
{curl} -H 'X-Gitlab-Event: Push Hook' -H 'X-Gitlab-Token: {gitlab_token}' \\
  --data-binary @{gitlab_push} {gitlab_url}

# what was asked of Flux
curl -s http://{health}/debug/requests

# metrics of the controller, of the filter
curl -s http://{metrics}/metrics | grep hookgate
curl -s http://{admin}/stats | grep hookgate

# the Receivers and Secrets: edit them, the gate follows
{manifests}
",
        push = push.display(),
        github_url = url(&world.hook("github")),
        gitlab_token = String::from_utf8_lossy(&gitlab.token),
        gitlab_push = payloads.join("gitlab_push.json").display(),
        gitlab_url = url(&world.hook("gitlab")),
        health = addresses.health,
        metrics = addresses.metrics,
        admin = world.envoy().admin_address(),
        manifests = world.manifests.dir().display(),
    )
}
