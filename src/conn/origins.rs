//! From which pages a browser may open a WebSocket.

use super::request::Request;
use super::response::Response;

/// From which origins a WebSocket may be opened.
///
/// A browser lets every page open a WebSocket to every server, and sends the server's own cookies along: the
/// same-origin policy does not hold here. Without a check, any page that a user of yours happens to look at can speak
/// in the user's name (cross-site WebSocket hijacking). But a browser also says from where the page is, in `Origin`,
/// and no script can make it say something else (RFC 6455, 4.1 and 10.2).
///
/// Programs other than browsers send no `Origin`. They carry nobody's cookies by accident, and could send any `Origin`
/// they like: the check is none of their authentication, so a request without the field passes, whatever is set here.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Origins {
    /// The server's own: the host and port of `Origin` are those of `Host`. The scheme is not compared, for a server
    /// behind a proxy that speaks TLS does not know its own; nor is a port that is the scheme's usual one. The proxy
    /// must pass `Host` on as it came, else the origins are to be listed.
    #[default]
    Same,
    /// These, each as a browser writes it: `https://example.com`, `http://localhost:8080`. The server's own is not
    /// among them unless it is listed. With a list, a name that an attacker points at this server (DNS rebinding) is
    /// refused, too.
    List(Vec<String>),
    /// Any: for a public service that asks for no cookies.
    Any,
}

impl Origins {
    /// Those of a list, see [`Origins::List`].
    pub fn list<T: Into<String>>(origins: impl IntoIterator<Item = T>) -> Self {
        Self::List(origins.into_iter().map(Into::into).collect())
    }

    /// # Panics
    /// When a listed one is not `scheme://host` or `scheme://host:port`: with a path, or a slash at its end, it would
    /// never be equal to what a browser sends.
    #[track_caller]
    pub(super) fn check_list(&self) {
        let Self::List(origins) = self else { return };
        for origin in origins {
            let is_origin = authority(origin).is_some_and(|authority| {
                !authority.is_empty() && !authority.contains(['/', '?', '#', '@', '*', ' '])
            });
            assert!(
                is_origin,
                "{origin:?} is not an origin: scheme://host[:port]"
            );
        }
    }

    /// Whether a WebSocket may be opened by `request`.
    ///
    /// # Errors
    /// 403, to be answered as it is.
    ///
    /// ```
    /// use tourbillon::web::{Origins, Request};
    ///
    /// let from = |origin: &str| {
    ///     Request::build("GET", "/", &[("host", "example.com:8080"), ("origin", origin)], "").unwrap()
    /// };
    /// assert!(Origins::Same.check(&from("http://example.com:8080")).is_ok());
    /// assert_eq!(Origins::Same.check(&from("http://example.org")).unwrap_err().status(), 403);
    /// assert!(Origins::list(["http://example.org"]).check(&from("http://example.org")).is_ok());
    /// ```
    pub fn check(&self, request: &Request) -> Result<(), Response> {
        if *self == Self::Any {
            return Ok(());
        }
        let is_admitted = match sent_once(request) {
            None => true,
            Some(None) => false,
            Some(Some(origin)) => match self {
                Self::Any => true,
                Self::List(origins) => origins
                    .iter()
                    .any(|known| known.eq_ignore_ascii_case(origin)),
                Self::Same => is_of_host(origin, request.header("host").unwrap_or_default()),
            },
        };
        if is_admitted {
            return Ok(());
        }
        let refusal = Response::text("a WebSocket may not be opened from this origin\n");
        Err(refusal.with_status(403))
    }
}

/// The request's `Origin`, if it has one; `Some(None)` when it is no text, or there are several.
fn sent_once(request: &Request) -> Option<Option<&str>> {
    let mut origins = request
        .head()
        .headers()
        .filter(|(name, _)| name.eq_ignore_ascii_case("origin"));
    let (_, first) = origins.next()?;
    let is_only = origins.next().is_none();
    Some(std::str::from_utf8(first).ok().filter(|_| is_only))
}

/// What stands behind the scheme of an origin. `null`, the origin of a page without one, has neither.
fn authority(origin: &str) -> Option<&str> {
    origin.split_once("://").map(|(_, authority)| authority)
}

/// Whether `origin` is one of the host that a `Host` field names.
fn is_of_host(origin: &str, host: &str) -> bool {
    let Some(theirs) = authority(origin) else {
        return false;
    };
    // A browser leaves the usual port out, of both; somebody else may write it.
    let is_secure = origin
        .split_once(':')
        .is_some_and(|(scheme, _)| matches!(scheme, "https" | "wss"));
    let usual = if is_secure { ":443" } else { ":80" };
    let bare = |name: &'_ str| {
        name.strip_suffix(usual)
            .unwrap_or(name)
            .to_ascii_lowercase()
    };
    bare(theirs) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(host: &str, origins: &[&str]) -> Request {
        let mut fields = vec![("host", host)];
        fields.extend(origins.iter().map(|origin| ("Origin", *origin)));
        Request::build("GET", "/", &fields, "").unwrap()
    }

    #[test]
    fn who_sends_no_origin_is_no_browser_and_passes() {
        for origins in [
            Origins::Same,
            Origins::Any,
            Origins::list(["https://example.com"]),
        ] {
            assert!(origins.check(&request("example.com", &[])).is_ok());
        }
    }

    #[test]
    fn the_same_origin_is_the_same_host_and_port() {
        for (host, origin, is_same) in [
            ("example.com", "http://example.com", true),
            ("example.com", "https://example.com", true),
            ("example.com", "https://EXAMPLE.com", true),
            ("example.com:80", "http://example.com", true),
            ("example.com:443", "https://example.com", true),
            ("example.com", "https://example.com:443", true),
            ("example.com", "http://example.com:443", false),
            ("example.com:8080", "http://example.com:8080", true),
            ("example.com:8080", "http://example.com", false),
            ("[::1]:8080", "http://[::1]:8080", true),
            ("example.com", "http://www.example.com", false),
            ("example.com", "http://example.com.evil.org", false),
            ("example.com", "http://evil.org/example.com", false),
            ("example.com", "null", false),
            ("example.com", "", false),
            ("example.com", "example.com", false),
        ] {
            let is_admitted = Origins::Same.check(&request(host, &[origin])).is_ok();
            assert_eq!(is_admitted, is_same, "{origin} at {host}");
        }
    }

    #[test]
    fn a_list_is_compared_whole() {
        let listed = Origins::list(["https://example.com", "http://localhost:8080"]);
        for (origin, is_listed) in [
            ("https://example.com", true),
            ("HTTPS://Example.com", true),
            ("http://localhost:8080", true),
            ("http://example.com", false),
            ("https://example.com:8080", false),
            ("null", false),
        ] {
            let is_admitted = listed.check(&request("example.com", &[origin])).is_ok();
            assert_eq!(is_admitted, is_listed, "{origin}");
        }
    }

    #[test]
    fn two_origins_are_none() {
        let own = "http://example.com";
        let twice = request("example.com", &[own, own]);
        assert_eq!(Origins::Same.check(&twice).unwrap_err().status(), 403);
        assert!(Origins::list([own]).check(&twice).is_err());
        assert!(Origins::Any.check(&twice).is_ok());
    }

    #[test]
    fn what_no_browser_sends_is_not_listed() {
        for wrong in [
            "example.com",
            "https://example.com/",
            "https://",
            "*",
            "https://*.a.b",
        ] {
            let listed = std::panic::catch_unwind(|| Origins::list([wrong]).check_list());
            assert!(listed.is_err(), "{wrong}");
        }
    }
}
