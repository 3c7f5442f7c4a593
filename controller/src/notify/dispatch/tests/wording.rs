//! What messages say: templates, and digests of very many events.

use super::*;

/// Gives the Alert a template.
fn templated(world: &World, source: &str) {
    world.objects.send_modify(|objects| {
        let mut changed = objects.as_deref().cloned().unwrap();
        let alert = Arc::make_mut(&mut changed.alerts[0]);
        let annotation = (template::ANNOTATION.to_owned(), source.to_owned());
        alert.metadata.annotations = [annotation].into();
        *objects = Some(Arc::new(changed));
    });
}

#[tokio::test]
async fn a_template_words_the_message_and_a_retry_takes_the_template_of_then() {
    let down = Answer::Status(503, &[], "");
    let script = Script::default().answers("1: ", &[down]);
    let slow = Backoff {
        first: Duration::from_millis(200),
        ..QUICK
    };
    let world = World::with(script, vec![provider("a")], slow, Room::default());
    templated(&world, "1: {{ event.message }} of {{ object.name }}");
    world.accept("x", "{{ hello }}", &["a"]).await;
    world
        .until("the first attempt", |w| !w.script.sent_to("a").is_empty())
        .await;
    templated(&world, "2: {{ event.message }}");
    world.until_nothing_is_left().await;
    let want = ["1: {{ hello }} of x", "2: {{ hello }}"];
    assert_eq!(world.script.sent_to("a"), want);
}

#[tokio::test]
async fn a_template_that_fails_loses_no_alert_and_is_told_and_counted() {
    let world = World::start(Script::default(), vec![provider("a")]);
    for (n, source) in ["{{", "{{ metadata.a.b }}", "{{ metadata.a }}"]
        .iter()
        .enumerate()
    {
        templated(&world, source);
        world.accept("x", &format!("hello {n}"), &["a"]).await;
        world.until_nothing_is_left().await;
    }
    assert_eq!(world.script.sent_to("a"), ["hello 0", "hello 1", "hello 2"]);
    let told = world.told.0.lock().unwrap().clone();
    let begins = "apps/on-call InvalidConfig: annotation hookgate.dev/template failed, and the message of Bucket/apps/x is sent as it came: ";
    let ends = [
        "line 1: syntax error: unexpected end of input, expected expression",
        "line 1: undefined value",
        "its message is empty",
    ];
    assert_eq!(told, ends.map(|end| format!("{begins}{end}")));
    let text = world.metrics.encode();
    for line in [
        "hookgate_alert_template_failures_total{namespace=\"apps\",name=\"a\"} 3",
        "hookgate_alert_attempts_total{namespace=\"apps\",name=\"a\",outcome=\"delivered\"} 3",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[tokio::test]
async fn a_digest_of_very_many_is_several_messages_and_loses_none() {
    let world = World::start(Script::default(), vec![provider("a")]);
    let objects: Vec<String> = (0..=digest::MAX_EVENTS).map(|n| n.to_string()).collect();
    let objects: Vec<&str> = objects.iter().map(String::as_str).collect();
    world.accept_digest(&objects).await;
    world.until_nothing_is_left().await;
    let sent = world.script.sent_to("a");
    let firsts: Vec<_> = sent.iter().filter_map(|text| text.lines().next()).collect();
    assert_eq!(firsts, ["200 events:", "200 is fine"]);
}

#[tokio::test]
async fn a_template_words_a_digest_as_a_whole() {
    let world = World::start(Script::default(), vec![provider("a")]);
    templated(&world, "{{ event.reason }}: {{ event.message|first_line }}");
    world.accept_digest(&["x", "y"]).await;
    world.until_nothing_is_left().await;
    assert_eq!(world.script.sent_to("a"), ["Done: 2 events:"]);
}
