//! Headers that a Secret adds to a request.

use secrecy::ExposeSecret;

use crate::provider::error::ProviderError;
use crate::provider::http::HttpRequest;
use crate::provider::target::Target;

/// What belongs to the connection, not to a Secret.
const RESERVED: [&str; 4] = ["content-length", "host", "trailer", "transfer-encoding"];

/// Adds the Secret's `headers`, in place of those of the same name.
///
/// # Errors
/// [`ProviderError::Config`] for what no header can hold, without its text.
pub(in crate::provider) fn add(
    mut request: HttpRequest,
    target: &Target,
) -> Result<HttpRequest, ProviderError> {
    for (name, value) in &target.headers {
        // A block in YAML ends in a line break.
        let value = value.expose_secret().trim();
        if !is_name(name) || value.chars().any(|c| c.is_control() && c != '\t') {
            return Err(ProviderError::Config(
                "headers in the Secret has a name or a value that no header can have".to_owned(),
            ));
        }
        if !RESERVED.contains(&name.to_ascii_lowercase().as_str()) {
            request = request.header(name, value.to_owned());
        }
    }
    Ok(request)
}

/// What of a text can stand in a header.
pub(in crate::provider) fn printable(text: &str) -> String {
    text.chars().filter(|c| matches!(c, ' '..='~')).collect()
}

fn is_name(name: &str) -> bool {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !name.is_empty() && name.bytes().all(is_token)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(name: &str, value: &str) -> Result<Vec<(String, String)>, ProviderError> {
        let target = Target {
            address: "https://provider.test".to_owned().into(),
            headers: [(name.to_owned(), value.to_owned().into())].into(),
            ..Target::default()
        };
        let request = HttpRequest::post(target.url("invalid hook URL *****")?)
            .header("X-Own", "1".to_owned());
        let headers = add(request, &target)?.headers.into_iter();
        Ok(headers
            .map(|(name, value)| (name, value.expose_secret().to_owned()))
            .collect())
    }

    #[test]
    fn a_secrets_headers_replace_others_and_cannot_break_a_request() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let own = pair("X-Own", "1");
        assert_eq!(added("x-own", "2"), Ok(vec![pair("x-own", "2")]));
        assert_eq!(added("a", "b\n"), Ok(vec![own.clone(), pair("a", "b")]));
        for reserved in ["Host", "content-length", "Transfer-Encoding", "trailer"] {
            assert_eq!(added(reserved, "x"), Ok(vec![own.clone()]), "{reserved}");
        }
        for (name, value) in [("", "x"), ("a b", "x"), ("a:", "x"), ("a", "hush\r\nb: c")] {
            let error = added(name, value).unwrap_err();
            assert!(error.is_permanent() && !error.to_string().contains("hush"));
        }
    }
}
