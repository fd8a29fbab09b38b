//! URLs of HTTP by RFC 3986: taken apart, put into one form, and resolved against each other.
//!
//! Where readers of one URL could disagree about the host that it names, this one refuses instead of guessing: a
//! backslash or a second `@` in the authority, `127.1`, a host that is not ASCII.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::rc::Rc;
use std::str::FromStr;

use crate::proto::http1::percent_decode;

/// An `http` or `https` URL in one form: scheme and host in lower case, no default port, no dot segments, everything
/// percent-encoded that RFC 3986 wants so. Cheap to clone.
///
/// A user name and a password in it are taken out: they are not part of its text, so no log has them.
///
/// ```
/// use tourbillon::client::Url;
/// let url: Url = "HTTP://ann:secret@Example.com:80/a/./b c?q=ä#top".parse()?;
/// assert_eq!(url.as_str(), "http://example.com/a/b%20c?q=%C3%A4#top");
/// assert_eq!(url.join("../d?x=1")?.as_str(), "http://example.com/d?x=1");
/// # Ok::<(), tourbillon::client::UrlError>(())
/// ```
#[derive(Clone)]
pub struct Url {
    text: Rc<str>,
    scheme: Scheme,
    port: u16,
    /// Where in `text` the parts end; the path begins where the authority ends.
    host_end: u32,
    authority_end: u32,
    path_end: u32,
    target_end: u32,
    credentials: Option<Rc<Credentials>>,
}

/// How the server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Scheme {
    /// In the clear, port 80 unless the URL says another.
    Http,
    /// Over TLS, port 443 unless the URL says another.
    Https,
}

impl Scheme {
    fn named(text: &str) -> Option<Self> {
        match text {
            _ if text.eq_ignore_ascii_case("http") => Some(Self::Http),
            _ if text.eq_ignore_ascii_case("https") => Some(Self::Https),
            _ => None,
        }
    }

    /// As it is written, in lower case.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port where a URL names none.
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

/// What stood before the `@`, decoded.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Credentials {
    pub(super) user: String,
    pub(super) password: String,
}

impl Url {
    /// Read an absolute URL as a person writes it.
    ///
    /// # Errors
    ///
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, UrlError> {
        let reference = Reference::read(text)?;
        let scheme = reference.scheme.ok_or(UrlError::NoScheme)?;
        Self::absolute(scheme, &reference)
    }

    /// Resolve `reference`, which stands in what this URL leads to (RFC 3986, 5.2).
    ///
    /// # Errors
    ///
    /// As [`parse`](Self::parse).
    pub fn join(&self, reference: &str) -> Result<Self, UrlError> {
        let reference = Reference::read(reference)?;
        if let Some(scheme) = reference.scheme {
            return Self::absolute(scheme, &reference);
        }
        if reference.authority.is_some() {
            return Self::absolute(self.scheme.as_str(), &reference);
        }
        let merged;
        let (path, query) = match reference.path {
            "" => (self.path(), reference.query.or(self.query())),
            rooted if rooted.starts_with('/') => (rooted, reference.query),
            relative => {
                // 5.2.3: beside the last segment. Our paths are never empty.
                let folder = self.path().rfind('/').map_or(0, |slash| slash + 1);
                merged = format!("{}{relative}", &self.path()[..folder]);
                (merged.as_str(), reference.query)
            }
        };
        let authority = Authority {
            host: self.bracketed_host().to_owned(),
            port: self.port,
            credentials: self.credentials.clone(),
        };
        Self::build(self.scheme, authority, path, query, reference.fragment)
    }

    fn absolute(scheme: &str, reference: &Reference<'_>) -> Result<Self, UrlError> {
        let scheme = Scheme::named(scheme).ok_or(UrlError::UnknownScheme)?;
        let authority = reference.authority.ok_or(UrlError::NoHost)?;
        Self::build(
            scheme,
            Authority::read(authority, scheme)?,
            reference.path,
            reference.query,
            reference.fragment,
        )
    }

    fn build(
        scheme: Scheme,
        authority: Authority,
        path: &str,
        query: Option<&str>,
        fragment: Option<&str>,
    ) -> Result<Self, UrlError> {
        let mut text = String::with_capacity(16 + authority.host.len() + path.len());
        text.push_str(scheme.as_str());
        text.push_str("://");
        text.push_str(&authority.host);
        let host_end = text.len();
        if authority.port != scheme.default_port() {
            text.push(':');
            text.push_str(&authority.port.to_string());
        }
        let authority_end = text.len();
        if path.contains("/.") {
            encode(&without_dot_segments(path), is_path_byte, &mut text);
        } else {
            encode(path, is_path_byte, &mut text);
        }
        if text.len() == authority_end {
            text.push('/');
        }
        let path_end = text.len();
        if let Some(query) = query {
            text.push('?');
            encode(query, is_query_byte, &mut text);
        }
        let target_end = text.len();
        if let Some(fragment) = fragment {
            text.push('#');
            encode(fragment, is_query_byte, &mut text);
        }
        if text.len() > BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        Ok(Self {
            text: text.into(),
            scheme,
            port: authority.port,
            host_end: host_end as u32,
            authority_end: authority_end as u32,
            path_end: path_end as u32,
            target_end: target_end as u32,
            credentials: authority.credentials,
        })
    }

    /// The whole, without user name and password.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host as a resolver wants it: an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        let host = self.bracketed_host();
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host)
    }

    fn bracketed_host(&self) -> &str {
        &self.text[self.scheme.as_str().len() + 3..self.host_end as usize]
    }

    /// The port, also if it is the scheme's own.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Host and port as they stand in the text, which is the value of `Host` (RFC 9110, 7.2).
    pub fn authority(&self) -> &str {
        &self.text[self.scheme.as_str().len() + 3..self.authority_end as usize]
    }

    /// Scheme, host and port: what two URLs must share for credentials to be sent to both.
    pub fn origin(&self) -> &str {
        &self.text[..self.authority_end as usize]
    }

    /// The path, percent-encoded, at least `/`.
    pub fn path(&self) -> &str {
        &self.text[self.authority_end as usize..self.path_end as usize]
    }

    /// What stands behind the `?`, percent-encoded.
    pub fn query(&self) -> Option<&str> {
        self.text[self.path_end as usize..self.target_end as usize].strip_prefix('?')
    }

    /// What stands behind the `#`, percent-encoded. It is never sent.
    pub fn fragment(&self) -> Option<&str> {
        self.text[self.target_end as usize..].strip_prefix('#')
    }

    /// Path and query: the request's target.
    pub fn target(&self) -> &str {
        &self.text[self.authority_end as usize..self.target_end as usize]
    }

    /// All but the fragment: the request's target to a proxy (RFC 9112, 3.2.2).
    pub(super) fn without_fragment(&self) -> &str {
        &self.text[..self.target_end as usize]
    }

    pub(super) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_deref()
    }

    /// The same with `pairs` behind its query, encoded as a form is.
    pub(super) fn with_pairs<'a>(&self, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut query = self.query().unwrap_or_default().to_owned();
        for (name, value) in pairs {
            push_pair(name, value, &mut query);
        }
        self.with_tail(&query, self.fragment())
    }

    /// The same with the fragment of `from`, if it has none of its own (RFC 9110, 10.2.2).
    pub(super) fn or_fragment_of(self, from: &Self) -> Self {
        match (self.fragment(), from.fragment()) {
            (None, Some(fragment)) => {
                let mut text = String::from(&*self.text);
                text.push('#');
                text.push_str(fragment);
                Self {
                    text: text.into(),
                    ..self
                }
            }
            _ => self,
        }
    }

    /// The same with another query and fragment, both encoded already.
    fn with_tail(&self, query: &str, fragment: Option<&str>) -> Self {
        let mut text = String::from(&self.text[..self.path_end as usize]);
        if !query.is_empty() {
            text.push('?');
            text.push_str(query);
        }
        let target_end = text.len() as u32;
        if let Some(fragment) = fragment {
            text.push('#');
            text.push_str(fragment);
        }
        Self {
            text: text.into(),
            target_end,
            ..self.clone()
        }
    }
}

/// So that where its parts end fits 32 bits with room to spare; servers take far less.
const BYTES_MAX: usize = 1 << 20;

impl FromStr for Url {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        Self::parse(text)
    }
}

impl PartialEq for Url {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.credentials == other.credentials
    }
}

impl Eq for Url {}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.text, f)
    }
}

/// What can be made a [`Url`].
pub trait IntoUrl {
    /// Make it.
    ///
    /// # Errors
    ///
    /// As [`Url::parse`].
    fn into_url(self) -> Result<Url, UrlError>;
}

impl IntoUrl for Url {
    fn into_url(self) -> Result<Url, UrlError> {
        Ok(self)
    }
}

impl IntoUrl for &Url {
    fn into_url(self) -> Result<Url, UrlError> {
        Ok(self.clone())
    }
}

impl IntoUrl for &str {
    fn into_url(self) -> Result<Url, UrlError> {
        Url::parse(self)
    }
}

impl IntoUrl for String {
    fn into_url(self) -> Result<Url, UrlError> {
        Url::parse(&self)
    }
}

impl IntoUrl for &String {
    fn into_url(self) -> Result<Url, UrlError> {
        Url::parse(self)
    }
}

/// The parts of a reference (RFC 3986, appendix B), none of them looked at.
struct Reference<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Reference<'a> {
    fn read(text: &'a str) -> Result<Self, UrlError> {
        // Some readers take them out and others do not; then the two see different URLs.
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err(UrlError::ControlCharacter);
        }
        let (rest, fragment) = split_off(text, '#');
        let (rest, query) = split_off(rest, '?');
        let (scheme, rest) = match rest.split_once(':') {
            Some((scheme, behind)) if is_scheme(scheme) => (Some(scheme), behind),
            _ => (None, rest),
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                (Some(authority), path)
            }
            None => (None, rest),
        };
        Ok(Self {
            scheme,
            authority,
            path,
            query,
            fragment,
        })
    }
}

fn split_off(text: &str, mark: char) -> (&str, Option<&str>) {
    match text.split_once(mark) {
        Some((text, behind)) => (text, Some(behind)),
        None => (text, None),
    }
}

/// RFC 3986, 3.1.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

struct Authority {
    /// In lower case; an IPv6 address in brackets.
    host: String,
    port: u16,
    credentials: Option<Rc<Credentials>>,
}

impl Authority {
    fn read(text: &str, scheme: Scheme) -> Result<Self, UrlError> {
        let (credentials, rest) = match text.rsplit_once('@') {
            Some((userinfo, rest)) => (Some(read_userinfo(userinfo)?), rest),
            None => (None, text),
        };
        let behind_host = match rest.find(']') {
            Some(bracket) => bracket + 1,
            None => rest.find(':').unwrap_or(rest.len()),
        };
        let (host, port) = rest.split_at(behind_host);
        Ok(Self {
            host: read_host(host)?,
            port: match port {
                "" | ":" => scheme.default_port(),
                _ => read_port(port)?,
            },
            credentials,
        })
    }
}

fn read_userinfo(text: &str) -> Result<Rc<Credentials>, UrlError> {
    if text.contains(['@', '\\']) {
        return Err(UrlError::BadUserinfo);
    }
    let (user, password) = text.split_once(':').unwrap_or((text, ""));
    let decode = |text| {
        percent_decode(text)
            .map(String::from)
            .ok_or(UrlError::BadUserinfo)
    };
    Ok(Rc::new(Credentials {
        user: decode(user)?,
        password: decode(password)?,
    }))
}

/// A colon and a number.
fn read_port(text: &str) -> Result<u16, UrlError> {
    let digits = text.strip_prefix(':').ok_or(UrlError::BadHost)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(UrlError::BadPort);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(UrlError::BadPort),
        Ok(port) => Ok(port),
    }
}

fn read_host(text: &str) -> Result<String, UrlError> {
    if text.is_empty() {
        return Err(UrlError::NoHost);
    }
    if !text.is_ascii() {
        return Err(UrlError::NonAsciiHost);
    }
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(UrlError::BadIpv6)?;
        let address: Ipv6Addr = address.parse().map_err(|_| UrlError::BadIpv6)?;
        return Ok(format!("[{address}]"));
    }
    let is_name_byte =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if !text.bytes().all(is_name_byte) || text.starts_with('.') || text.contains("..") {
        return Err(UrlError::BadHost);
    }
    // inet_aton(3) reads `127.1`, `0x7f.0.0.1` and `2130706433` as addresses; a filter in front of us may not.
    let last = text.trim_end_matches('.').rsplit('.').next();
    let is_number = |label: &str| {
        let digits = label.strip_prefix("0x").or(label.strip_prefix("0X"));
        match digits {
            Some(digits) => digits.bytes().all(|byte| byte.is_ascii_hexdigit()),
            None => label.bytes().all(|byte| byte.is_ascii_digit()),
        }
    };
    if last.is_some_and(is_number) && text.parse::<Ipv4Addr>().is_err() {
        return Err(UrlError::BadIpv4);
    }
    Ok(text.to_ascii_lowercase())
}

/// RFC 3986, 5.2.4.
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            // The empty one in front of the first slash stays.
            ".." if kept.len() > 1 => drop(kept.pop()),
            ".." => {}
            _ => {
                kept.push(segment);
                continue;
            }
        }
        if is_last {
            kept.push("");
        }
    }
    kept.join("/")
}

/// RFC 3986, 2.2 and 2.3, without what separates parts.
fn is_segment_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte)
}

fn is_path_byte(byte: u8) -> bool {
    is_segment_byte(byte) || byte == b'/'
}

fn is_query_byte(byte: u8) -> bool {
    is_segment_byte(byte) || matches!(byte, b'/' | b'?')
}

/// Write `text` with what is not allowed percent-encoded. What is encoded already stays.
fn encode(text: &str, is_allowed: fn(u8) -> bool, out: &mut String) {
    for (at, byte) in text.bytes().enumerate() {
        let is_encoded = || {
            let digits = text.as_bytes().get(at + 1..at + 3);
            digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
        };
        match is_allowed(byte) || byte == b'%' && is_encoded() {
            true => out.push(char::from(byte)),
            false => push_encoded(byte, out),
        }
    }
}

fn push_encoded(byte: u8, out: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    out.push('%');
    for digit in [byte >> 4, byte & 15] {
        out.push(char::from(DIGITS[usize::from(digit)]));
    }
}

/// Write one pair of a form (`application/x-www-form-urlencoded`), as the WHATWG URL standard does, with a `&` before
/// it if it is not the first.
pub(super) fn push_pair(name: &str, value: &str, out: &mut String) {
    if !out.is_empty() {
        out.push('&');
    }
    push_form_text(name, out);
    out.push('=');
    push_form_text(value, out);
}

fn push_form_text(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b'*' | b'-' | b'.' | b'_' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => push_encoded(byte, out),
        }
    }
}

/// What is wrong with a URL.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum UrlError {
    /// It does not begin with a scheme.
    NoScheme,
    /// A scheme other than `http` and `https`.
    UnknownScheme,
    /// No host.
    NoHost,
    /// A byte that no host has.
    BadHost,
    /// A host in another script. Its ASCII form (`xn--…`) is taken; making it needs tables that this crate leaves out.
    NonAsciiHost,
    /// The host ends in a number and is not four of them with dots between.
    BadIpv4,
    /// What stands in brackets is no IPv6 address. Zones are not taken.
    BadIpv6,
    /// The port is not a number from 1 to 65535.
    BadPort,
    /// The user name or password holds an `@` or a `\`, or a `%` without two digits.
    BadUserinfo,
    /// A control character; a line break among them.
    ControlCharacter,
    /// Longer than 1 MiB.
    TooLong,
}

impl fmt::Display for UrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoScheme => "the URL has no scheme: write http:// or https:// in front",
            Self::UnknownScheme => "the URL's scheme is neither http nor https",
            Self::NoHost => "the URL names no host",
            Self::BadHost => "the URL's host holds a character that no host has",
            Self::NonAsciiHost => "the URL's host is not ASCII: write its xn-- form",
            Self::BadIpv4 => {
                "the URL's host ends in a number and is not an IPv4 address of four numbers"
            }
            Self::BadIpv6 => "what stands in brackets in the URL is not an IPv6 address",
            Self::BadPort => "the URL's port is not a number from 1 to 65535",
            Self::BadUserinfo => "the URL's user name or password is not encoded as it should be",
            Self::ControlCharacter => "the URL holds a control character",
            Self::TooLong => "the URL is longer than a mebibyte",
        })
    }
}

impl std::error::Error for UrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Pairs of what a person writes and what it becomes.
    #[track_caller]
    fn check(pairs: &[(&str, &str)]) {
        for (text, expected) in pairs {
            assert_eq!(url(text).as_str(), *expected, "{text}");
            assert_eq!(url(expected).as_str(), *expected, "once is enough");
        }
    }

    #[test]
    fn a_url_is_put_into_one_form() {
        check(&[
            ("http://a", "http://a/"),
            ("HTTPS://A.B:443", "https://a.b/"),
            ("http://a:443", "http://a:443/"),
            ("http://a:", "http://a/"),
            ("http://a?x", "http://a/?x"),
            ("http://a#x", "http://a/#x"),
            ("http://a/b?", "http://a/b?"),
            ("http://[2001:DB8:0::1]:8080/", "http://[2001:db8::1]:8080/"),
            ("http://127.0.0.1:80/x", "http://127.0.0.1/x"),
            ("http://a./", "http://a./"),
            ("http://a_b-c.d/", "http://a_b-c.d/"),
        ]);
    }

    #[test]
    fn what_no_url_may_hold_is_percent_encoded_once() {
        check(&[
            ("http://a/b c", "http://a/b%20c"),
            ("http://a/b%20c", "http://a/b%20c"),
            ("http://a/100%", "http://a/100%25"),
            ("http://a/%zz", "http://a/%25zz"),
            ("http://a/ä?ö#ü", "http://a/%C3%A4?%C3%B6#%C3%BC"),
            (
                "http://a/<\"\\^`{|}>",
                "http://a/%3C%22%5C%5E%60%7B%7C%7D%3E",
            ),
            ("http://a/?x[]=1", "http://a/?x%5B%5D=1"),
            ("http://a/?a=b&c=d/?", "http://a/?a=b&c=d/?"),
            ("http://a/;=:@!$&'()*+,-._~", "http://a/;=:@!$&'()*+,-._~"),
        ]);
    }

    #[test]
    fn dot_segments_are_resolved() {
        check(&[
            ("http://a/b/../c", "http://a/c"),
            ("http://a/./b/.", "http://a/b/"),
            ("http://a/b/..", "http://a/"),
            ("http://a/../../b", "http://a/b"),
            ("http://a/.b/..c/...", "http://a/.b/..c/..."),
            ("http://a//b//../c", "http://a//b/c"),
        ]);
    }

    #[test]
    fn a_url_that_names_no_host_for_sure_is_refused() {
        for (text, expected) in [
            ("", UrlError::NoScheme),
            ("a.b/c", UrlError::NoScheme),
            ("/a", UrlError::NoScheme),
            (" http://a", UrlError::NoScheme),
            ("localhost:80", UrlError::UnknownScheme),
            ("ftp://a", UrlError::UnknownScheme),
            ("http:a", UrlError::NoHost),
            ("http:/a", UrlError::NoHost),
            ("http://", UrlError::NoHost),
            ("http:///a", UrlError::NoHost),
            ("http://:80/", UrlError::NoHost),
            ("http://user@/", UrlError::NoHost),
            ("http://a b/", UrlError::BadHost),
            ("http://a\\b/", UrlError::BadHost),
            ("http://a%2fb/", UrlError::BadHost),
            ("http://a,b/", UrlError::BadHost),
            ("http://a..b/", UrlError::BadHost),
            ("http://.a/", UrlError::BadHost),
            ("http://[::1]x/", UrlError::BadHost),
            ("http://[::1]x:1/", UrlError::BadHost),
            ("http://münchen.de/", UrlError::NonAsciiHost),
            ("http://ａ/", UrlError::NonAsciiHost),
            ("http://127.1/", UrlError::BadIpv4),
            ("http://2130706433/", UrlError::BadIpv4),
            ("http://0x7f.0.0.1/", UrlError::BadIpv4),
            ("http://0x7f000001/", UrlError::BadIpv4),
            ("http://1.2.3.256/", UrlError::BadIpv4),
            ("http://1.2.3.4./", UrlError::BadIpv4),
            ("http://a.1/", UrlError::BadIpv4),
            ("http://[::1/", UrlError::BadIpv6),
            ("http://[]/", UrlError::BadIpv6),
            ("http://[::g]/", UrlError::BadIpv6),
            ("http://[fe80::1%25eth0]/", UrlError::BadIpv6),
            ("http://a:x/", UrlError::BadPort),
            ("http://a:+80/", UrlError::BadPort),
            ("http://a:0/", UrlError::BadPort),
            ("http://a:65536/", UrlError::BadPort),
            ("http://a:1:2/", UrlError::BadPort),
            ("http://a@b@c/", UrlError::BadUserinfo),
            ("http://a\\@b/", UrlError::BadUserinfo),
            ("http://a%zz@b/", UrlError::BadUserinfo),
            ("http://a/\r\nX: y", UrlError::ControlCharacter),
            ("http://a\t/", UrlError::ControlCharacter),
            ("http://a/\u{7f}", UrlError::ControlCharacter),
        ] {
            assert_eq!(Url::parse(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn parts_are_where_they_should_be() {
        let all = url("https://u:p%40@[::1]:8443/a/b?c=d#e");
        assert_eq!(all.scheme(), Scheme::Https);
        assert_eq!((all.host(), all.port()), ("::1", 8443));
        assert_eq!(all.authority(), "[::1]:8443");
        assert_eq!(all.origin(), "https://[::1]:8443");
        assert_eq!((all.path(), all.target()), ("/a/b", "/a/b?c=d"));
        assert_eq!((all.query(), all.fragment()), (Some("c=d"), Some("e")));
        assert_eq!(all.without_fragment(), "https://[::1]:8443/a/b?c=d");
        let least = url("http://a");
        assert_eq!((least.authority(), least.port()), ("a", 80));
        assert_eq!((least.query(), least.fragment()), (None, None));
    }

    #[test]
    fn a_password_is_read_and_never_shown() {
        let with = url("http://ann:s%3Aecret:x@a/");
        assert_eq!(with.credentials().expect("given").user, "ann");
        assert_eq!(with.credentials().expect("given").password, "s:ecret:x");
        assert!(!format!("{with} {with:?}").contains("ecret"));
        assert_ne!(with, url("http://a/"));
    }

    /// The examples of RFC 3986, 5.4.
    #[test]
    fn references_resolve_as_the_rfc_shows() {
        let base = url("http://a/b/c/d;p?q");
        for (reference, expected) in [
            ("http:g", None),
            ("g:h", None),
            ("g", Some("http://a/b/c/g")),
            ("./g", Some("http://a/b/c/g")),
            ("g/", Some("http://a/b/c/g/")),
            ("/g", Some("http://a/g")),
            ("//g", Some("http://g/")),
            ("?y", Some("http://a/b/c/d;p?y")),
            ("g?y", Some("http://a/b/c/g?y")),
            ("#s", Some("http://a/b/c/d;p?q#s")),
            ("g#s", Some("http://a/b/c/g#s")),
            ("g?y#s", Some("http://a/b/c/g?y#s")),
            (";x", Some("http://a/b/c/;x")),
            ("g;x?y#s", Some("http://a/b/c/g;x?y#s")),
            ("", Some("http://a/b/c/d;p?q")),
            (".", Some("http://a/b/c/")),
            ("./", Some("http://a/b/c/")),
            ("..", Some("http://a/b/")),
            ("../g", Some("http://a/b/g")),
            ("../..", Some("http://a/")),
            ("../../g", Some("http://a/g")),
            ("../../../g", Some("http://a/g")),
            ("/./g", Some("http://a/g")),
            ("/../g", Some("http://a/g")),
            ("g.", Some("http://a/b/c/g.")),
            ("..g", Some("http://a/b/c/..g")),
            ("./../g", Some("http://a/b/g")),
            ("./g/.", Some("http://a/b/c/g/")),
            ("g/../h", Some("http://a/b/c/h")),
            ("g;x=1/../y", Some("http://a/b/c/y")),
            ("g?y/../x", Some("http://a/b/c/g?y/../x")),
            ("g#s/../x", Some("http://a/b/c/g#s/../x")),
            ("https://x/y", Some("https://x/y")),
        ] {
            let joined = base.join(reference).ok();
            assert_eq!(joined.as_ref().map(Url::as_str), expected, "{reference}");
        }
    }

    #[test]
    fn credentials_stay_with_their_authority() {
        let base = url("http://u:p@a/b");
        assert!(base.join("c").expect("fine").credentials().is_some());
        assert!(base.join("//a/c").expect("fine").credentials().is_none());
    }

    #[test]
    fn pairs_are_added_behind_what_is_there() {
        let pairs = [("a b", "c&d"), ("ä", "")];
        assert_eq!(
            url("http://a/#f").with_pairs(pairs.into_iter()).as_str(),
            "http://a/?a+b=c%26d&%C3%A4=#f"
        );
        assert_eq!(
            url("http://a/?x=1").with_pairs(pairs.into_iter()).target(),
            "/?x=1&a+b=c%26d&%C3%A4="
        );
    }

    #[test]
    fn a_fragment_is_inherited_where_there_is_none() {
        let from = url("http://a/#top");
        let to = |text: &str| url(text).or_fragment_of(&from);
        assert_eq!(to("http://b/").as_str(), "http://b/#top");
        assert_eq!(to("http://b/#x").as_str(), "http://b/#x");
        assert_eq!(to("http://b/").target(), "/");
    }
}
