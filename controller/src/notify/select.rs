//! Which Alerts take an event, and to which Providers it goes. Pure: compiled once whenever Alerts
//! or Providers change.
//!
//! Matching is nc's: the first source that matches decides, then the inclusion list, then the
//! exclusion list, on the raw message. What is wrong with an Alert is a [`Warning`] on it, and never
//! takes the others away.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};

use regex::Regex;

use super::delivery::Name;
use super::{go_regex, metadata};
use crate::api::alert::{Alert, EventSource};
use crate::api::event::Event;
use crate::api::meta::is_label;
use crate::api::provider::Provider;
use crate::api::reference::ResourceRef;
use crate::provider::{self, Takes};

/// The prefix of annotations of ours.
const PREFIX: &str = "hookgate.dev/";
/// Which namespaces sources without one are looked for in.
const NAMESPACES: &str = "hookgate.dev/namespaces";
/// The annotations of Alerts that are ours.
const KNOWN: [&str; 1] = [NAMESPACES];
/// Namespaces in one annotation.
const MAX_NAMESPACES: usize = 256;

/// nc's reasons of Warnings on Alerts.
pub mod reason {
    /// Setting up or sending failed.
    pub const DISPATCH_FAILED: &str = "NotificationDispatchFailed";
    /// The Alert's spec or annotations can't be used as they are.
    pub const INVALID_CONFIG: &str = "InvalidConfig";
    /// Keys of the metadata come from more than one source.
    pub const METADATA: &str = "MetadataAppendFailed";
    /// The labels of an involved object can't be had.
    pub const SOURCE_FETCH_FAILED: &str = "SourceFetchFailed";
}

/// Something that an Alert's owner has to know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// nc's reason word.
    pub reason: &'static str,
    /// What is wrong, without secrets.
    pub message: String,
}

/// All Alerts, ready to be asked.
#[derive(Debug, Default)]
pub struct Alerts {
    alerts: Vec<Compiled>,
    /// By namespace and kind of the involved object.
    there: HashMap<(String, String), Vec<usize>>,
    /// By kind, of Alerts that look in every namespace.
    everywhere: HashMap<String, Vec<usize>>,
    no_cross_namespace_refs: bool,
    /// What is wrong with Alerts, by `namespace/name`.
    pub warnings: BTreeMap<Name, Vec<Warning>>,
}

#[derive(Debug)]
struct Compiled {
    name: Name,
    namespace: String,
    provider: Name,
    /// `None` while there is no such Provider or type: then nothing is known against sending.
    takes: Option<Takes>,
    sources: Vec<EventSource>,
    namespaces: Namespaces,
    severity: String,
    /// `None` for a list that lets everything in.
    inclusion: Option<Vec<Regex>>,
    exclusion: Vec<Regex>,
}

/// Where sources without a namespace look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Namespaces {
    #[default]
    Own,
    All,
    Listed(Vec<String>),
}

/// What becomes of an event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Alert and Provider of each delivery.
    pub deliveries: Vec<(Name, Name)>,
    /// Alerts that matched, but whose Provider takes no such event, and what the event lacks.
    pub unfit: Vec<(Name, &'static str)>,
    /// What Alerts' owners have to know.
    pub warnings: Vec<(Name, Warning)>,
}

/// The labels of an object, if there is one.
pub type Labels<'a> = dyn Fn(&ResourceRef) -> Option<BTreeMap<String, String>> + 'a;

impl Alerts {
    /// Compiles Alerts. Suspended ones, and those whose Provider is, take nothing.
    pub fn compile<A: Borrow<Alert>, P: Borrow<Provider>>(
        alerts: &[A],
        providers: &[P],
        no_cross_namespace_refs: bool,
    ) -> Self {
        let providers: HashMap<_, _> = providers
            .iter()
            .map(Borrow::borrow)
            .map(|p: &Provider| ((p.metadata.namespace.as_str(), p.metadata.name.as_str()), p))
            .collect();
        let mut all = Self {
            no_cross_namespace_refs,
            ..Self::default()
        };
        for alert in alerts.iter().map(Borrow::borrow) {
            let place = (
                alert.metadata.namespace.as_str(),
                alert.spec.provider_ref.name.as_str(),
            );
            let mut warnings = Vec::new();
            let provider = providers.get(&place).copied();
            if let Some(text) = provider_problem(alert, provider) {
                warnings.push(invalid(text));
            }
            let compiled = compile(alert, provider, no_cross_namespace_refs, &mut warnings);
            if !warnings.is_empty() {
                all.warnings.insert(compiled.name.clone(), warnings);
            }
            if !alert.spec.suspend && !provider.is_some_and(|p| p.spec.suspend) {
                all.add(compiled);
            }
        }
        all
    }

    fn add(&mut self, alert: Compiled) {
        let at = self.alerts.len();
        for source in &alert.sources {
            let kind = source.kind.clone();
            let namespaces = match (source.namespace.as_str(), &alert.namespaces) {
                ("", Namespaces::Own) => vec![alert.namespace.clone()],
                ("", Namespaces::All) => {
                    push_once(self.everywhere.entry(kind).or_default(), at);
                    continue;
                }
                ("", Namespaces::Listed(listed)) => listed.clone(),
                (named, _) => vec![named.to_owned()],
            };
            for namespace in namespaces {
                push_once(self.there.entry((namespace, kind.clone())).or_default(), at);
            }
        }
        self.alerts.push(alert);
    }

    /// Which Alerts take an event whose metadata was cleaned, in the order of Alerts.
    pub fn select(&self, event: &Event, labels: &Labels<'_>) -> Selection {
        let object = &event.involved_object;
        let place = (object.namespace.clone(), object.kind.clone());
        let here = self.there.get(&place).into_iter().flatten();
        let anywhere = self.everywhere.get(&object.kind).into_iter().flatten();
        let mut candidates: Vec<usize> = here.chain(anywhere).copied().collect();
        candidates.sort_unstable();
        candidates.dedup();
        let mut selection = Selection::default();
        for alert in candidates.iter().filter_map(|at| self.alerts.get(*at)) {
            if alert.takes(event, labels, &mut selection.warnings) {
                self.decide(alert, event, &mut selection);
            }
        }
        selection
    }

    /// What nc decides when it has a matching Alert in hand.
    fn decide(&self, alert: &Compiled, event: &Event, selection: &mut Selection) {
        let object = &event.involved_object;
        if self.no_cross_namespace_refs && object.namespace != alert.namespace {
            let message = format!(
                "discarding event, access denied to cross-namespace sources: alert '{}' can't process event from '{object}', cross-namespace references have been blocked",
                alert.name
            );
            let warning = Warning {
                reason: reason::DISPATCH_FAILED,
                message,
            };
            selection.warnings.push((alert.name.clone(), warning));
            return;
        }
        let is_update = metadata::own(event, "commit_status") == Some("update");
        let has = |key| metadata::annotation(event, key).is_some();
        let lacks = match alert.takes {
            Some(Takes::Messages | Takes::ChangeRequests) if is_update => return,
            Some(Takes::CommitStatuses) if !(is_update || has("commit") || event.is_error()) => {
                "commit"
            }
            Some(Takes::ChangeRequests) if !has("change_request") => "change_request",
            Some(_) | None => {
                let delivery = (alert.name.clone(), alert.provider.clone());
                selection.deliveries.push(delivery);
                return;
            }
        };
        selection.unfit.push((alert.name.clone(), lacks));
    }
}

impl Compiled {
    fn takes(
        &self,
        event: &Event,
        labels: &Labels<'_>,
        warnings: &mut Vec<(Name, Warning)>,
    ) -> bool {
        let mut matched = false;
        for source in &self.sources {
            match self.matches(source, event, labels) {
                Ok(matches) => matched = matches,
                Err(warning) => warnings.push((self.name.clone(), warning)),
            }
            if matched {
                break;
            }
        }
        let is_match = |regex: &Regex| regex.is_match(&event.message);
        matched
            && self
                .inclusion
                .as_ref()
                .is_none_or(|list| list.iter().any(is_match))
            && !self.exclusion.iter().any(is_match)
    }

    fn matches(
        &self,
        source: &EventSource,
        event: &Event,
        labels: &Labels<'_>,
    ) -> Result<bool, Warning> {
        let object = &event.involved_object;
        let is_here = match (source.namespace.as_str(), &self.namespaces) {
            ("", Namespaces::Own) => object.namespace == self.namespace,
            ("", Namespaces::All) => true,
            ("", Namespaces::Listed(listed)) => listed.contains(&object.namespace),
            (named, _) => object.namespace == named,
        };
        let is_grave = self.severity == "info" || self.severity == event.severity;
        let is_named = source.name == "*" || source.name == object.name;
        if !(is_here && source.kind == object.kind && is_grave && is_named) {
            return Ok(false);
        }
        let Some(wanted) = &source.match_labels else {
            return Ok(true);
        };
        let reference = ResourceRef {
            api_version: object.api_version.clone(),
            kind: object.kind.clone(),
            namespace: object.namespace.clone(),
            name: object.name.clone(),
        };
        let found = labels(&reference).ok_or_else(|| Warning {
            reason: reason::SOURCE_FETCH_FAILED,
            message: format!("error getting source object {object}"),
        })?;
        Ok(wanted
            .iter()
            .all(|(key, value)| found.get(key) == Some(value)))
    }
}

fn compile(
    alert: &Alert,
    provider: Option<&Provider>,
    no_cross_namespace_refs: bool,
    warnings: &mut Vec<Warning>,
) -> Compiled {
    let (metadata, spec) = (&alert.metadata, &alert.spec);
    let namespaces = namespaces(alert, no_cross_namespace_refs, warnings);
    let mut sources = Vec::new();
    for source in &spec.event_sources {
        if source.match_labels.iter().flatten().all(is_label_pair) {
            sources.push(source.clone());
        } else {
            let namespace = match source.namespace.as_str() {
                "" => &metadata.namespace,
                named => named,
            };
            let (kind, name) = (&source.kind, &source.name);
            warnings.push(invalid(format!(
                "error using matchLabels from event source {kind}/{namespace}/{name}"
            )));
        }
    }
    let inclusion = patterns(&spec.inclusion_list, "inclusion", warnings);
    Compiled {
        name: format!("{}/{}", metadata.namespace, metadata.name).into(),
        namespace: metadata.namespace.clone(),
        provider: format!("{}/{}", metadata.namespace, spec.provider_ref.name).into(),
        takes: provider.and_then(|p| Some(provider::find(&p.spec.r#type)?.takes())),
        sources,
        namespaces,
        severity: spec.event_severity.clone(),
        // A list of nothing but invalid patterns lets nothing in, as in nc.
        inclusion: (!spec.inclusion_list.is_empty()).then_some(inclusion),
        exclusion: patterns(&spec.exclusion_list, "exclusion", warnings),
    }
}

fn provider_problem(alert: &Alert, provider: Option<&Provider>) -> Option<String> {
    let name = &alert.spec.provider_ref.name;
    match provider {
        None => Some(format!(
            "there is no Provider {name:?} in namespace {:?}; its events wait for it",
            alert.metadata.namespace
        )),
        Some(provider) => provider::find(&provider.spec.r#type).is_none().then(|| {
            format!(
                "type {:?} of Provider {name:?} is not known",
                provider.spec.r#type
            )
        }),
    }
}

fn patterns(list: &[String], which: &str, warnings: &mut Vec<Warning>) -> Vec<Regex> {
    let mut compiled = Vec::new();
    for pattern in list {
        match go_regex::compile(pattern) {
            Ok(regex) => compiled.push(regex),
            Err(error) => warnings.push(invalid(format!(
                "failed to compile {which} regex: {pattern}: {error}"
            ))),
        }
    }
    compiled
}

/// Reads the annotations of ours.
fn namespaces(
    alert: &Alert,
    no_cross_namespace_refs: bool,
    warnings: &mut Vec<Warning>,
) -> Namespaces {
    let annotations = &alert.metadata.annotations;
    for name in annotations.keys().filter(|name| name.starts_with(PREFIX)) {
        if !KNOWN.contains(&name.as_str()) {
            warnings.push(invalid(format!("annotation {name} is not known")));
        }
    }
    let Some(value) = annotations.get(NAMESPACES) else {
        return Namespaces::Own;
    };
    if no_cross_namespace_refs {
        warnings.push(invalid(format!(
            "annotation {NAMESPACES} has no effect: cross-namespace references have been blocked"
        )));
        return Namespaces::Own;
    }
    if value.trim() == "*" {
        return Namespaces::All;
    }
    let listed: Vec<_> = value
        .split(',')
        .map(|name| name.trim().to_owned())
        .collect();
    if listed.len() > MAX_NAMESPACES || !listed.iter().all(|name| is_label(name)) {
        warnings.push(invalid(format!(
            "annotation {NAMESPACES} is neither \"*\" nor at most {MAX_NAMESPACES} namespaces with commas between; it has no effect"
        )));
        return Namespaces::Own;
    }
    Namespaces::Listed(listed)
}

fn invalid(message: String) -> Warning {
    Warning {
        reason: reason::INVALID_CONFIG,
        message,
    }
}

fn is_label_pair((key, value): (&String, &String)) -> bool {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    let is_prefix = key == name || crate::api::meta::is_object_name(prefix);
    is_prefix && !name.is_empty() && is_label_value(name) && is_label_value(value)
}

/// At most 63 letters, digits, `-`, `_` and `.`, the first and the last of them a letter or digit.
fn is_label_value(text: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_none_or(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(b))
}

fn push_once(list: &mut Vec<usize>, at: usize) {
    if list.last() != Some(&at) {
        list.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(change: impl FnOnce(&mut Event)) -> Event {
        let mut event = Event {
            severity: "info".to_owned(),
            message: "well done".to_owned(),
            ..Event::default()
        };
        event.involved_object.kind = "Kustomization".to_owned();
        event.involved_object.namespace = "apps".to_owned();
        event.involved_object.name = "web".to_owned();
        event.involved_object.api_version = "kustomize.toolkit.fluxcd.io/v1".to_owned();
        change(&mut event);
        event
    }

    fn provider(r#type: &str) -> Provider {
        let mut provider = Provider::default();
        provider.metadata.namespace = "apps".to_owned();
        provider.metadata.name = "chat".to_owned();
        r#type.clone_into(&mut provider.spec.r#type);
        provider
    }

    fn alert(change: impl FnOnce(&mut Alert)) -> Alert {
        let mut alert = Alert::default();
        alert.metadata.namespace = "apps".to_owned();
        alert.metadata.name = "on-call".to_owned();
        alert.spec.provider_ref.name = "chat".to_owned();
        alert.spec.event_sources = vec![source(|_| {})];
        change(&mut alert);
        alert
    }

    fn source(change: impl FnOnce(&mut EventSource)) -> EventSource {
        let mut source = EventSource {
            kind: "Kustomization".to_owned(),
            name: "*".to_owned(),
            ..EventSource::default()
        };
        change(&mut source);
        source
    }

    fn no_labels(_: &ResourceRef) -> Option<BTreeMap<String, String>> {
        None
    }

    fn selected(alert: Alert, event: &Event) -> Selection {
        let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
        assert_eq!(alerts.warnings, BTreeMap::new());
        alerts.select(event, &no_labels)
    }

    fn takes(alert: Alert, event: &Event) -> bool {
        let selection = selected(alert, event);
        let want = [("apps/on-call".into(), "apps/chat".into())];
        assert!(selection.deliveries.is_empty() || selection.deliveries == want);
        !selection.deliveries.is_empty()
    }

    fn first(alert: &mut Alert) -> &mut EventSource {
        &mut alert.spec.event_sources[0]
    }

    #[test]
    fn a_source_compares_kind_name_and_namespace() {
        let plain = event(|_| {});
        assert!(takes(alert(|_| {}), &plain));
        assert!(takes(
            alert(|a| "web".clone_into(&mut first(a).name)),
            &plain
        ));
        for miss in [
            alert(|a| "other".clone_into(&mut first(a).name)),
            alert(|a| "we*".clone_into(&mut first(a).name)),
            alert(|a| "HelmRelease".clone_into(&mut first(a).kind)),
            alert(|a| "kustomization".clone_into(&mut first(a).kind)),
            alert(|a| "infra".clone_into(&mut first(a).namespace)),
            alert(|a| "*".clone_into(&mut first(a).namespace)),
            alert(|a| a.spec.event_sources.clear()),
            alert(|a| a.spec.suspend = true),
        ] {
            assert!(!takes(miss.clone(), &plain), "{miss:?}");
        }
        let elsewhere = event(|e| "infra".clone_into(&mut e.involved_object.namespace));
        assert!(!takes(alert(|_| {}), &elsewhere));
        let named = alert(|a| "infra".clone_into(&mut first(a).namespace));
        assert!(takes(named, &elsewhere));
        let versioned = alert(|a| first(a).api_version = Some("other/v9".to_owned()));
        assert!(takes(versioned, &plain));
    }

    #[test]
    fn severity_info_takes_everything_and_error_takes_errors_only() {
        for (wanted, severity, want) in [
            ("info", "info", true),
            ("info", "error", true),
            ("info", "trace", true),
            ("info", "", true),
            ("error", "error", true),
            ("error", "info", false),
            ("error", "Error", false),
            ("", "", true),
            ("", "info", false),
        ] {
            let alert = alert(|a| wanted.clone_into(&mut a.spec.event_severity));
            let event = event(|e| severity.clone_into(&mut e.severity));
            assert_eq!(takes(alert, &event), want, "{wanted:?} {severity:?}");
        }
    }

    #[test]
    fn exclusion_is_stronger_than_inclusion() {
        for (inclusion, exclusion, want) in [
            (&[][..], &[][..], true),
            (&["done"], &[], true),
            (&["x", "^well"], &[], true),
            (&["x"], &[], false),
            (&[], &["done$"], false),
            (&[], &["x"], true),
            (&["done"], &["well"], false),
        ] {
            let list = |of: &[&str]| of.iter().map(|p| (*p).to_owned()).collect();
            let alert = alert(|a| {
                a.spec.inclusion_list = list(inclusion);
                a.spec.exclusion_list = list(exclusion);
            });
            assert_eq!(
                takes(alert, &event(|_| {})),
                want,
                "{inclusion:?} {exclusion:?}"
            );
        }
    }

    #[test]
    fn an_invalid_pattern_is_a_warning_and_matches_nothing() {
        let plain = event(|_| {});
        let check = |alert: Alert, which: &str, want: bool| {
            let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
            let warnings = &alerts.warnings["apps/on-call"];
            assert_eq!(warnings[0].reason, "InvalidConfig");
            let begins = format!("failed to compile {which} regex: [: ");
            assert!(warnings[0].message.starts_with(&begins), "{warnings:?}");
            let taken = !alerts.select(&plain, &no_labels).deliveries.is_empty();
            assert_eq!(taken, want);
        };
        let bad = || vec!["[".to_owned()];
        check(alert(|a| a.spec.inclusion_list = bad()), "inclusion", false);
        check(alert(|a| a.spec.exclusion_list = bad()), "exclusion", true);
    }

    #[test]
    fn labels_are_those_of_the_object_which_must_be_there() {
        let wanted = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            let labels = pairs.map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
            alert(|a| first(a).match_labels = Some(labels.collect()))
        };
        let labels = |reference: &ResourceRef| {
            assert_eq!(reference.api_version, "kustomize.toolkit.fluxcd.io/v1");
            (reference.name == "web")
                .then(|| BTreeMap::from([("app".to_owned(), "web".to_owned())]))
        };
        for (alert, name, want) in [
            (wanted(&[("app", "web")]), "web", true),
            (wanted(&[]), "web", true),
            (wanted(&[("app", "other")]), "web", false),
            (wanted(&[("app", "web"), ("b", "")]), "web", false),
            (wanted(&[("app", "web")]), "gone", false),
        ] {
            let alerts = Alerts::compile(&[alert], &[provider("slack")], false);
            let event = event(|e| name.clone_into(&mut e.involved_object.name));
            let selection = alerts.select(&event, &labels);
            assert_eq!(!selection.deliveries.is_empty(), want);
            let told = selection.warnings.first().map(|(_, w)| w.clone());
            let want = (name == "gone").then(|| Warning {
                reason: "SourceFetchFailed",
                message: "error getting source object Kustomization/apps/gone".to_owned(),
            });
            assert_eq!(told, want);
        }
        let alerts = Alerts::compile(&[wanted(&[("a b", "c")])], &[provider("slack")], false);
        assert_eq!(
            alerts.warnings["apps/on-call"][0].message,
            "error using matchLabels from event source Kustomization/apps/*"
        );
    }

    #[test]
    fn the_first_source_that_matches_decides_and_one_alert_sends_once() {
        let alert = alert(|a| a.spec.event_sources.push(source(|_| {})));
        assert_eq!(selected(alert, &event(|_| {})).deliveries.len(), 1);
    }

    #[test]
    fn cross_namespace_events_are_refused_with_a_warning_where_they_are_blocked() {
        let alert = alert(|a| "infra".clone_into(&mut first(a).namespace));
        let alerts = Alerts::compile(&[alert], &[provider("slack")], true);
        let event = event(|e| "infra".clone_into(&mut e.involved_object.namespace));
        let selection = alerts.select(&event, &no_labels);
        assert_eq!(selection.deliveries, []);
        assert_eq!(
            selection.warnings[0].1.message,
            "discarding event, access denied to cross-namespace sources: alert 'apps/on-call' can't process event from 'Kustomization/infra/web', cross-namespace references have been blocked"
        );
    }

    #[test]
    fn the_namespaces_annotation_widens_sources_without_a_namespace() {
        let annotated = |value: &str| {
            alert(|a| {
                let annotations = &mut a.metadata.annotations;
                annotations.insert(NAMESPACES.to_owned(), value.to_owned());
            })
        };
        let in_namespace =
            |namespace: &str| event(|e| namespace.clone_into(&mut e.involved_object.namespace));
        assert!(takes(annotated("*"), &in_namespace("infra")));
        assert!(takes(annotated("*"), &in_namespace("apps")));
        assert!(takes(annotated("a, infra"), &in_namespace("infra")));
        assert!(!takes(annotated("a,b"), &in_namespace("apps")));
        let mut explicit = annotated("*");
        "a".clone_into(&mut first(&mut explicit).namespace);
        assert!(!takes(explicit, &in_namespace("infra")));
        for (value, blocked) in [("*", true), ("A B", false), ("", false)] {
            let alerts = Alerts::compile(&[annotated(value)], &[provider("slack")], blocked);
            assert_eq!(alerts.warnings["apps/on-call"].len(), 1, "{value:?}");
            let elsewhere = alerts.select(&in_namespace("infra"), &no_labels);
            assert_eq!(elsewhere.deliveries, []);
            let own = alerts.select(&in_namespace("apps"), &no_labels);
            assert_eq!(own.deliveries.len(), 1);
        }
        let unknown = alert(|a| {
            let annotations = &mut a.metadata.annotations;
            annotations.insert("hookgate.dev/namespace".to_owned(), "*".to_owned());
        });
        let alerts = Alerts::compile(&[unknown], &[provider("slack")], false);
        assert_eq!(
            alerts.warnings["apps/on-call"][0].message,
            "annotation hookgate.dev/namespace is not known"
        );
    }

    #[test]
    fn a_missing_or_unknown_provider_is_a_warning_and_a_suspended_one_takes_nothing() {
        let check = |providers: &[Provider]| {
            let alerts = Alerts::compile(&[alert(|_| {})], providers, false);
            let warnings = alerts.warnings.get("apps/on-call").map_or(0, Vec::len);
            let taken = alerts.select(&event(|_| {}), &no_labels).deliveries.len();
            (warnings, taken)
        };
        assert_eq!(check(&[]), (1, 1));
        assert_eq!(check(&[provider("carrier-pigeon")]), (1, 1));
        let mut suspended = provider("slack");
        suspended.spec.suspend = true;
        assert_eq!(check(&[suspended]), (0, 0));
    }

    #[test]
    fn each_class_of_providers_gets_the_events_it_can_use() {
        let update = ("kustomize.toolkit.fluxcd.io/commit_status", "update");
        let commit = ("event.toolkit.fluxcd.io/commit", "abc");
        let change = ("event.toolkit.fluxcd.io/change_request", "7");
        for (takes, pairs, severity, want) in [
            (Takes::Messages, &[][..], "info", Ok(1)),
            (Takes::Messages, &[update], "error", Ok(0)),
            (Takes::Everything, &[update], "info", Ok(1)),
            (Takes::CommitStatuses, &[update], "info", Ok(1)),
            (Takes::CommitStatuses, &[commit], "info", Ok(1)),
            (Takes::CommitStatuses, &[], "error", Ok(1)),
            (Takes::CommitStatuses, &[], "info", Err("commit")),
            (Takes::CommitStatuses, &[change], "trace", Err("commit")),
            (Takes::ChangeRequests, &[change], "info", Ok(1)),
            (Takes::ChangeRequests, &[change, update], "info", Ok(0)),
            (
                Takes::ChangeRequests,
                &[commit],
                "error",
                Err("change_request"),
            ),
        ] {
            let event = event(|e| {
                severity.clone_into(&mut e.severity);
                let pairs = pairs.iter();
                e.metadata = pairs
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect();
            });
            let mut alerts = Alerts::compile(&[alert(|_| {})], &[provider("slack")], false);
            alerts.alerts[0].takes = Some(takes);
            let selection = alerts.select(&event, &no_labels);
            let got = match selection.unfit.first() {
                Some((_, lacks)) => Err(*lacks),
                None => Ok(selection.deliveries.len()),
            };
            assert_eq!(got, want, "{takes:?} {pairs:?} {severity}");
        }
    }
}
