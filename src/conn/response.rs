//! An answer: status, fields, body.

use std::borrow::Cow;
use std::fmt;
use std::hint::cold_path;

use super::body::Body;
use crate::proto::http1::{BadField, Fields, reason};

const TEXT: &str = "text/plain; charset=utf-8";
const HTML: &str = "text/html; charset=utf-8";

/// What a handler answers. Built from a constructor and `with_…` methods; the connection adds `Date` and the framing.
///
/// ```
/// use tourbillon::web::Response;
/// let response = Response::html("<h1>Salon</h1>").with_header("cache-control", "no-store");
/// assert_eq!(response.status(), 200);
/// ```
#[derive(Debug, Default)]
pub struct Response {
    status: Status,
    content_type: Option<Cow<'static, str>>,
    fields: Fields,
    body: Body,
}

#[derive(Debug)]
struct Status(u16);

impl Default for Status {
    fn default() -> Self {
        Self(200)
    }
}

impl Response {
    /// 200 with `body`, and no `Content-Type`.
    pub fn new(body: impl Into<Body>) -> Self {
        // Without a default that would have to be moved and dropped again.
        Self {
            status: Status::default(),
            content_type: None,
            fields: Fields::new(),
            body: body.into(),
        }
    }

    /// 200 with plain text in UTF-8.
    pub fn text(text: impl Into<Body>) -> Self {
        Self {
            content_type: Some(Cow::Borrowed(TEXT)),
            ..Self::new(text)
        }
    }

    /// 200 with HTML in UTF-8.
    pub fn html(html: impl Into<Body>) -> Self {
        Self {
            content_type: Some(Cow::Borrowed(HTML)),
            ..Self::new(html)
        }
    }

    /// 200 with `value` as JSON; 500 with what serde says, if it cannot be written as JSON.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self {
                content_type: Some(Cow::Borrowed("application/json")),
                ..Self::new(json)
            },
            Err(error) => Self::text(format!("the answer cannot be written as JSON: {error}\n"))
                .with_status(500),
        }
    }

    /// An answer of nothing but its status: for errors with the status's name as text, else without a body.
    pub fn of_status(status: u16) -> Self {
        if status < 400 {
            return Self::default().with_status(status);
        }
        let name = reason(status);
        Self::text(if name.is_empty() {
            format!("{status}\n")
        } else {
            format!("{status} {name}\n")
        })
        .with_status(status)
    }

    /// To another place, with 303 (see other): whatever the request was, the next one is a GET.
    ///
    /// # Panics
    /// When `to` has characters that no field may have, as [`Response::with_header`].
    pub fn see_other(to: &str) -> Self {
        Self::default().with_status(303).with_header("location", to)
    }

    /// The same with another status.
    ///
    /// # Panics
    /// When `status` is not a final one, 200 to 999.
    pub fn with_status(mut self, status: u16) -> Self {
        assert!(
            (200..1000).contains(&status),
            "{status} is not the status of a final answer"
        );
        self.status = Status(status);
        self
    }

    /// The same with another `Content-Type`. The connection leaves out what is not a valid field value.
    pub fn with_content_type(mut self, content_type: impl Into<Cow<'static, str>>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same with one more field.
    ///
    /// # Panics
    /// When the field is not allowed, see [`Response::try_header`]: for fields that the program itself writes down.
    #[track_caller]
    pub fn with_header(mut self, name: &str, value: &str) -> Self {
        if let Err(error) = self.try_header(name, value) {
            panic!("field {name:?}: {error}");
        }
        self
    }

    /// Add a field, for values that come from outside.
    ///
    /// # Errors
    /// When name or value have characters that they may not have (CR, LF, NUL, …; RFC 9110, 5), or when the field is
    /// one of those that the connection writes itself.
    pub fn try_header(&mut self, name: &str, value: &str) -> Result<(), BadField> {
        if name.eq_ignore_ascii_case("content-type") {
            // Checked as any other value, kept where the head is written from.
            Fields::default().push(name, value)?;
            self.content_type = Some(Cow::Owned(value.to_owned()));
            return Ok(());
        }
        self.fields.push(name, value)
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.status.0
    }

    /// The first field of this name, as added here: not `Date` and the framing.
    pub fn header(&self, name: &str) -> Option<&str> {
        if name.eq_ignore_ascii_case("content-type") {
            return self.content_type.as_deref();
        }
        self.fields.get(name)
    }

    /// The body.
    pub fn body(&self) -> &Body {
        &self.body
    }

    /// The body, taken out.
    pub fn into_body(self) -> Body {
        self.body
    }

    /// Status, content type and body of an answer that has nothing else to it.
    #[inline]
    pub(super) fn as_plain(&self) -> Option<(u16, Option<&str>, &[u8])> {
        if !self.fields.is_empty() {
            cold_path();
            return None;
        }
        let body = self.body.as_bytes()?;
        Some((self.status.0, self.content_type.as_deref(), body))
    }

    pub(super) fn into_parts(self) -> (u16, Option<Cow<'static, str>>, Fields, Body) {
        (self.status.0, self.content_type, self.fields, self.body)
    }
}

/// What a handler may return: everything that has a natural answer.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an answer",
    label = "a handler returns a `Response`, text, bytes, a status, an `Option` or a `Result` of those"
)]
pub trait IntoResponse {
    /// The answer.
    fn into_response(self) -> Response;
}

impl IntoResponse for Response {
    fn into_response(self) -> Response {
        self
    }
}

impl IntoResponse for () {
    /// 204.
    fn into_response(self) -> Response {
        Response::of_status(204)
    }
}

impl IntoResponse for &'static str {
    /// Plain text.
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for String {
    /// Plain text.
    fn into_response(self) -> Response {
        Response::text(self)
    }
}

impl IntoResponse for Vec<u8> {
    /// `application/octet-stream`.
    fn into_response(self) -> Response {
        Response::new(self).with_content_type("application/octet-stream")
    }
}

impl IntoResponse for u16 {
    /// A status alone, see [`Response::of_status`].
    fn into_response(self) -> Response {
        Response::of_status(self)
    }
}

impl<T: IntoResponse> IntoResponse for (u16, T) {
    /// With this status.
    fn into_response(self) -> Response {
        self.1.into_response().with_status(self.0)
    }
}

impl<T: IntoResponse> IntoResponse for Option<T> {
    /// 404 for `None`.
    fn into_response(self) -> Response {
        self.map_or_else(|| Response::of_status(404), T::into_response)
    }
}

impl<T: IntoResponse, E: IntoResponse> IntoResponse for Result<T, E> {
    fn into_response(self) -> Response {
        match self {
            Ok(answer) => answer.into_response(),
            Err(error) => error.into_response(),
        }
    }
}

impl fmt::Display for Response {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status.0, reason(self.status.0))
    }
}
