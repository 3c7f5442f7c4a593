//! Which Alerts take an event, and to which Providers it goes. Pure: compiled once whenever Alerts
//! or Providers change.
//!
//! Matching is nc's: the first source that matches decides, then the inclusion list, then the
//! exclusion list, on the raw message. What is wrong with an Alert is a [`Warning`] on it, and never
//! takes the others away.

use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use regex::Regex;

use super::delivery::Name;
use super::template::{self, Template};
use super::{digest, go_regex, metadata};
use crate::annotations::Doc;
use crate::api::alert::{Alert, EventSource};
use crate::api::duration;
use crate::api::event::Event;
use crate::api::meta::is_label;
use crate::api::provider::Provider;
use crate::api::reference::ResourceRef;
use crate::provider::{self, ProviderType, Takes};

/// The prefix of annotations of ours.
const PREFIX: &str = "hookgate.dev/";
/// Which namespaces sources without one are looked for in.
const NAMESPACES: &str = "hookgate.dev/namespaces";
/// How long events of one revision are collected.
const DIGEST: &str = "hookgate.dev/digest";
/// The annotations of Alerts that are ours.
pub const ANNOTATIONS: &[Doc] = &[
    Doc {
        name: DIGEST,
        value: "Go duration, at most 1h",
        default: "off",
        help: "Collect the events of one revision for so long and send them as one message; errors are sent at once, before infos that wait. Not for Providers that open and close incidents, nor for forges",
    },
    Doc {
        name: NAMESPACES,
        value: "`*`, or namespaces, comma-separated",
        default: "the Alert's",
        help: "Where event sources without a namespace look; needs cross-namespace references",
    },
    Doc {
        name: template::ANNOTATION,
        value: "template, at most 8 KiB",
        default: "off",
        help: "What messages say instead of the event's message. Of Jinja it has `{{ … }}`, `if`, `for` and a few filters; it sees `event`, `object`, `metadata`, `summary` and `alert`. If it can't be used, the event's own message is sent",
    },
];
/// The longest collection.
const MAX_DIGEST: Duration = Duration::from_secs(3600);
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
    /// How long events are collected, if they are.
    digest: Option<Duration>,
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
    /// Alert and Provider of each delivery that waits for others of its revision, and how long.
    pub digests: Vec<(Name, Name, Duration)>,
    /// Alerts that matched, but whose Provider takes no such event, and what the event lacks.
    pub unfit: Vec<(Name, &'static str)>,
    /// What Alerts' owners have to know.
    pub warnings: Vec<(Name, Warning)>,
}

/// Why an Alert does not take an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The Alert wants errors only.
    #[error("its severity is not spec.eventSeverity")]
    Severity,
    /// It is about something else.
    #[error("none of spec.eventSources is its involved object")]
    Source,
    /// Nothing lets it in.
    #[error("nothing in spec.inclusionList matches its message")]
    Inclusion,
    /// Something keeps it out.
    #[error("spec.exclusionList matches its message")]
    Exclusion,
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
            let refusal = alert.refusal(event, labels, &mut selection.warnings);
            if refusal.is_none() {
                self.decide(alert, event, &mut selection);
            }
        }
        selection
    }

    /// Why Alerts, in their order, don't take an event whose metadata was cleaned; `None` for one
    /// that matches it.
    pub fn refusals(&self, event: &Event, labels: &Labels<'_>) -> Vec<Option<Refusal>> {
        let alerts = self.alerts.iter();
        alerts
            .map(|alert| alert.refusal(event, labels, &mut Vec::new()))
            .collect()
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
                let (name, provider) = (alert.name.clone(), alert.provider.clone());
                match alert.digest {
                    Some(window) if !event.is_error() && digest::revision(event).is_some() => {
                        selection.digests.push((name, provider, window));
                    }
                    Some(_) | None => selection.deliveries.push((name, provider)),
                }
                return;
            }
        };
        selection.unfit.push((alert.name.clone(), lacks));
    }
}

impl Compiled {
    fn refusal(
        &self,
        event: &Event,
        labels: &Labels<'_>,
        warnings: &mut Vec<(Name, Warning)>,
    ) -> Option<Refusal> {
        if self.severity != "info" && self.severity != event.severity {
            return Some(Refusal::Severity);
        }
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
        let is_included = |list: &Vec<Regex>| list.iter().any(is_match);
        if !matched {
            Some(Refusal::Source)
        } else if !self.inclusion.as_ref().is_none_or(is_included) {
            Some(Refusal::Inclusion)
        } else {
            let is_excluded = self.exclusion.iter().any(is_match);
            is_excluded.then_some(Refusal::Exclusion)
        }
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
        let is_named = source.name == "*" || source.name == object.name;
        if !(is_here && source.kind == object.kind && is_named) {
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

/// The sources of an Alert that look at labels, each with a namespace that it looks in; `None` for
/// every namespace.
pub fn labelled(
    alert: &Alert,
    no_cross_namespace_refs: bool,
) -> Vec<(&EventSource, Option<String>)> {
    let all = namespaces_of(alert, no_cross_namespace_refs, &mut Vec::new());
    let own = &alert.metadata.namespace;
    let sources = alert.spec.event_sources.iter();
    sources
        .filter(|source| source.match_labels.is_some())
        .flat_map(|source| {
            let places = match (source.namespace.as_str(), &all) {
                ("", Namespaces::Own) => vec![Some(own.clone())],
                ("", Namespaces::All) => vec![None],
                ("", Namespaces::Listed(listed)) => listed.iter().cloned().map(Some).collect(),
                (named, _) => vec![Some(named.to_owned())],
            };
            places.into_iter().map(move |place| (source, place))
        })
        .collect()
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
    let found = provider.and_then(|p| provider::of(p).ok());
    let takes = found.map(ProviderType::takes);
    let keeps_incidents = found.is_some_and(ProviderType::keeps_incidents)
        || provider.is_some_and(|p| provider::resolves(p) == Ok(true));
    let digest = digest_window(alert, takes, keeps_incidents, warnings);
    check_template(alert, takes, warnings);
    let inclusion = patterns(&spec.inclusion_list, "inclusion", warnings);
    Compiled {
        name: format!("{}/{}", metadata.namespace, metadata.name).into(),
        namespace: metadata.namespace.clone(),
        provider: format!("{}/{}", metadata.namespace, spec.provider_ref.name).into(),
        takes,
        sources,
        namespaces,
        digest,
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
        Some(provider) => provider::of(provider)
            .map(drop)
            .and_then(|()| provider::resolves(provider).map(drop))
            .err()
            .map(|text| format!("Provider {name:?} can't be used: {text}")),
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
    for name in alert
        .metadata
        .annotations
        .keys()
        .filter(|name| name.starts_with(PREFIX))
    {
        if !ANNOTATIONS.iter().any(|known| known.name == name) {
            warnings.push(invalid(format!("annotation {name} is not known")));
        }
    }
    namespaces_of(alert, no_cross_namespace_refs, warnings)
}

fn namespaces_of(
    alert: &Alert,
    no_cross_namespace_refs: bool,
    warnings: &mut Vec<Warning>,
) -> Namespaces {
    let Some(value) = alert.metadata.annotations.get(NAMESPACES) else {
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

/// How long events are collected for one message, if the Alert asks for that.
fn digest_window(
    alert: &Alert,
    takes: Option<Takes>,
    keeps_incidents: bool,
    warnings: &mut Vec<Warning>,
) -> Option<Duration> {
    let value = alert.metadata.annotations.get(DIGEST)?;
    // An info that waited would close what a newer error opened.
    if keeps_incidents || !matches!(takes, Some(Takes::Messages) | None) {
        warnings.push(invalid(format!(
            "annotation {DIGEST} has no effect: the Provider's type wants each event by itself"
        )));
        return None;
    }
    let window = duration::parse(value.trim()).ok();
    let window = window.filter(|window| !window.is_zero() && *window <= MAX_DIGEST);
    if window.is_none() {
        warnings.push(invalid(format!(
            "annotation {DIGEST} is no duration such as 30s, of at most an hour; it has no effect"
        )));
    }
    window
}

/// Says what is wrong with the template; messages go out without it then.
fn check_template(alert: &Alert, takes: Option<Takes>, warnings: &mut Vec<Warning>) {
    let name = template::ANNOTATION;
    let Some(source) = alert.metadata.annotations.get(name) else {
        return;
    };
    if takes == Some(Takes::CommitStatuses) {
        warnings.push(invalid(format!(
            "annotation {name} has no effect: the Provider's type sets commit statuses"
        )));
    } else if let Err(error) = Template::compile(source) {
        warnings.push(invalid(format!(
            "annotation {name} can't be used, and events are sent with their own messages: {error}"
        )));
    }
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
mod tests;
