//! A Provider at which nobody answers, as the metrics tell it.

use super::*;

/// What a scrape says of its being held back.
fn held_back(world: &World) -> Option<String> {
    let metrics = &world.metrics;
    metrics.alerts.spool(&world.spool.stats(), clock::now_ms());
    let text = metrics.encode();
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix("hookgate_alert_held_back{"));
    line.map(str::to_owned)
}

#[tokio::test]
async fn a_provider_that_nobody_answers_at_is_told_as_held_back_until_somebody_does() {
    let silence = [(); 5].map(|()| Answer::Broken("refused"));
    let refusal = [Answer::Status(400, &[], "no")];
    let script = Script::default()
        .answers("m", &silence)
        .answers("poison", &refusal);
    let world = World::start(script, vec![provider("a")]);
    world.accept("x", "m", &["a"]).await;
    let is = |word: u8| Some(format!("namespace=\"apps\",name=\"a\"}} {word}"));
    world
        .until("it is held back", |w| held_back(w) == is(1))
        .await;
    // What is refused for good is answered.
    let id = world.accept("y", "poison", &["a"]).await;
    world.until_dead(id).await;
    assert_eq!(held_back(&world), is(0));
}
