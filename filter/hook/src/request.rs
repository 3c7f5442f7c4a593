//! The head of a hook, borrowed from whoever received it.

use alloc::vec::Vec;

use crate::rejection::Rejection;

/// Method, path and headers of a hook. Values are bytes: an attacker may send any.
#[derive(Clone, Debug)]
pub struct Request<'a> {
    /// The method, in upper case as it came.
    pub method: &'a [u8],
    /// The request target exactly as it came, query included.
    pub path: &'a [u8],
    /// Every header in the order it came; names in lower case, as HTTP/2, Envoy and `http` have them.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

impl<'a> Request<'a> {
    /// The value of a header that the verdict rests on, or `None`.
    ///
    /// # Errors
    /// [`Rejection::DuplicateHeader`] if it came twice: which one counts would be a guess, and a
    /// proxy in front may have guessed otherwise.
    pub fn one(&self, name: &str) -> Result<Option<&'a [u8]>, Rejection> {
        let mut values = self
            .headers
            .iter()
            .filter(|(n, _)| *n == name)
            .map(|(_, v)| *v);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Rejection::DuplicateHeader),
            (value, None) => Ok(value),
        }
    }

    /// The same, with an empty value taken for a missing one, as Go's `Header.Get() == ""` does.
    pub(crate) fn one_filled(&self, name: &str) -> Result<Option<&'a [u8]>, Rejection> {
        Ok(self.one(name)?.filter(|value| !value.is_empty()))
    }

    /// The declared length of the body in bytes, or `None` if it is not declared.
    ///
    /// # Errors
    /// [`Rejection::DuplicateHeader`] if it came twice, [`Rejection::BadRequest`] if it is no number.
    pub fn content_length(&self) -> Result<Option<u64>, Rejection> {
        let Some(value) = self.one("content-length")? else {
            return Ok(None);
        };
        if value.is_empty() || value.iter().any(|b| !b.is_ascii_digit()) {
            return Err(Rejection::BadRequest);
        }
        let text = core::str::from_utf8(value).map_err(|_| Rejection::BadRequest)?;
        // A number too large for u64 is a length above every limit.
        Ok(Some(text.parse().unwrap_or(u64::MAX)))
    }
}
