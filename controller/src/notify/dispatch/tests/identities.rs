//! Tokens and identities that deliveries need.

use super::*;

#[tokio::test]
async fn a_service_account_without_its_feature_gate_is_refused_whatever_the_type() {
    let mut named = provider("a");
    named.spec.service_account_name = Some("notifier".to_owned());
    let world = World::start(Script::default(), vec![named]);
    let id = world.accept("x", "hello", &["a"]).await;
    world.until_dead(id).await;
    assert_eq!(world.reason(id), identity::GATE_IS_OFF);
    assert_eq!(world.script.sent_to("a"), [""; 0]);
}

/// A conversation that needs a token, which one request fetches.
fn with_token(body: &'static str) -> Exchange {
    let url = |path: &str| url::Url::parse(&format!("https://hooks.test/{path}")).unwrap();
    let login = HttpRequest::post(url("login")).json(&"login");
    let fetch = Conversation::ask(login, |_| {
        Ok(Conversation::done(Token {
            value: "f3tched-token".to_owned().into(),
            expires: u64::MAX,
        }))
    });
    let request = TokenRequest {
        key: "k".to_owned(),
        source: TokenSource::Fetch(Box::new(fetch)),
    };
    Exchange::with_token(request, move |token| {
        let post = HttpRequest::post(url("post")).bearer(token).json(&body);
        Ok(Exchange::once(post))
    })
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let script = Script::default().answers("refuse", &[Answer::Status(401, &[], "f3tched-token")]);
    let world = World::start(script.clone(), vec![provider("a")]);
    let driver = Driver {
        transport: script.clone(),
        tokens: Tokens::new(TokenLimits::default()),
        metrics: world.metrics.clone(),
        identities: Identities::default(),
    };
    let (_objects, nothing) = watch::channel(None);
    let accounts = SnapshotSecrets(nothing);
    let target = Target {
        namespace: "apps".to_owned(),
        name: "a".to_owned(),
        ..Target::default()
    };
    let mut said = Vec::new();
    for body in ["one", "refuse", "two"] {
        let mut mask = Mask::of(&target);
        let driven = driver.drive(with_token(body), &target, &accounts, &mut mask);
        let driven = driven.await;
        said.push(
            driven.map_err(|(failure, is_permanent)| {
                (mask.apply(&failure.to_string()), is_permanent)
            }),
        );
    }
    let stale = ("the server answered 401: *****".to_owned(), false);
    assert_eq!(said, [Ok(()), Err(stale), Ok(())]);
    let want = ["\"login\"", "\"one\"", "\"refuse\"", "\"login\"", "\"two\""];
    assert_eq!(script.sent_to("a"), want);
    let text = world.metrics.encode();
    let line = "gotk_token_cache_events_total{event_type=\"cache_hit\",kind=\"Provider\",name=\"a\",namespace=\"apps\",operation=\"post\"} 1";
    assert!(text.contains(line), "{text}");
}
