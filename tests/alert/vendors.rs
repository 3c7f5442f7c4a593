//! Providers that ask before they tell, sign what they tell, or log in first, each at a server in this process that answers
//! as its vendor documents it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use e2e::Sink;
use e2e::events::{COMMIT, Event};
use e2e::sink::Call;
use e2e::trials::Trials;
use ring::hmac;
use serde_json::{Value, json};

use crate::real::{is_hushed, real};
use crate::{NAMESPACE, Stand, folder};

/// A key for tests, which guards nothing.
const KEY: &str = include_str!("../harness/forge/rsa-test-key.pem");
/// The beginning of every secret here.
const HUSH: &str = "hush-";

pub(crate) fn trials(trials: Trials) -> Trials {
    trials
        .alone(
            "an_event_is_a_comment_on_a_github_pull_request_that_the_next_event_changes",
            || comment(&GITHUB_COMMENTS),
        )
        .alone(
            "an_event_is_a_note_on_a_gitlab_merge_request_that_the_next_event_changes",
            || comment(&GITLAB_NOTES),
        )
        .alone(
            "an_event_is_a_comment_on_a_gitea_pull_request_that_the_next_event_changes",
            || comment(&GITEA_COMMENTS),
        )
        .alone(
            "a_github_status_is_set_once_and_again_when_it_changes",
            || status(&GITHUB),
        )
        .alone(
            "a_gitlab_status_is_set_once_and_again_when_it_changes",
            || status(&GITLAB),
        )
        .alone(
            "a_gitea_status_is_set_once_and_again_when_it_changes",
            || status(&GITEA),
        )
        .alone(
            "a_bitbucket_server_build_is_set_once_and_again_when_it_changes",
            || status(&BITBUCKET_SERVER),
        )
        .alone("a_github_app_logs_in_once_for_all_its_events", github_app)
        .alone("an_event_is_signed_over_its_very_bytes", signed)
        .alone("an_event_is_a_form_with_a_login_at_zulip", form)
}

/// A controller with the Provider `real` of a type at a vendor.
fn stand(vendor: &Sink, r#type: &str, path: &str, secret: &Value) -> Stand {
    let spec = json!({
        "type": r#type, "address": format!("{}{path}", vendor.url()), "channel": "general/alerts",
    });
    let mut objects = real(spec, secret, None);
    for object in &mut objects {
        if object["kind"] == "Provider" {
            object["metadata"]["uid"] = json!("0c9c2e41-d2f9-4f9b-9c41-bebc1984d67a");
        }
    }
    Stand::with(folder(), &objects)
}

/// Posts an event; what the vendor was asked for since the `seen` requests before, as soon as that is so many.
fn post(stand: &Stand, vendor: &Sink, event: &Event, seen: usize, asked: usize) -> Vec<Call> {
    assert_eq!(event.post(stand.options.addresses.events), 202);
    let mut calls = vendor.await_taken("/", seen + asked);
    stand.await_quiet();
    assert_eq!(vendor.count(), seen + asked, "{calls:?}");
    assert!(is_hushed(stand, HUSH));
    calls.split_off(seen)
}

fn lines(calls: &[Call]) -> Vec<String> {
    calls.iter().map(Call::line).collect()
}

/// A forge that takes comments, the change request being number 7.
struct Comments {
    r#type: &'static str,
    path: &'static str,
    /// Who the token belongs to, and what the forge says then.
    who: (&'static str, &'static str),
    /// Header and value that log in.
    login: (&'static str, &'static str),
    /// The comments, and the query for the first page.
    list: (&'static str, &'static str),
    /// How comment 41 is changed.
    change: (&'static str, &'static str),
    /// How an author is told.
    author: fn() -> (&'static str, Value),
}

const GITHUB_COMMENTS: Comments = Comments {
    r#type: "githubpullrequestcomment",
    path: "/acme/web",
    who: ("/api/v3/user", r#"{"login":"flux-bot","id":1}"#),
    login: ("authorization", "Bearer hush-token"),
    list: (
        "/api/v3/repos/acme/web/issues/7/comments",
        "per_page=100&page=1",
    ),
    change: ("PATCH", "/api/v3/repos/acme/web/issues/comments/41"),
    author: || ("user", json!({"login": "flux-bot", "id": 1})),
};

const GITLAB_NOTES: Comments = Comments {
    r#type: "gitlabmergerequestcomment",
    path: "/acme/shop/web",
    who: ("/api/v4/user", r#"{"username":"flux-bot","id":1}"#),
    login: ("private-token", "hush-token"),
    list: (
        "/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes",
        "order_by=created_at&page=1&per_page=100&sort=asc",
    ),
    change: (
        "PUT",
        "/api/v4/projects/acme%2Fshop%2Fweb/merge_requests/7/notes/41",
    ),
    author: || ("author", json!({"username": "flux-bot", "id": 1})),
};

const GITEA_COMMENTS: Comments = Comments {
    r#type: "giteapullrequestcomment",
    path: "/acme/web.git",
    who: (
        "/api/v1/user",
        r#"{"login":"flux-bot","username":"flux-bot","id":1}"#,
    ),
    login: ("authorization", "token hush-token"),
    list: (
        "/api/v1/repos/acme/web/issues/7/comments",
        "limit=100&page=1",
    ),
    change: ("PATCH", "/api/v1/repos/acme/web/issues/comments/41"),
    author: || {
        (
            "user",
            json!({"login": "flux-bot", "username": "flux-bot", "id": 1}),
        )
    },
};

fn comment(forge: &Comments) {
    let vendor = Sink::start();
    vendor.answer("GET", forge.who.0, 200, forge.who.1);
    let stand = stand(
        &vendor,
        forge.r#type,
        forge.path,
        &json!({"token": "hush-token"}),
    );
    let about = |message: &str| {
        let event = Event::failed(NAMESPACE, "webapp", message);
        event.metadata("event.toolkit.fluxcd.io/change_request", "7")
    };
    let (list, query) = forge.list;
    let calls = post(&stand, &vendor, &about("validation failed"), 0, 3);
    let asks = [
        format!("GET {}", forge.who.0),
        format!("GET {list}?{query}"),
    ];
    let want = [&asks[..], &[format!("POST {list}")]].concat();
    assert_eq!(lines(&calls), want);
    let (header, login) = forge.login;
    assert!(
        calls.iter().all(|call| call.header(header) == login),
        "{calls:?}"
    );
    let made = calls[2].json()["body"].clone();

    // The forge has it from now on, behind somebody's quotation of it.
    let text = made.as_str().unwrap_or_default();
    let (author, own) = (forge.author)();
    let comments = json!([
        {"id": 40, "body": format!("> {text}"), author: own},
        {"id": 41, "body": text, author: own},
    ]);
    vendor.answer("GET", list, 200, &comments.to_string());
    let calls = post(&stand, &vendor, &about("still failing"), 3, 3);
    let (method, change) = forge.change;
    let want = [&asks[..], &[format!("{method} {change}")]].concat();
    assert_eq!(lines(&calls), want);
    let changed = calls[2].json();
    assert_eq!(
        changed["body"],
        json!(text.replace("validation failed", "still failing"))
    );
}

/// A forge that takes statuses of commits.
struct Statuses {
    r#type: &'static str,
    path: &'static str,
    login: (&'static str, &'static str),
    /// Where the statuses of the commit are listed, with which query.
    list: (&'static str, &'static str),
    /// What is listed where there is none.
    none: (u16, &'static str),
    /// Where one is set.
    set: &'static str,
    /// How the forge lists what was set.
    listed: fn(&Value) -> Value,
    /// Its words for failure and success, in this field.
    states: (&'static str, [&'static str; 2]),
}

/// A path with the commit in it.
fn at(path: &str) -> String {
    path.replace("{sha}", COMMIT)
}

const GITHUB: Statuses = Statuses {
    r#type: "github",
    path: "/acme/web",
    login: ("authorization", "Bearer hush-token"),
    list: (
        "/api/v3/repos/acme/web/commits/{sha}/statuses",
        "per_page=100",
    ),
    none: (200, "[]"),
    set: "/api/v3/repos/acme/web/statuses/{sha}",
    listed: |set| json!([set]),
    states: ("state", ["failure", "success"]),
};

const GITLAB: Statuses = Statuses {
    r#type: "gitlab",
    path: "/acme/shop/web",
    login: ("private-token", "hush-token"),
    list: (
        "/api/v4/projects/acme%2Fshop%2Fweb/repository/commits/{sha}/statuses",
        "name=kustomization%2Fwebapp%2F0c9c2e41&per_page=100",
    ),
    none: (200, "[]"),
    set: "/api/v4/projects/acme%2Fshop%2Fweb/statuses/{sha}",
    listed: |set| {
        json!([{
            "id": 1, "sha": COMMIT, "status": set["state"], "name": set["name"],
            "description": set["description"],
        }])
    },
    states: ("state", ["failed", "success"]),
};

const GITEA: Statuses = Statuses {
    r#type: "gitea",
    path: "/acme/web.git",
    login: ("authorization", "token hush-token"),
    list: (
        "/api/v1/repos/acme/web/commits/{sha}/statuses",
        "limit=50&page=1",
    ),
    none: (200, "null"),
    set: "/api/v1/repos/acme/web/statuses/{sha}",
    listed: |set| {
        json!([{
            "id": 1, "status": set["state"], "context": set["context"],
            "description": set["description"],
        }])
    },
    states: ("state", ["failure", "success"]),
};

const BITBUCKET_SERVER: Statuses = Statuses {
    r#type: "bitbucketserver",
    path: "/scm/acme/web.git",
    login: ("authorization", "Bearer hush-token"),
    list: (
        "/rest/api/latest/projects/acme/repos/web/commits/{sha}/builds",
        "key=KEY",
    ),
    none: (404, "{}"),
    set: "/rest/api/latest/projects/acme/repos/web/commits/{sha}/builds",
    listed: |set| set.clone(),
    states: ("state", ["FAILED", "SUCCESSFUL"]),
};

fn status(forge: &Statuses) {
    let vendor = Sink::start();
    let (list, set) = (at(forge.list.0), at(forge.set));
    vendor.answer("GET", &list, forge.none.0, forge.none.1);
    let stand = stand(
        &vendor,
        forge.r#type,
        forge.path,
        &json!({"token": "hush-token"}),
    );
    let failed = |message: &str| Event::failed(NAMESPACE, "webapp", message);
    let calls = post(&stand, &vendor, &failed("validation failed"), 0, 2);
    let ask = calls[0].line();
    let is_list = ask
        .strip_prefix(&format!("GET {list}?"))
        .is_some_and(|query| {
            // Bitbucket's key is a hash of the name.
            let (name, _) = query.split_once('=').unwrap_or_default();
            query == forge.list.1 || forge.list.1 == format!("{name}=KEY")
        });
    assert!(is_list, "{ask}");
    assert_eq!(calls[1].line(), format!("POST {set}"));
    let (header, login) = forge.login;
    assert!(
        calls.iter().all(|call| call.header(header) == login),
        "{calls:?}"
    );
    let first = calls[1].json();
    let (field, [failure, success]) = forge.states;
    assert_eq!(first[field], failure, "{first}");

    // It says so by now: the same once more would be one more line in the forge's list.
    let listed = (forge.listed)(&first);
    vendor.answer("GET", &list, 200, &listed.to_string());
    let calls = post(&stand, &vendor, &failed("still failing"), 2, 1);
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].line(), ask);

    let applied = Event::applied(NAMESPACE, "webapp", "applied");
    let applied = applied.metadata("event.toolkit.fluxcd.io/commit", COMMIT);
    let calls = post(&stand, &vendor, &applied, 3, 2);
    assert_eq!(lines(&calls), [ask, format!("POST {set}")]);
    assert_eq!(calls[1].json()[field], success);
}

fn github_app() {
    let vendor = Sink::start();
    let tokens = "/app/installations/7/access_tokens";
    let token = json!({"token": "hush-installation-token", "expires_at": "2099-01-01T00:00:00Z"});
    vendor.answer("POST", tokens, 201, &token.to_string());
    let secret = json!({
        "githubAppID": "5", "githubAppInstallationID": "7", "githubAppPrivateKey": KEY,
        "githubAppBaseURL": vendor.url(),
    });
    let stand = stand(&vendor, "githubdispatch", "/acme/web", &secret);
    let dispatches = "POST /api/v3/repos/acme/web/dispatches";
    let failed = |message: &str| Event::failed(NAMESPACE, "webapp", message);
    let calls = post(&stand, &vendor, &failed("validation failed"), 0, 2);
    assert_eq!(lines(&calls), [&format!("POST {tokens}"), dispatches]);
    let shown = calls[0].header("authorization");
    let claims = shown.split('.').nth(1).unwrap_or_default();
    let claims = URL_SAFE_NO_PAD.decode(claims).unwrap_or_default();
    let claims: Value = serde_json::from_slice(&claims).unwrap_or_default();
    assert_eq!(claims["iss"], "5", "{shown}");
    let calls = post(&stand, &vendor, &failed("still failing"), 2, 1);
    assert_eq!(lines(&calls), [dispatches]);
    assert_eq!(
        calls[0].header("authorization"),
        "Bearer hush-installation-token"
    );
    let controller = stand.controller.as_ref().expect("it runs");
    let metric = |name: &str, labels: &[&str]| controller.metric(name, labels);
    let events = |kind: &str| metric("gotk_token_cache_events_total", &["name=\"real\"", kind]);
    let counted = [
        metric("gotk_token_cached_items", &[]),
        metric("gotk_token_cache_requests_total", &["status=\"success\""]),
        metric("gotk_token_cache_evictions_total", &[]),
        events("cache_miss"),
        events("cache_hit"),
    ];
    assert_eq!(counted, [1.0, 2.0, 0.0, 1.0, 1.0]);
}

fn signed() {
    let vendor = Sink::start();
    let secret = json!({"token": "hush-key"});
    let stand = stand(&vendor, "generic-hmac", "/signed", &secret);
    let event = Event::failed(NAMESPACE, "webapp", "<b> & \u{2028}");
    let call = post(&stand, &vendor, &event, 0, 1).remove(0);
    let shown = call.header("x-signature").strip_prefix("sha256=");
    let tag: Vec<u8> = shown
        .unwrap_or_default()
        .as_bytes()
        .chunks(2)
        .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, b"hush-key");
    assert_eq!(hmac::verify(&key, &call.body, &tag), Ok(()), "{call:?}");
    assert_eq!(call.json()["message"], "<b> & \u{2028}");
}

fn form() {
    let vendor = Sink::start();
    vendor.answer("POST", "/api/v1/messages", 200, r#"{"result":"success"}"#);
    let secret = json!({"username": "bot@zulip.test", "password": "hush-password"});
    let stand = stand(&vendor, "zulip", "", &secret);
    let event = Event::failed(NAMESPACE, "webapp", "validation & failed");
    let call = post(&stand, &vendor, &event, 0, 1).remove(0);
    let basic = STANDARD.encode("bot@zulip.test:hush-password");
    assert_eq!(
        (
            call.line().as_str(),
            call.header("content-type"),
            call.header("authorization")
        ),
        (
            "POST /api/v1/messages",
            "application/x-www-form-urlencoded",
            format!("Basic {basic}").as_str()
        )
    );
    let body = String::from_utf8_lossy(&call.body).into_owned();
    let (content, rest) = body.split_once('&').unwrap_or_default();
    assert_eq!(rest, "to=general&topic=alerts&type=stream");
    assert!(content.contains("validation+%26amp%3B+failed"), "{content}");
}
