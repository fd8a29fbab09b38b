//! Who may look at a server from inside, and who may act on it.
//!
//! What shows the loop, the connections and their peers is nobody else's business, and what closes a connection or
//! cancels a task even less. So such routes answer programs on the same machine only, refuse pages of other sites that
//! a browser on it may show, and act for those who know a token.

use std::fmt::{self, Write as _};
use std::hash::{BuildHasher, RandomState};
use std::hint::black_box;
use std::net::IpAddr;

use crate::conn::{Origins, Request, Response};

/// Stands before routes that are not for everybody. The clones are the same guard, for apps of several loops.
///
/// - Looking: the peer is on this machine, the request's `Host` names it, and its `Origin`, if it has one, is that
///   host: a page of another site, or one whose name was pointed here (DNS rebinding), gets 403.
/// - Acting: besides, `Authorization: Bearer TOKEN` (RFC 6750, 2.1), with the guard's token; else 401. A browser never
///   sends that field by itself.
///
/// ```
/// use tourbillon::web::{Guard, Request};
///
/// let guard = Guard::with_token("abracadabra");
/// let fields = [("host", "localhost:8080"), ("authorization", "Bearer abracadabra")];
/// assert!(guard.may_act(&Request::build("POST", "/", &fields, "").unwrap()).is_ok());
/// let elsewhere = [("host", "example.org")];
/// assert_eq!(guard.may_look(&Request::build("GET", "/", &elsewhere, "").unwrap()).unwrap_err().status(), 403);
/// ```
#[derive(Clone)]
pub struct Guard {
    token: String,
    allows_remote: bool,
}

impl Guard {
    /// A guard with a token of 128 bits that nobody can guess, for this machine only. [`Guard::token`] tells it.
    pub fn new() -> Self {
        // Keyed with what the operating system gave to this process, as `HashMap` is: whoever sees hashes does not
        // learn the key.
        let random = RandomState::new();
        let mut token = String::with_capacity(32);
        for part in 0..2 {
            let _ = write!(token, "{:016x}", random.hash_one(part));
        }
        Self::with_token(token)
    }

    /// A guard with a token that was agreed on elsewhere.
    ///
    /// # Panics
    /// When it is empty.
    pub fn with_token(token: impl Into<String>) -> Self {
        let token = token.into();
        assert!(!token.is_empty(), "an empty token guards nothing");
        Self {
            token,
            allows_remote: false,
        }
    }

    /// Let peers on other machines look, by whatever name they know this one: for a server that only its operators can
    /// reach. They need the token for that, too. Pages of other sites stay out.
    pub fn allow_remote(self, allows_remote: bool) -> Self {
        Self {
            allows_remote,
            ..self
        }
    }

    /// The token, to be told to whoever may act.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Whether `token` is the guard's. Takes as long for a wrong one as for the right one, so that nobody can guess it
    /// piece by piece.
    pub fn is_token(&self, token: &str) -> bool {
        let (ours, theirs) = (self.token.as_bytes(), token.as_bytes());
        let mut differ = u8::from(ours.len() != theirs.len());
        for (at, ours) in ours.iter().enumerate() {
            let theirs = theirs.get(at).copied().unwrap_or_default();
            differ = black_box(differ | (ours ^ theirs));
        }
        differ == 0
    }

    /// Whether `request` may see what is behind the guard.
    ///
    /// # Errors
    /// 403, or 401 for a peer on another machine that may come with the token; to be answered as it is.
    pub fn may_look(&self, request: &Request) -> Result<(), Response> {
        self.check_place(request)?;
        match is_from_here(request) {
            true => Ok(()),
            false => self.check_token(request),
        }
    }

    /// Whether `request` may change what is behind the guard.
    ///
    /// # Errors
    /// 403 or 401, to be answered as it is.
    pub fn may_act(&self, request: &Request) -> Result<(), Response> {
        self.check_place(request)?;
        self.check_token(request)
    }

    /// Whether it comes from where requests may come from; whoever speaks for more has to say the token, too.
    ///
    /// # Errors
    /// 403.
    pub fn check_place(&self, request: &Request) -> Result<(), Response> {
        if !self.allows_remote && !is_from_here(request) {
            let text = "this is shown on the machine it runs on only, at localhost\n";
            return Err(Response::text(text).with_status(403));
        }
        Origins::Same.check(request)
    }

    fn check_token(&self, request: &Request) -> Result<(), Response> {
        let sent = request.header("authorization").unwrap_or_default();
        let is_known = (sent.split_once(' ')).is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && self.is_token(token.trim())
        });
        if is_known {
            return Ok(());
        }
        Err(
            Response::text("this needs the token: Authorization: Bearer TOKEN\n")
                .with_status(401)
                .with_header("www-authenticate", "Bearer"),
        )
    }
}

impl Default for Guard {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The token is a secret.
        f.debug_struct("Guard")
            .field("allows_remote", &self.allows_remote)
            .finish_non_exhaustive()
    }
}

/// Whether both the peer and the name it used are of this machine. A request that no socket has brought is.
fn is_from_here(request: &Request) -> bool {
    let peer = request.peer_addr().ip();
    let host = request.header("host").unwrap_or_default();
    (peer.is_unspecified() || peer.to_canonical().is_loopback()) && is_loopback(host)
}

/// Whether a `Host` names this machine to itself, whatever its port.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let address = name.parse::<IpAddr>();
    name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(fields: &[(&str, &str)]) -> Request {
        Request::build("GET", "/", fields, "").expect("a request")
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, other) = (Guard::new(), Guard::new());
        assert_eq!(one.token().len(), 32);
        assert_ne!(one.token(), other.token());
        assert!(one.is_token(one.token()) && !one.is_token(other.token()));
        assert!(!one.is_token("") && !one.is_token(&one.token()[..31]));
        assert!(!one.is_token(&format!("{}0", one.token())));
        assert!(!format!("{one:?}").contains(one.token()));
    }

    #[test]
    fn only_names_of_this_machine_pass() {
        for host in [
            "localhost",
            "LocalHost:80",
            "127.0.0.1:8080",
            "127.8.8.8",
            "[::1]:8080",
        ] {
            assert!(is_loopback(host), "{host}");
        }
        for host in [
            "",
            "example.org",
            "localhost.example.org:80",
            "10.0.0.1",
            "[2001:db8::1]",
            "127.0.0.1.nip.io",
        ] {
            assert!(!is_loopback(host), "{host}");
        }
    }

    #[test]
    fn pages_of_other_sites_stay_out() {
        let guard = Guard::new();
        let page = [("host", "localhost:80"), ("origin", "http://example.org")];
        assert_eq!(guard.may_look(&request(&page)).unwrap_err().status(), 403);
        let own = [
            ("host", "localhost:8080"),
            ("origin", "http://localhost:8080"),
        ];
        assert!(guard.may_look(&request(&own)).is_ok());
        let rebound = [("host", "evil.example"), ("origin", "http://evil.example")];
        assert_eq!(
            guard.may_look(&request(&rebound)).unwrap_err().status(),
            403
        );
    }

    #[test]
    fn whoever_acts_says_the_token() {
        let guard = Guard::with_token("secret");
        let with = |value: &str| {
            let fields = [("host", "localhost"), ("authorization", value)];
            guard.may_act(&request(&fields)).map_err(|no| no.status())
        };
        assert_eq!(with("Bearer secret"), Ok(()));
        assert_eq!(with("bearer  secret "), Ok(()));
        assert_eq!(with("Bearer secrets"), Err(401));
        assert_eq!(with("Basic secret"), Err(401));
        let without = guard.may_act(&request(&[("host", "localhost")]));
        assert_eq!(without.unwrap_err().status(), 401);
    }

    #[test]
    fn peers_elsewhere_are_let_in_by_the_token_if_at_all() {
        let open = Guard::with_token("secret").allow_remote(true);
        let look = |guard: &Guard, fields: &[(&str, &str)]| {
            guard
                .may_look(&request(fields))
                .map_err(|refusal| refusal.status())
        };
        let host = ("host", "server.example");
        let token = ("authorization", "Bearer secret");
        assert_eq!(look(&open, &[host]), Err(401));
        assert_eq!(look(&open, &[host, token]), Ok(()));
        assert_eq!(look(&Guard::with_token("secret"), &[host, token]), Err(403));
    }
}
