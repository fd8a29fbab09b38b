//! Cookies of a client, by RFC 6265, with what its successor (the draft 6265bis) made stricter: cookies over HTTP do
//! not touch those of HTTPS, and names with a prefix keep what it promises.
//!
//! There is no list of public suffixes here. A cookie for a whole top-level domain is refused; one for `co.uk` is not,
//! and goes to all of its hosts. Whoever talks to hosts that do not trust each other gives each a jar of its own.
//!
//! Time comes in as an argument. `SameSite` means nothing to a client without pages.

use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::time::{Duration, SystemTime};
use std::{error, fmt};

use cookie::Cookie;

use super::url::{Scheme, Url};

/// A name and a value together (6265bis, 5.6).
pub const COOKIE_BYTES_MAX: usize = 4096;

/// The value of `Cookie`. Servers refuse longer lines, and then all that a client asks for until the jar is emptied.
pub const HEADER_BYTES_MAX: usize = 8 * 1024;

/// How many cookies a jar holds. The defaults are what RFC 6265, 6.1 wants at least.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CookieLimits {
    /// For one domain: 50.
    pub per_domain_max: usize,
    /// In all: 3000.
    pub cookies_max: usize,
}

impl Default for CookieLimits {
    fn default() -> Self {
        Self {
            per_domain_max: 50,
            cookies_max: 3000,
        }
    }
}

/// What of a URL decides about cookies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestUri<'a> {
    /// Whether it is `https`.
    pub is_secure: bool,
    /// In lower case; an IPv6 address without brackets.
    pub host: &'a str,
    /// Without the query.
    pub path: &'a str,
}

impl<'a> From<&'a Url> for RequestUri<'a> {
    fn from(url: &'a Url) -> Self {
        Self {
            is_secure: url.scheme() == Scheme::Https,
            host: url.host(),
            path: url.path(),
        }
    }
}

/// Cookies: what servers set goes in, what they want to see again comes out.
///
/// ```
/// use std::time::{Duration, SystemTime};
/// use tourbillon::client::Url;
/// use tourbillon::client::cookies::CookieJar;
///
/// let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
/// let mut jar = CookieJar::new();
/// let login = Url::parse("https://shop.example.org/login")?;
/// jar.store("session=1729; Domain=example.org; Path=/; Max-Age=3600", &login, now)?;
///
/// let cart = Url::parse("https://example.org/cart?page=2")?;
/// assert_eq!(jar.header(&cart, now).as_deref(), Some("session=1729"));
/// assert_eq!(jar.header(&cart, now + Duration::from_secs(3600)), None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct CookieJar {
    limits: CookieLimits,
    /// By the domain that they are for. None of the lists is empty.
    domains: HashMap<String, Vec<StoredCookie>>,
    count: usize,
    /// Counts what is stored and what is sent, to tell earlier from later.
    uses: u64,
}

/// A cookie in a jar.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StoredCookie {
    name: String,
    value: String,
    path: String,
    expires: Option<SystemTime>,
    host_only: bool,
    secure: bool,
    http_only: bool,
    created: u64,
    used: u64,
}

impl CookieJar {
    /// An empty one with the limits of RFC 6265.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one. Where a limit is 0, nothing is stored.
    pub fn with_limits(limits: CookieLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Take what a response from `from` says in one `Set-Cookie` (RFC 6265, 5.3). That may also delete a cookie. When
    /// the jar is full, the one that was not used for longest has to go.
    ///
    /// # Errors
    /// Why it is not stored; the request it belongs to is none the worse for it.
    pub fn store<'a>(
        &mut self,
        set_cookie: &str,
        from: impl Into<RequestUri<'a>>,
        now: SystemTime,
    ) -> Result<(), CookieError> {
        let from = from.into();
        let parsed = Cookie::parse(set_cookie).map_err(|_| CookieError::Malformed)?;
        let (name, value) = parsed.name_value();
        if [name, value]
            .iter()
            .any(|text| text.contains(char::is_control))
        {
            return Err(CookieError::Malformed);
        }
        if name.len() + value.len() > COOKIE_BYTES_MAX {
            return Err(CookieError::TooLarge);
        }
        let secure = parsed.secure() == Some(true);
        if secure && !from.is_secure {
            return Err(CookieError::NotSecure);
        }
        check_prefix(&parsed, secure)?;
        let (domain, host_only) = domain_of(&parsed, from.host)?;
        let path = match parsed.path() {
            Some(path) if path.starts_with('/') => path,
            _ => default_path(from.path),
        };
        if !from.is_secure && self.has_secure_twin(name, path, from.host) {
            return Err(CookieError::NotSecure);
        }
        let stored = StoredCookie {
            name: name.to_owned(),
            value: value.to_owned(),
            path: path.to_owned(),
            expires: expiry(&parsed, now),
            host_only,
            secure,
            http_only: parsed.http_only() == Some(true),
            created: self.next_use(),
            used: self.uses,
        };
        self.insert(domain, stored, now);
        Ok(())
    }

    /// The value of `Cookie` for a request to `to`, or `None` if there is none to send (RFC 6265, 5.4). Those for
    /// longer paths come first, then the older ones. What would make it longer than [`HEADER_BYTES_MAX`] is left out.
    pub fn header<'a>(&mut self, to: impl Into<RequestUri<'a>>, now: SystemTime) -> Option<String> {
        let to = to.into();
        let mut found = Vec::new();
        for domain in domains_of(to.host) {
            self.drop_expired(domain, now);
            let cookies = self.domains.get(domain).into_iter().flatten();
            found.extend(cookies.enumerate().filter_map(|(at, cookie)| {
                let is_meant = (!cookie.host_only || domain == to.host)
                    && (!cookie.secure || to.is_secure)
                    && path_matches(to.path, &cookie.path);
                is_meant.then_some((cookie.path.len(), cookie.created, domain, at))
            }));
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let used = self.next_use();
        let mut header = String::new();
        for (_, _, domain, at) in found {
            let cookie = &mut self.domains.get_mut(domain)?[at];
            let separator = if header.is_empty() { "" } else { "; " };
            let length = separator.len() + cookie.name.len() + 1 + cookie.value.len();
            if header.len() + length <= HEADER_BYTES_MAX {
                cookie.used = used;
                header.extend([separator, &cookie.name, "=", &cookie.value]);
            }
        }
        (!header.is_empty()).then_some(header)
    }

    /// All of them, with the domain that each is for, those included that have expired and were not asked for since.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &StoredCookie)> {
        self.domains
            .iter()
            .flat_map(|(domain, cookies)| cookies.iter().map(|cookie| (domain.as_str(), cookie)))
    }

    /// Forget one. `false` if there is none.
    pub fn remove(&mut self, domain: &str, path: &str, name: &str) -> bool {
        self.retain(domain, |cookie| cookie.path != path || cookie.name != name) > 0
    }

    /// Forget all.
    pub fn clear(&mut self) {
        self.domains.clear();
        self.count = 0;
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }

    /// Whether a cookie that only HTTPS may set would be hidden by one of this name and path (6265bis, 5.7).
    fn has_secure_twin(&self, name: &str, path: &str, host: &str) -> bool {
        domains_of(host)
            .filter_map(|domain| self.domains.get(domain))
            .flatten()
            .any(|cookie| cookie.secure && cookie.name == name && path_matches(path, &cookie.path))
    }

    /// Put it in the place of the one of the same name, domain and path, or only delete that.
    fn insert(&mut self, domain: &str, mut stored: StoredCookie, now: SystemTime) {
        self.retain(domain, |cookie| {
            let is_same = cookie.name == stored.name && cookie.path == stored.path;
            if is_same {
                // It keeps its place in the header.
                stored.created = cookie.created;
            }
            !is_same
        });
        let is_possible = self.limits.per_domain_max > 0 && self.limits.cookies_max > 0;
        if stored.is_expired(now) || !is_possible {
            return;
        }
        self.make_room(domain, now);
        self.count += 1;
        self.domains
            .entry(domain.to_owned())
            .or_default()
            .push(stored);
    }

    /// For one more of `domain`: expired ones go first, then those of a domain that has too many (RFC 6265, 5.3).
    fn make_room(&mut self, domain: &str, now: SystemTime) {
        if self.domains.get(domain).map_or(0, Vec::len) >= self.limits.per_domain_max {
            self.drop_expired(domain, now);
            if self.domains.get(domain).map_or(0, Vec::len) >= self.limits.per_domain_max {
                self.drop_unused(domain);
            }
        }
        if self.count >= self.limits.cookies_max {
            let domains: Vec<_> = self.domains.keys().cloned().collect();
            for domain in domains {
                self.drop_expired(&domain, now);
            }
        }
        if self.count >= self.limits.cookies_max {
            let last_used =
                |cookies: &[StoredCookie]| cookies.iter().map(|cookie| cookie.used).min();
            let least = self
                .domains
                .iter()
                .min_by_key(|(_, cookies)| last_used(cookies));
            let (domain, _) = least.expect("a full jar is not empty");
            self.drop_unused(&domain.clone());
        }
    }

    fn drop_expired(&mut self, domain: &str, now: SystemTime) {
        self.retain(domain, |cookie| !cookie.is_expired(now));
    }

    /// Drop the one of `domain` that was not used for longest.
    fn drop_unused(&mut self, domain: &str) {
        let cookies = self.domains.get(domain).into_iter().flatten();
        if let Some(least) = cookies.map(|cookie| (cookie.used, cookie.created)).min() {
            self.retain(domain, |cookie| (cookie.used, cookie.created) != least);
        }
    }

    /// How many were dropped.
    fn retain(&mut self, domain: &str, is_kept: impl FnMut(&StoredCookie) -> bool) -> usize {
        let Some(cookies) = self.domains.get_mut(domain) else {
            return 0;
        };
        let before = cookies.len();
        cookies.retain(is_kept);
        let dropped = before - cookies.len();
        if cookies.is_empty() {
            self.domains.remove(domain);
        }
        self.count -= dropped;
        dropped
    }
}

impl StoredCookie {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its value, as the server wrote it.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// It is sent with requests for this path and those below it.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// When it is not sent any more; `None` if it lives as long as the jar.
    pub const fn expires(&self) -> Option<SystemTime> {
        self.expires
    }

    /// Whether it is sent to its domain alone, and not to those below it.
    pub const fn is_host_only(&self) -> bool {
        self.host_only
    }

    /// Whether it is sent over HTTPS only.
    pub const fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether the server wants it kept from scripts. It is for the program to see to that.
    pub const fn is_http_only(&self) -> bool {
        self.http_only
    }

    fn is_expired(&self, now: SystemTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

/// 6265bis, 4.1.3: a name with a prefix was set with these attributes, or not at all.
fn check_prefix(parsed: &Cookie<'_>, secure: bool) -> Result<(), CookieError> {
    let has = |prefix: &str| {
        let front = parsed.name().get(..prefix.len());
        front.is_some_and(|front| front.eq_ignore_ascii_case(prefix))
    };
    let is_of_host = || secure && parsed.domain().is_none() && parsed.path() == Some("/");
    match (has("__Secure-"), has("__Host-")) {
        (true, _) if !secure => Err(CookieError::BrokenPrefix),
        (_, true) if !is_of_host() => Err(CookieError::BrokenPrefix),
        _ => Ok(()),
    }
}

/// The domain that a cookie from `host` is for, and whether for that host alone. It is always `host` or the end of it.
fn domain_of<'a>(parsed: &Cookie<'_>, host: &'a str) -> Result<(&'a str, bool), CookieError> {
    // Without a leading dot (RFC 6265, 5.2.3).
    let Some(wanted) = parsed.domain().filter(|domain| !domain.is_empty()) else {
        return Ok((host, true));
    };
    let domain = domains_of(host).find(|domain| domain.eq_ignore_ascii_case(wanted));
    let domain = domain.ok_or(CookieError::ForeignDomain)?;
    match (domain == host, domain.contains('.') && !is_address(domain)) {
        (_, true) => Ok((domain, false)),
        // `localhost` and addresses may name themselves; nobody is below them.
        (true, false) => Ok((host, true)),
        (false, false) => Err(CookieError::PublicDomain),
    }
}

/// `host` and all domains that it belongs to (RFC 6265, 5.1.3). An address belongs to none.
fn domains_of(host: &str) -> impl Iterator<Item = &str> {
    let is_address = is_address(host);
    let domains = std::iter::successors(Some(host), move |domain| match is_address {
        true => None,
        false => domain.split_once('.').map(|(_, parent)| parent),
    });
    domains.filter(|domain| !domain.is_empty())
}

fn is_address(host: &str) -> bool {
    host.contains(':') || host.parse::<Ipv4Addr>().is_ok()
}

/// RFC 6265, 5.1.4: all up to the last slash, or the root.
fn default_path(path: &str) -> &str {
    match path.rfind('/') {
        Some(slash) if slash > 0 && path.starts_with('/') => &path[..slash],
        _ => "/",
    }
}

/// RFC 6265, 5.1.4: the same path, or one below it.
fn path_matches(path: &str, of_cookie: &str) -> bool {
    match path.strip_prefix(of_cookie) {
        Some(rest) => rest.is_empty() || of_cookie.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

/// `Max-Age` counts before `Expires` (RFC 6265, 5.3). What is too far away to be said is never.
fn expiry(parsed: &Cookie<'_>, now: SystemTime) -> Option<SystemTime> {
    match parsed.max_age() {
        Some(age) => now.checked_add(Duration::from_secs(age.whole_seconds().unsigned_abs())),
        None => parsed.expires_datetime().map(SystemTime::from),
    }
}

/// Why a cookie is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CookieError {
    /// No name, no `=`, or a control character.
    Malformed,
    /// More than [`COOKIE_BYTES_MAX`].
    TooLarge,
    /// It is for a domain that its sender does not belong to.
    ForeignDomain,
    /// It is for a whole top-level domain.
    PublicDomain,
    /// It is `Secure`, or would hide one that is, and came without TLS.
    NotSecure,
    /// Its name begins with `__Secure-` or `__Host-`, and it lacks what that promises.
    BrokenPrefix,
}

impl fmt::Display for CookieError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the cookie has no name, no = or a control character",
            Self::TooLarge => "the cookie is too large",
            Self::ForeignDomain => "the cookie is for a domain that its sender does not belong to",
            Self::PublicDomain => "the cookie is for a whole top-level domain",
            Self::NotSecure => "the cookie needs TLS, or would hide one that does",
            Self::BrokenPrefix => "the cookie lacks what the prefix of its name promises",
        })
    }
}

impl error::Error for CookieError {}

#[cfg(test)]
mod tests;
