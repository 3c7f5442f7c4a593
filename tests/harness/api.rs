//! A client of the Kubernetes API: objects are JSON values, and a refusal is an answer.

use std::time::Duration;

use serde_json::{Value, json};

use crate::client::{self, Client, Request};

/// Who owns the fields that the harness applies.
const MANAGER: &str = "e2e";

/// What the API server said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The object, or the `Status` that says why not; the text, where it is no JSON.
    pub body: Value,
}

impl Answer {
    /// Why an object was refused, as `FIELD: MESSAGE`, in the server's order.
    #[must_use]
    pub fn causes(&self) -> Vec<String> {
        let causes = self.body["details"]["causes"].as_array();
        causes
            .into_iter()
            .flatten()
            // It only says that rules were not looked at because of the others.
            .filter(|cause| cause["field"] != "<nil>")
            .map(|cause| {
                let text = |name: &str| cause[name].as_str().unwrap_or_default().to_owned();
                format!("{}: {}", text("field"), text("message"))
            })
            .collect()
    }
}

/// Talks to an API server as one user.
#[derive(Clone, Debug)]
pub struct Api {
    client: Client,
    token: String,
}

impl Api {
    /// A client with this bearer token.
    #[must_use]
    pub fn new(client: Client, token: &str) -> Self {
        Self {
            client,
            token: token.to_owned(),
        }
    }

    /// Another deadline for each call.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.client = self.client.timeout(timeout);
        self
    }

    /// The client's bearer token.
    #[must_use]
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Makes a call; the body is JSON.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn send(&self, method: &str, target: &str, body: Option<&Value>) -> Answer {
        self.try_send(method, target, body)
            .unwrap_or_else(|error| panic!("{method} {target}: {error}"))
    }

    /// Makes a call; the body is JSON, that of a `PATCH` a merge patch.
    ///
    /// # Errors
    ///
    /// When there is no answer.
    pub fn try_send(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Result<Answer, client::Error> {
        let kind = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        self.exchange(method, target, kind, body)
    }

    /// Changes an object by a JSON patch.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn json_patch(&self, target: &str, operations: &Value) -> Answer {
        let kind = "application/json-patch+json";
        self.exchange("PATCH", target, kind, Some(operations))
            .unwrap_or_else(|error| panic!("PATCH {target}: {error}"))
    }

    /// `GET`.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn get(&self, target: &str) -> Answer {
        self.send("GET", target, None)
    }

    /// The table that `kubectl get` prints of a collection.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn table(&self, target: &str) -> Value {
        let request = self
            .request("GET", target)
            .header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
        self.answer(request)
            .unwrap_or_else(|error| panic!("GET {target}: {error}"))
            .body
    }

    /// The object of this kind.
    ///
    /// # Panics
    ///
    /// When there is none, or no answer.
    #[must_use]
    pub fn object(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> Value {
        let target = format!("{}/{name}", collection(api_version, kind, Some(namespace)));
        let answer = self.get(&target);
        assert_eq!(answer.status, 200, "GET {target}: {}", answer.body);
        answer.body
    }

    /// Creates an object, or is told why not.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn create(&self, object: &Value) -> Answer {
        let target = format!("{}?fieldValidation=Strict", collection_of(object));
        self.send("POST", &target, Some(object))
    }

    /// Asks whether an object would be created, and as what.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    #[must_use]
    pub fn dry_run(&self, object: &Value) -> Answer {
        let target = format!(
            "{}?dryRun=All&fieldValidation=Strict",
            collection_of(object)
        );
        self.send("POST", &target, Some(object))
    }

    /// Creates or changes an object, as `kubectl apply --server-side --force-conflicts`. The object as it is then.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub fn apply(&self, object: &Value) -> Value {
        self.try_apply(object)
            .unwrap_or_else(|refused| panic!("{refused}"))
    }

    /// The same, or why not.
    ///
    /// # Errors
    ///
    /// When there is no answer or it is a refusal.
    pub fn try_apply(&self, object: &Value) -> Result<Value, String> {
        let target = path_of(object);
        let query = format!("{target}?fieldManager={MANAGER}&force=true&fieldValidation=Strict");
        let answer = self
            .exchange(
                "PATCH",
                &query,
                "application/apply-patch+yaml",
                Some(object),
            )
            .map_err(|error| format!("PATCH {target}: {error}"))?;
        match answer.status {
            200 | 201 => Ok(answer.body),
            status => Err(format!("PATCH {target}: {status} {}", answer.body)),
        }
    }

    /// Deletes an object. One with finalizers stays until they are gone.
    ///
    /// # Panics
    ///
    /// When there is no answer.
    pub fn delete(&self, object: &Value) -> Answer {
        self.send("DELETE", &path_of(object), None)
    }

    /// A token of a ServiceAccount, for a day.
    ///
    /// # Errors
    ///
    /// When there is no answer or it is a refusal.
    pub fn service_account_token(&self, namespace: &str, name: &str) -> Result<String, String> {
        let target = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}/token");
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 86_400},
        });
        let answer = self
            .try_send("POST", &target, Some(&request))
            .map_err(|error| format!("POST {target}: {error}"))?;
        match answer.body["status"]["token"].as_str() {
            Some(token) => Ok(token.to_owned()),
            None => Err(format!("POST {target}: {} {}", answer.status, answer.body)),
        }
    }

    fn exchange(
        &self,
        method: &str,
        target: &str,
        kind: &str,
        body: Option<&Value>,
    ) -> Result<Answer, client::Error> {
        let mut request = self
            .request(method, target)
            .header("accept", "application/json");
        if let Some(body) = body {
            request = request.header("content-type", kind).body(body.to_string());
        }
        self.answer(request)
    }

    fn request(&self, method: &str, target: &str) -> Request {
        Request::new(method, target).header("authorization", format!("Bearer {}", self.token))
    }

    fn answer(&self, request: Request) -> Result<Answer, client::Error> {
        let response = self.client.send(request)?;
        let body = serde_json::from_slice(&response.body)
            .unwrap_or_else(|_| Value::String(response.text()));
        Ok(Answer {
            status: response.status,
            body,
        })
    }
}

/// Where the objects of a kind are: those of one namespace, or all if there is none.
#[must_use]
pub fn collection(api_version: &str, kind: &str, namespace: Option<&str>) -> String {
    let root = if api_version.contains('/') {
        "apis"
    } else {
        "api"
    };
    let plural = plural(kind);
    match namespace {
        Some(namespace) => format!("/{root}/{api_version}/namespaces/{namespace}/{plural}"),
        None => format!("/{root}/{api_version}/{plural}"),
    }
}

/// Where an object is.
///
/// # Panics
///
/// When it has no API version, kind or name.
#[must_use]
pub fn path_of(object: &Value) -> String {
    let name = text(&object["metadata"]["name"], object);
    format!("{}/{name}", collection_of(object))
}

/// The plural of a kind in paths, by the rules of English that hold for the kinds in use.
#[must_use]
pub fn plural(kind: &str) -> String {
    let kind = kind.to_lowercase();
    match kind.strip_suffix('y') {
        Some(stem) if !stem.ends_with(['a', 'e', 'o', 'u']) => format!("{stem}ies"),
        _ if kind.ends_with('s') => format!("{kind}es"),
        _ => format!("{kind}s"),
    }
}

fn collection_of(object: &Value) -> String {
    collection(
        text(&object["apiVersion"], object),
        text(&object["kind"], object),
        object["metadata"]["namespace"].as_str(),
    )
}

fn text<'a>(value: &'a Value, object: &Value) -> &'a str {
    value
        .as_str()
        .unwrap_or_else(|| panic!("no API version, kind or name: {object}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_objects_path_follows_from_what_it_is() {
        let object = |api_version: &str, kind: &str, metadata: Value| {
            path_of(&json!({"apiVersion": api_version, "kind": kind, "metadata": metadata}))
        };
        assert_eq!(
            [
                object("v1", "Namespace", json!({"name": "apps"})),
                object(
                    "v1",
                    "Secret",
                    json!({"name": "token", "namespace": "apps"})
                ),
                object(
                    "source.toolkit.fluxcd.io/v1",
                    "GitRepository",
                    json!({"name": "app", "namespace": "apps"})
                ),
            ],
            [
                "/api/v1/namespaces/apps",
                "/api/v1/namespaces/apps/secrets/token",
                "/apis/source.toolkit.fluxcd.io/v1/namespaces/apps/gitrepositories/app",
            ]
        );
    }

    #[test]
    fn the_plural_of_a_kind_is_the_one_that_its_definition_has() {
        assert_eq!(
            [
                "HTTPProxy",
                "Ingress",
                "Gateway",
                "GatewayClass",
                "HTTPRoute"
            ]
            .map(plural),
            [
                "httpproxies",
                "ingresses",
                "gateways",
                "gatewayclasses",
                "httproutes"
            ]
        );
    }

    #[test]
    fn the_causes_of_a_refusal_are_read_without_the_one_that_says_nothing() {
        let answer = Answer {
            status: 422,
            body: json!({"details": {"causes": [
                {"field": "spec.type", "message": "Required value"},
                {"field": "<nil>", "message": "Invalid value: null: some rules were not checked"},
            ]}}),
        };
        assert_eq!(answer.causes(), ["spec.type: Required value"]);
    }
}
