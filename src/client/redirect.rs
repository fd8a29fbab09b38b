//! Redirects (RFC 9110, 15.4): whether one is followed, to where, and what of the request goes along.

use super::error::{Error, ErrorKind, Phase};
use super::url::{Scheme, Url};
use crate::proto::http1::Fields;

/// How redirects are followed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Redirects {
    /// How many in a row; one more is an error. 0 follows none: the redirect itself is the response.
    pub max: u32,
    /// Whether one may lead from `https` to `http`.
    pub allow_insecure: bool,
}

impl Default for Redirects {
    /// Ten, as aiohttp, and not from `https` to `http`.
    fn default() -> Self {
        Self {
            max: 10,
            allow_insecure: false,
        }
    }
}

impl Redirects {
    /// Follow none.
    pub const NONE: Self = Self {
        max: 0,
        allow_insecure: false,
    };
}

/// Where a redirect leads, and as what.
#[derive(Debug)]
pub(super) struct Redirection {
    pub(super) url: Url,
    /// The request becomes a GET without a body.
    pub(super) becomes_get: bool,
    /// It leads to another origin: credentials stay behind.
    pub(super) crosses_origin: bool,
}

impl Redirection {
    /// What a response with `status` and `location` to a request for `from` asks for. `None` if it is an ordinary
    /// response.
    pub(super) fn of(
        status: u16,
        location: Option<&[u8]>,
        method: &str,
        from: &Url,
        redirects: &Redirects,
        followed: u32,
    ) -> Result<Option<Self>, Error> {
        let becomes_get = match status {
            // RFC 9110, 15.4.2 and 15.4.3 allow it for POST, and everybody does it.
            301 | 302 => method == "POST",
            303 => method != "HEAD",
            307 | 308 => false,
            _ => return Ok(None),
        };
        let Some(location) = location else {
            return Ok(None);
        };
        if redirects.max == 0 {
            return Ok(None);
        }
        let error = |kind| Error::new(kind, Phase::Wait).about(from);
        if followed >= redirects.max {
            return Err(error(ErrorKind::TooManyRedirects(redirects.max)));
        }
        let url = from
            .join(&as_text(location))
            .map_err(|fault| error(ErrorKind::Redirect(fault)))?
            .or_fragment_of(from);
        let loses_tls = from.scheme() == Scheme::Https && url.scheme() == Scheme::Http;
        if loses_tls && !redirects.allow_insecure {
            return Err(error(ErrorKind::InsecureRedirect));
        }
        Ok(Some(Self {
            crosses_origin: url.origin() != from.origin(),
            url,
            becomes_get,
        }))
    }

    /// Take out of the request's fields what must not go along.
    pub(super) fn strip(&self, fields: &mut Fields) {
        if self.becomes_get {
            // They describe the body, which is gone.
            for name in [
                "Content-Type",
                "Content-Encoding",
                "Content-Language",
                "Content-Location",
            ] {
                fields.remove(name);
            }
        }
        if self.crosses_origin {
            // Who is asked now is not who was trusted with them.
            for name in ["Authorization", "Cookie", "Proxy-Authorization"] {
                fields.remove(name);
            }
        }
    }
}

/// Bytes that are not ASCII are percent-encoded, as browsers do with what a server sends raw.
fn as_text(location: &[u8]) -> String {
    let mut text = String::with_capacity(location.len());
    for &byte in location {
        match byte.is_ascii() {
            true => text.push(char::from(byte)),
            false => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn follow(from: &str, method: &str, status: u16, location: &str) -> Redirection {
        let from = Url::parse(from).expect("a URL");
        let location = Some(location.as_bytes());
        Redirection::of(status, location, method, &from, &Redirects::default(), 0)
            .expect("it may be followed")
            .expect("it is one")
    }

    fn refusal(from: &str, location: &str, redirects: Redirects, followed: u32) -> String {
        let from = Url::parse(from).expect("a URL");
        let location = Some(location.as_bytes());
        Redirection::of(302, location, "GET", &from, &redirects, followed)
            .expect_err("it is refused")
            .to_string()
    }

    #[test]
    fn methods_change_as_they_should() {
        for (status, method, becomes_get) in [
            (301, "POST", true),
            (302, "POST", true),
            (303, "POST", true),
            (301, "PUT", false),
            (302, "DELETE", false),
            (303, "PUT", true),
            (303, "HEAD", false),
            (301, "HEAD", false),
            (307, "POST", false),
            (308, "POST", false),
        ] {
            let redirection = follow("http://a/", method, status, "/b");
            assert_eq!(redirection.becomes_get, becomes_get, "{status} {method}");
        }
    }

    #[test]
    fn other_responses_are_left_alone() {
        let from = Url::parse("http://a/").expect("a URL");
        for (status, location, redirects) in [
            (200, Some(&b"/b"[..]), Redirects::default()),
            (201, Some(b"/b"), Redirects::default()),
            (300, Some(b"/b"), Redirects::default()),
            (304, Some(b"/b"), Redirects::default()),
            (302, None, Redirects::default()),
            (302, Some(b"/b"), Redirects::NONE),
        ] {
            let answer = Redirection::of(status, location, "GET", &from, &redirects, 0);
            assert!(answer.expect("no fault").is_none(), "{status}");
        }
    }

    #[test]
    fn a_redirect_is_resolved_against_where_it_came_from() {
        let to = |location| follow("http://a/b/c?d#e", "GET", 302, location).url;
        assert_eq!(to("x").as_str(), "http://a/b/x#e");
        assert_eq!(to("//other/y#f").as_str(), "http://other/y#f");
        assert_eq!(to("https://a/").as_str(), "https://a/#e");
        let raw = Redirection::of(
            302,
            Some(b"/\xe4"),
            "GET",
            &Url::parse("http://a/").expect("a URL"),
            &Redirects::default(),
            0,
        );
        assert_eq!(raw.expect("fine").expect("one").url.path(), "/%E4");
    }

    #[test]
    fn credentials_stay_behind_when_the_origin_changes() {
        for (from, location, crosses) in [
            ("http://a/", "/b", false),
            ("http://a/", "http://a:80/b", false),
            ("http://a/", "http://A/b", false),
            ("http://a/", "https://a/", true),
            ("http://a/", "http://a:81/", true),
            ("http://a/", "http://b.a/", true),
        ] {
            let redirection = follow(from, "GET", 302, location);
            assert_eq!(redirection.crosses_origin, crosses, "{location}");
            let mut fields = Fields::new();
            for name in ["Authorization", "Cookie", "Accept"] {
                fields.push(name, "x").expect("a field");
            }
            redirection.strip(&mut fields);
            assert_eq!(fields.get("Authorization").is_none(), crosses);
            assert_eq!(fields.get("Cookie").is_none(), crosses);
            assert_eq!(fields.get("Accept"), Some("x"));
        }
    }

    #[test]
    fn what_described_the_body_goes_with_it() {
        let mut fields = Fields::new();
        fields.push("Content-Type", "text/plain").expect("a field");
        follow("http://a/", "POST", 307, "/b").strip(&mut fields);
        assert!(fields.get("Content-Type").is_some());
        follow("http://a/", "POST", 303, "/b").strip(&mut fields);
        assert!(fields.is_empty());
    }

    #[test]
    fn a_redirect_that_must_not_be_followed_is_an_error() {
        let some = Redirects::default();
        assert_eq!(
            refusal("http://a/", "/b", some, 10),
            "more than 10 redirects, while waiting for the response (http://a/)"
        );
        assert!(refusal("http://a/", "ftp://b", some, 0).starts_with("a redirect leads nowhere"));
        assert!(refusal("https://a/", "http://a", some, 0).contains("from https to http"));
        let from = Url::parse("https://a/").expect("a URL");
        let allowing = Redirects {
            allow_insecure: true,
            ..some
        };
        assert!(Redirection::of(302, Some(b"http://a/"), "GET", &from, &allowing, 0).is_ok());
    }
}
