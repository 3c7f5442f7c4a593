//! What is counted, kept and told.

use super::*;

const NOW: u64 = 1_000_000;

fn settled() -> (Activities, mpsc::Receiver<Trouble>) {
    let (activities, troubles) = Activities::telling();
    activities.settle([("ns/a", "github")].into_iter());
    (activities, troubles)
}

fn report(of: &[(&str, &str, u64)]) -> Report {
    let mut report = Report::default();
    for (receiver, reason, at) in of {
        report.count(receiver, reason, *reason == ADMITTED, *at);
    }
    report
}

#[test]
fn only_receivers_that_there_are_are_counted() {
    let (activities, _) = settled();
    activities.reported(
        &report(&[("ns/a", "signature", 7), ("ns/b", "signature", 7)]),
        NOW,
    );
    activities.decided("ns/b", "signature", NOW);
    assert_eq!(activities.of("ns/b"), Activity::default());
    let (name, activity) = activities.seen().remove(0);
    assert_eq!(name, "ns/a");
    assert_eq!(
        activity.edge_counts,
        BTreeMap::from([("signature".into(), 1)])
    );
    assert_eq!(activity.refused_at, Some(7));
    assert_eq!(activities.seen().len(), 1);
}

#[test]
fn a_receiver_of_another_type_or_one_that_comes_back_begins_anew() {
    let (activities, _) = settled();
    activities.decided("ns/a", "signature", NOW);
    activities.settle([("ns/a", "github")].into_iter());
    assert_eq!(activities.seen().len(), 1);
    activities.settle([("ns/a", "gitlab")].into_iter());
    assert_eq!(activities.seen(), []);
    activities.decided("ns/a", "token", NOW);
    activities.settle([].into_iter());
    activities.settle([("ns/a", "gitlab")].into_iter());
    assert_eq!(activities.seen(), []);
}

#[test]
fn a_genuine_hook_that_is_ignored_is_no_refusal() {
    let (activities, mut troubles) = settled();
    activities.triggered("ns/a", Triggered::Done, String::new(), NOW);
    activities.decided("ns/a", IGNORED, NOW + 1);
    activities.reported(&report(&[("ns/a", IGNORED, NOW + 2)]), NOW + 3);
    let activity = activities.of("ns/a");
    assert_eq!((activity.refused, activity.refused_at), (None, None));
    assert_eq!(activity.counts[IGNORED] + activity.edge_counts[IGNORED], 2);
    assert!(troubles.try_recv().is_err());
}

#[test]
fn a_refusal_or_a_failed_trigger_after_a_success_is_told_once_and_a_flood_is_not() {
    let (activities, mut troubles) = settled();
    let trouble = |reason, message: &str| Trouble {
        receiver: "ns/a".to_owned(),
        reason,
        message: message.to_owned(),
    };
    for at in 0..1_000 {
        activities.decided("ns/a", "signature", at);
    }
    assert!(troubles.try_recv().is_err(), "it never worked");

    activities.triggered("ns/a", Triggered::Done, "1 of 1 requested".to_owned(), NOW);
    let refused = report(&[("ns/a", "signature", NOW + 1)]);
    for _ in 0..1_000 {
        activities.reported(&refused, NOW + 2);
    }
    let told = trouble("HookRefused", "hook refused: signature");
    assert_eq!(troubles.try_recv(), Ok(told));
    assert!(troubles.try_recv().is_err());

    let later = NOW + standing::QUIET_MS + 2;
    activities.triggered("ns/a", Triggered::Replayed, "none".to_owned(), later);
    let text = "0 of 1 requested, forbidden: 1".to_owned();
    activities.triggered("ns/a", Triggered::Failed, text.clone(), later + 1);
    activities.triggered("ns/a", Triggered::Later, text, later + 2);
    let message = "hook accepted, but not done: 0 of 1 requested, forbidden: 1";
    assert_eq!(troubles.try_recv(), Ok(trouble("TriggerFailed", message)));
    assert!(troubles.try_recv().is_err());
}

#[test]
fn the_last_deliveries_are_kept_and_no_more() {
    let (activities, _) = settled();
    for n in 0..20 {
        activities.triggered("ns/a", Triggered::Done, n.to_string(), n);
    }
    let activity = activities.of("ns/a");
    let kept: Vec<_> = activity.deliveries.iter().map(|d| d.at).collect();
    assert_eq!(kept, (12..20).collect::<Vec<_>>());
    assert_eq!(activity.triggers, BTreeMap::from([("done", 20)]));
}

#[test]
fn a_report_from_the_future_does_not_silence_what_comes() {
    let (activities, _) = settled();
    activities.reported(
        &report(&[("ns/a", ADMITTED, u64::MAX), ("ns/a", "token", u64::MAX)]),
        NOW,
    );
    let activity = activities.of("ns/a");
    assert_eq!(
        (activity.admitted_at, activity.refused_at),
        (Some(NOW), Some(NOW))
    );
    activities.decided("ns/a", "signature", NOW + 1);
    assert_eq!(activities.of("ns/a").refused, Some("signature".to_owned()));
}
