//! A scripted API server: each request gets the next answer and is kept. For tests of the order of calls.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use http::{Request, Response};
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};

use super::api::Api;

/// The requests that were made: method, path and body.
pub(crate) type Requests = Arc<Mutex<Vec<(String, Value)>>>;

/// An API server that answers so, and then not at all.
pub(crate) fn scripted(answers: impl IntoIterator<Item = (u16, Value)>) -> (Api, Requests) {
    let answers: VecDeque<_> = answers.into_iter().collect();
    let answers = Mutex::new(answers);
    answered_by(move |call, _| {
        let next = answers.lock().unwrap().pop_front();
        next.unwrap_or_else(|| panic!("no answer to {call} was written"))
    })
}

/// An API server that answers each request, and its body, so.
pub(crate) fn answered_by(
    answer: impl Fn(&str, &Value) -> (u16, Value) + Send + Sync + 'static,
) -> (Api, Requests) {
    let answer = Arc::new(answer);
    let requests = Requests::default();
    let kept = requests.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let (answer, kept) = (answer.clone(), kept.clone());
        async move {
            let (head, body) = request.into_parts();
            let body = body.collect_bytes().await.unwrap();
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let call = format!("{} {}", head.method, head.uri.path());
            let (status, answer) = answer(&call, &body);
            kept.lock().unwrap().push((call, body));
            let body = Body::from(answer.to_string().into_bytes());
            let answer = Response::builder().status(status).body(body);
            Ok::<_, Infallible>(answer.unwrap())
        }
    });
    (Api::new(Client::new(service, "default")), requests)
}

/// A refusal as an API server words it.
pub(crate) fn refusal(code: u16, name: &str) -> (u16, Value) {
    let details = json!({"name": name});
    let status = json!({"kind": "Status", "status": "Failure", "code": code, "reason": "", "message": "no", "details": details});
    (code, status)
}
