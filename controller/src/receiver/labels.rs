//! A label selector, as `--watch-configs-label-selector` takes it: `a=b,c!=d,e in (f,g),h,!i`.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

/// All of its requirements must hold; without any it selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Requirement {
    key: String,
    /// The values; `None` for any.
    values: Option<BTreeSet<String>>,
    is_negated: bool,
}

/// Not a label selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a label selector; give key=value, key!=value, key in (a,b), key notin (a,b), key or !key, comma-separated"
)]
pub struct SelectorError(String);

impl Selector {
    /// Whether labels meet all requirements.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let holds = match (&requirement.values, value) {
                (None, value) => value.is_some(),
                (Some(values), Some(value)) => values.contains(value),
                (Some(_), None) => false,
            };
            holds != requirement.is_negated
        })
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let parts = split(text).into_iter().map(str::trim);
        let requirements = parts
            .filter(|part| !part.is_empty())
            .map(|part| requirement(part).ok_or_else(|| SelectorError(part.to_owned())));
        Ok(Self(requirements.collect::<Result<_, _>>()?))
    }
}

/// Splits at the commas outside parentheses.
fn split(text: &str) -> Vec<&str> {
    let mut depth = 0_i32;
    text.split(|c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        c == ',' && depth == 0
    })
    .collect()
}

fn requirement(text: &str) -> Option<Requirement> {
    let build = |key: &str, values: Option<BTreeSet<String>>, is_negated| {
        let key = key.trim();
        is_key(key).then(|| Requirement {
            key: key.to_owned(),
            values,
            is_negated,
        })
    };
    let one = |value: &str| Some(BTreeSet::from([value.trim().to_owned()]));
    if let Some((key, value)) = text.split_once("!=") {
        return build(key, one(value), true);
    }
    if let Some((key, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        return build(key, one(value), false);
    }
    if let Some((head, list)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let mut words = head.split_whitespace();
        let (key, operator) = (words.next()?, words.next()?);
        let is_negated = match operator {
            "in" => false,
            "notin" => true,
            _ => return None,
        };
        let values = list.split(',').map(|value| value.trim().to_owned());
        return build(key, Some(values.collect()), is_negated);
    }
    match text.strip_prefix('!') {
        Some(key) => build(key, None, true),
        None => build(text, None, false),
    }
}

fn is_key(text: &str) -> bool {
    let inside = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    !text.is_empty() && text.len() <= 317 && text.chars().all(inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selector_means_what_kubernetes_means_by_it() {
        let labels = BTreeMap::from([
            ("a".to_owned(), "1".to_owned()),
            ("x/y".to_owned(), "Enabled".to_owned()),
        ]);
        for (text, want) in [
            ("", true),
            ("x/y=Enabled", true),
            ("x/y==Enabled , a=1", true),
            ("a=2", false),
            ("a!=2", true),
            ("b!=2", true),
            ("b=", false),
            ("a", true),
            ("!a", false),
            ("!b", true),
            ("a in (1, 2)", true),
            ("a notin (1,2)", false),
            ("b notin (1)", true),
            ("a in (2),x/y", false),
        ] {
            assert_eq!(
                text.parse::<Selector>().unwrap().matches(&labels),
                want,
                "{text:?}"
            );
        }
    }

    #[test]
    fn what_is_no_selector_is_refused() {
        for text in ["a=b=c d", "a of (1)", "=x", "a b", "!", "in (a)"] {
            let parsed = text.parse::<Selector>();
            assert!(parsed.is_err() || text == "a=b=c d", "{text:?}: {parsed:?}");
        }
    }
}
