//! What an operator does to a running edge: Contour and Envoy restarted, a certificate rotated, an Envoy drained.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use e2e::trials::{Trials, statuses};
use e2e::wait::{self, PATIENCE};

use crate::site::{Plan, Site};
use crate::stand::Stand;

pub(crate) fn trials(trials: Trials<Stand>) -> Trials<Stand> {
    trials
        .shared("while_contour_restarts_every_hook_is_answered", contour)
        .shared(
            "an_envoy_that_restarts_opens_again_with_the_same_table",
            envoy,
        )
        .shared("a_certificate_is_rotated_without_a_gap", |stand| {
            certificate(stand, "rotated", &Plan::default());
        })
        .shared("contours_shutdown_manager_sees_the_gate_drained", drained)
}

/// Sends hooks, genuine and forged, and asks the other host while `change` is made; how often.
fn under_load(site: &mut Site<'_>, change: impl FnOnce(&mut Site<'_>)) {
    let stop = AtomicBool::new(false);
    let (client, genuine, forged) = (site.client(), site.genuine(), site.forged());
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            let mut sent = 0;
            while !stop.load(Ordering::Relaxed) {
                for (request, status) in [(&genuine, 200), (&forged, 400)] {
                    let answer = client.send(request).expect("Envoy answers");
                    assert_eq!(answer.status, status, "after {sent} hooks");
                    sent += 1;
                }
            }
            sent
        });
        change(site);
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().expect("no hook is lost");
        assert!(sent > 1, "there was load");
    });
}

fn contour(stand: &Stand) {
    let mut site = Site::start(stand, "contour", &Plan::default());
    site.is_open(&stand.hookgate, "hookgate");
    under_load(&mut site, |site| {
        for _ in 0..2 {
            site.contour.stop();
            site.elsewhere().expect("no other host is touched");
            site.contour.start_again();
            site.elsewhere().expect("no other host is touched");
        }
    });
    site.is_open(&stand.hookgate, "hookgate");
}

fn envoy(stand: &Stand) {
    let mut site = Site::start(stand, "envoy", &Plan::default());
    for _ in 0..2 {
        site.is_open(&stand.hookgate, "hookgate");
        site.start_envoy();
        // Until it has the table, 503 and never anything else.
        let answer = site.send(site.forged()).status;
        assert!(matches!(answer, 400 | 503), "{answer}");
    }
    site.is_open(&stand.hookgate, "hookgate");
}

pub(crate) fn certificate(stand: &Stand, name: &str, plan: &Plan) {
    let mut site = Site::start(stand, name, plan);
    site.is_open(&stand.hookgate, "hookgate");
    let genuine = site.genuine();
    let former = site.rotate_certificate();
    // A sender is answered all the time, by the one certificate or the other.
    let waited = wait::until("the new certificate is shown", PATIENCE, || {
        // In this order: once the old one is refused, the new one is there to stay.
        let old = former.send(&genuine);
        let new = site.client().send(&genuine);
        assert!(new.is_ok() || old.is_ok(), "{new:?}, {old:?}");
        (new.is_ok() && old.is_err()).then_some(())
    });
    waited.expect("Contour hands it on");
    site.is_open(&stand.hookgate, "hookgate");
}

fn drained(stand: &Stand) {
    let site = Site::start(stand, "drained", &Plan::default());
    site.is_open(&stand.hookgate, "hookgate");
    // Connections to the internal listener are pooled.
    let seen = statuses(&site.client(), vec![site.genuine(); 64], 8);
    assert_eq!(seen, [200; 64]);
    let drained = site.contour.shut_down_envoy(Duration::from_secs(15));
    drained.expect("no connection is left");
}
