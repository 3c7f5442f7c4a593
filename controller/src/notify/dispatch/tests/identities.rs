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

/// A conversation that needs the token of a key, which one request fetches.
fn with_token(key: &str, body: &'static str) -> Exchange {
    let url = |path: &str| url::Url::parse(&format!("https://hooks.test/{path}")).unwrap();
    let login = HttpRequest::post(url("login")).json(&format!("login {key}"));
    let fetch = Conversation::ask(login, |_| {
        Ok(Conversation::done(Token {
            value: "f3tched-token".to_owned().into(),
            expires: u64::MAX,
        }))
    });
    let request = TokenRequest {
        key: key.to_owned(),
        source: TokenSource::Fetch(Box::new(fetch)),
    };
    Exchange::with_token(request, move |token| {
        let post = HttpRequest::post(url("post")).bearer(token).json(&body);
        Ok(Exchange::once(post))
    })
}

/// A driver that keeps so many tokens, and what became of each conversation that it drives.
struct Tokened {
    world: World,
    driver: Driver<Script>,
    said: Vec<Result<(), (String, bool)>>,
}

impl Tokened {
    fn new(script: Script, max: usize) -> Self {
        let world = World::start(script.clone(), vec![provider("a")]);
        let driver = Driver {
            transport: script,
            tokens: Tokens::new(TokenLimits {
                max,
                ..TokenLimits::default()
            }),
            metrics: world.metrics.clone(),
            identities: Identities::default(),
        };
        let said = Vec::new();
        Self {
            world,
            driver,
            said,
        }
    }

    async fn drive(&mut self, exchange: Exchange) {
        let (_objects, nothing) = watch::channel(None);
        let accounts = SnapshotSecrets(nothing);
        let target = Target {
            namespace: "apps".to_owned(),
            name: "a".to_owned(),
            ..Target::default()
        };
        let mut mask = Mask::of(&target);
        let driven = self.driver.drive(exchange, &target, &accounts, &mut mask);
        let said = driven
            .await
            .map_err(|broken| (mask.apply(&broken.failure.to_string()), broken.is_permanent));
        self.said.push(said);
    }

    /// What is scraped of the cache.
    fn scraped(&self) -> Vec<String> {
        let text = self.world.metrics.encode();
        let lines = text.lines().filter(|line| line.starts_with("gotk_token_"));
        let mut lines: Vec<_> = lines.map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

fn events(event_type: &str, n: u32) -> String {
    format!(
        "gotk_token_cache_events_total{{event_type=\"{event_type}\",kind=\"Provider\",name=\"a\",namespace=\"apps\",operation=\"post\"}} {n}"
    )
}

#[tokio::test]
async fn a_token_is_fetched_once_and_again_when_it_is_refused() {
    let script = Script::default().answers("refuse", &[Answer::Status(401, &[], "f3tched-token")]);
    let mut tokened = Tokened::new(script.clone(), 100);
    for body in ["one", "refuse", "two"] {
        tokened.drive(with_token("k", body)).await;
    }
    let stale = ("the server answered 401: *****".to_owned(), false);
    assert_eq!(tokened.said, [Ok(()), Err(stale), Ok(())]);
    let want = [
        "\"login k\"",
        "\"one\"",
        "\"refuse\"",
        "\"login k\"",
        "\"two\"",
    ];
    assert_eq!(script.sent_to("a"), want);
    let want = [
        events("cache_hit", 1),
        events("cache_miss", 2),
        "gotk_token_cache_evictions_total 0".to_owned(),
        "gotk_token_cache_requests_total{status=\"success\"} 3".to_owned(),
        "gotk_token_cached_items 1".to_owned(),
    ];
    assert_eq!(tokened.scraped(), want);
}

#[tokio::test]
async fn the_cache_of_tokens_is_counted_as_notification_controller_counts_it() {
    let script = Script::default().answers("login c", &[Answer::Status(500, &[], "")]);
    let mut tokened = Tokened::new(script, 1);
    for key in ["a", "a", "b", "c"] {
        tokened.drive(with_token(key, "post")).await;
    }
    let want = [
        events("cache_hit", 1),
        events("cache_miss", 3),
        "gotk_token_cache_evictions_total 2".to_owned(),
        "gotk_token_cache_requests_total{status=\"failure\"} 1".to_owned(),
        "gotk_token_cache_requests_total{status=\"success\"} 3".to_owned(),
        "gotk_token_cached_items 0".to_owned(),
    ];
    assert_eq!(tokened.scraped(), want);
}

#[tokio::test]
async fn where_no_token_is_kept_none_is_counted() {
    let mut tokened = Tokened::new(Script::default(), 0);
    for _ in 0..2 {
        tokened.drive(with_token("k", "post")).await;
    }
    assert_eq!(tokened.said, [Ok(()), Ok(())]);
    let nothing = [
        "gotk_token_cache_evictions_total 0",
        "gotk_token_cached_items 0",
    ];
    assert_eq!(tokened.scraped(), nothing);
}
