//! The rules of RFC 6265, one by one.

use super::*;

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn uri(text: &str) -> RequestUri<'_> {
    let (scheme, rest) = text.split_once("://").unwrap();
    let slash = rest.find('/').unwrap_or(rest.len());
    RequestUri {
        is_secure: scheme == "https",
        host: &rest[..slash],
        path: &rest[slash..],
    }
}

/// Set `cookie` from `from`; what is sent to each of `to`, or `-`.
#[track_caller]
fn check(from: &str, cookie: &str, to: &[(&str, &str)]) {
    let mut jar = CookieJar::new();
    jar.store(cookie, uri(from), at(0)).unwrap();
    for (to, expected) in to {
        let sent = jar.header(uri(to), at(0));
        assert_eq!(sent.as_deref().unwrap_or("-"), *expected, "to {to}");
    }
}

#[track_caller]
fn refused(from: &str, cookie: &str, expected: CookieError) {
    let mut jar = CookieJar::new();
    assert_eq!(
        jar.store(cookie, uri(from), at(0)),
        Err(expected),
        "{cookie} from {from}"
    );
    assert!(jar.is_empty());
}

#[test]
fn a_cookie_without_a_domain_is_for_its_host_alone() {
    let to = [
        ("http://a.test/", "x=1"),
        ("http://b.a.test/", "-"),
        ("http://test/", "-"),
        ("http://aa.test/", "-"),
    ];
    check("http://a.test/", "x=1", &to);
    check("http://a.test/", "x=1; Domain=", &to);
    check("http://a.test/", "x=1; Domain=.", &to);
}

#[test]
fn a_cookie_with_a_domain_is_for_all_below_it() {
    let to = [
        ("http://a.test/", "x=1"),
        ("http://b.a.test/", "x=1"),
        ("http://d.c.b.a.test/", "x=1"),
        ("http://test/", "-"),
        ("http://ba.test/", "-"),
        ("http://a.test.evil/", "-"),
    ];
    check("http://b.a.test/", "x=1; Domain=a.test", &to);
    check("http://b.a.test/", "x=1; domain=.A.Test", &to);
    check("http://a.test/", "x=1; Domain=a.test", &to);
}

#[test]
fn a_cookie_for_a_foreign_domain_is_refused() {
    for domain in [
        "b.test",
        "b.a.test",
        "evil.test",
        "a.test.",
        "aa.test",
        ".test.a",
    ] {
        let cookie = format!("x=1; Domain={domain}");
        refused("http://a.test/", &cookie, CookieError::ForeignDomain);
    }
}

#[test]
fn a_cookie_for_a_top_level_domain_is_refused_and_localhost_may_name_itself() {
    refused(
        "http://a.test/",
        "x=1; Domain=test",
        CookieError::PublicDomain,
    );
    refused(
        "http://a.test/",
        "x=1; Domain=.test",
        CookieError::PublicDomain,
    );
    let to = [("http://localhost/", "x=1"), ("http://a.localhost/", "-")];
    check("http://localhost/", "x=1; Domain=localhost", &to);
}

#[test]
fn addresses_have_no_domains_above_them() {
    let to = [
        ("http://127.0.0.1/", "x=1"),
        ("http://1.127.0.0.1/", "-"),
        ("http://0.0.1/", "-"),
    ];
    check("http://127.0.0.1/", "x=1; Domain=127.0.0.1", &to);
    check("http://127.0.0.1/", "x=1", &to);
    refused(
        "http://127.0.0.1/",
        "x=1; Domain=0.0.1",
        CookieError::ForeignDomain,
    );
    refused(
        "http://127.0.0.1/",
        "x=1; Domain=.1",
        CookieError::ForeignDomain,
    );
    check("http://::1/", "x=1", &[("http://::1/", "x=1")]);
    refused(
        "http://::ffff:1.2.3.4/",
        "x=1; Domain=3.4",
        CookieError::ForeignDomain,
    );
}

#[test]
fn a_path_matches_itself_and_what_lies_below_it() {
    let to = [
        ("http://a.test/docs", "x=1"),
        ("http://a.test/docs/", "x=1"),
        ("http://a.test/docs/web/http", "x=1"),
        ("http://a.test/", "-"),
        ("http://a.test/docsets", "-"),
        ("http://a.test/fr/docs", "-"),
    ];
    check("http://a.test/", "x=1; Path=/docs", &to);
    let to = [
        ("http://a.test/docs", "-"),
        ("http://a.test/docs/web", "x=1"),
    ];
    check("http://a.test/", "x=1; Path=/docs/", &to);
}

#[test]
fn without_a_path_it_is_that_of_the_request_up_to_its_last_slash() {
    let to = [
        ("http://a.test/a/b", "x=1"),
        ("http://a.test/a", "x=1"),
        ("http://a.test/b", "-"),
    ];
    check("http://a.test/a/page", "x=1", &to);
    check("http://a.test/a/", "x=1; Path=relative", &to);
    check("http://a.test/a/page", "x=1; Path=", &to);
    for from in ["http://a.test/page", "http://a.test/", "http://a.test"] {
        check(from, "x=1", &[("http://a.test/b", "x=1")]);
    }
}

#[test]
fn a_secure_cookie_comes_and_goes_over_tls_only() {
    let to = [("https://a.test/", "x=1"), ("http://a.test/", "-")];
    check("https://a.test/", "x=1; Secure", &to);
    refused("http://a.test/", "x=1; Secure", CookieError::NotSecure);
}

#[test]
fn a_cookie_over_http_does_not_hide_a_secure_one() {
    let mut jar = CookieJar::new();
    let secure = "x=1; Secure; Domain=a.test; Path=/login";
    jar.store(secure, uri("https://a.test/"), at(0)).unwrap();
    for (from, path) in [
        ("http://a.test/", "/login"),
        ("http://b.a.test/", "/login/en"),
    ] {
        let cookie = format!("x=2; Path={path}");
        assert_eq!(
            jar.store(&cookie, uri(from), at(0)),
            Err(CookieError::NotSecure)
        );
    }
    jar.store("x=2; Path=/", uri("http://a.test/"), at(0))
        .unwrap();
    jar.store("y=2; Path=/login", uri("http://a.test/"), at(0))
        .unwrap();
    jar.store("x=3; Path=/login", uri("https://a.test/"), at(0))
        .unwrap();
}

#[test]
fn prefixes_keep_what_they_promise() {
    check(
        "https://a.test/",
        "__Secure-x=1; Secure",
        &[("https://a.test/", "__Secure-x=1")],
    );
    check(
        "https://a.test/",
        "__Host-x=1; Secure; Path=/",
        &[("https://a.test/", "__Host-x=1")],
    );
    for cookie in [
        "__Secure-x=1",
        "__SECURE-x=1",
        "__Host-x=1; Path=/",
        "__Host-x=1; Secure",
        "__Host-x=1; Secure; Path=/a",
        "__host-x=1; Secure; Path=/; Domain=a.test",
    ] {
        refused("https://a.test/", cookie, CookieError::BrokenPrefix);
    }
}

#[test]
fn what_is_no_cookie_is_refused() {
    for cookie in ["", "x", "=1", " = ", "; x=1", "x=a\u{7}b", "x\u{1}=1"] {
        refused("http://a.test/", cookie, CookieError::Malformed);
    }
    let long = format!("x={}", "y".repeat(COOKIE_BYTES_MAX));
    refused("http://a.test/", &long, CookieError::TooLarge);
    check(
        "http://a.test/",
        &long[..=COOKIE_BYTES_MAX],
        &[("http://a.test/", &long[..=COOKIE_BYTES_MAX])],
    );
}

#[test]
fn values_are_sent_as_they_came() {
    for value in ["", "\"quoted\"", "a=b", "a%20b", "ä", "a b"] {
        let cookie = format!("x={value}");
        check(
            "http://a.test/",
            &format!(" {cookie} ; Path=/"),
            &[("http://a.test/", &cookie)],
        );
    }
}

#[test]
fn max_age_counts_before_expires_and_the_end_is_exact() {
    // The clock of these tests begins on 15 January 2027, 08:00.
    for (attributes, lives) in [
        ("Max-Age=10", 10),
        ("Expires=Fri, 15 Jan 2027 08:00:10 GMT", 10),
        ("expires=Friday, 15-Jan-27 08:00:10 GMT", 10),
        ("Expires=Fri Jan 15 08:00:10 2027", 10),
        ("Max-Age=10; Expires=Thu, 01 Jan 1970 00:00:00 GMT", 10),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT; Max-Age=10", 10),
        ("Max-Age=0; Expires=Fri, 15 Jan 2027 08:00:10 GMT", 0),
        ("Max-Age=-1", 0),
        ("Expires=Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Max-Age=99999999999999999999", u64::MAX),
        ("Max-Age=ten", u64::MAX),
        ("Expires=tomorrow", u64::MAX),
        ("", u64::MAX),
    ] {
        let mut jar = CookieJar::new();
        let cookie = format!("x=1; {attributes}");
        jar.store(&cookie, uri("http://a.test/"), at(0)).unwrap();
        let mut is_sent = |seconds| jar.header(uri("http://a.test/"), at(seconds)).is_some();
        match lives {
            u64::MAX => assert!(is_sent(2_000_000_000), "{attributes}"),
            0 => assert!(!is_sent(0), "{attributes}"),
            lives => assert!(is_sent(lives - 1) && !is_sent(lives), "{attributes}"),
        }
    }
}

#[test]
fn a_cookie_is_deleted_by_one_that_has_expired_and_replaced_in_its_place() {
    let mut jar = CookieJar::new();
    let from = uri("http://a.test/");
    for cookie in [
        "x=1",
        "y=1",
        "x=2",
        "x=3; Path=/deeper",
        "y=4; Domain=a.test; Path=/",
    ] {
        jar.store(cookie, from, at(0)).unwrap();
    }
    assert_eq!(
        jar.header(from, at(0)).unwrap(),
        "x=2; y=4",
        "replaced ones keep their place"
    );
    assert_eq!(jar.len(), 3);
    jar.store("x=; Max-Age=0", from, at(0)).unwrap();
    assert_eq!(jar.header(from, at(0)).unwrap(), "y=4");
    assert_eq!(
        jar.header(uri("http://a.test/deeper"), at(0)).unwrap(),
        "x=3; y=4"
    );
    assert!(jar.remove("a.test", "/", "y"));
    assert!(!jar.remove("a.test", "/", "y"));
    assert_eq!(jar.len(), 1);
    jar.clear();
    assert!(jar.is_empty() && jar.iter().next().is_none());
}

#[test]
fn longer_paths_come_first_and_then_the_older_ones() {
    let mut jar = CookieJar::new();
    let from = uri("http://b.a.test/");
    for cookie in [
        "one=1; Path=/",
        "two=2; Path=/x/y",
        "three=3; Path=/x",
        "four=4; Path=/; Domain=a.test",
    ] {
        jar.store(cookie, from, at(0)).unwrap();
    }
    let sent = jar.header(uri("http://b.a.test/x/y/z"), at(0));
    assert_eq!(sent.unwrap(), "two=2; three=3; one=1; four=4");
}

#[test]
fn a_domain_and_the_jar_are_bounded_and_the_least_used_goes() {
    let limits = CookieLimits {
        per_domain_max: 2,
        cookies_max: 3,
    };
    let mut jar = CookieJar::with_limits(limits);
    let names = |jar: &CookieJar| {
        let mut names: Vec<_> = jar
            .iter()
            .map(|(_, cookie)| cookie.name().to_owned())
            .collect();
        names.sort();
        names.join(" ")
    };
    let mut store = |host: &str, cookie: &str, seconds| {
        let from = RequestUri {
            is_secure: true,
            host,
            path: "/",
        };
        jar.store(cookie, from, at(seconds)).unwrap();
        names(&jar)
    };
    store("a.test", "one=1; Path=/one", 0);
    store("a.test", "two=2; Path=/two", 0);
    assert_eq!(store("a.test", "three=3", 0), "three two");
    store("b.test", "four=4; Max-Age=5", 0);
    assert_eq!(
        store("c.test", "five=5", 5),
        "five three two",
        "an expired one goes first"
    );
    assert_eq!(
        store("c.test", "six=6", 5),
        "five six three",
        "then the oldest"
    );
    jar.header(uri("http://a.test/"), at(5)).unwrap();
    let d = uri("http://d.test/");
    jar.store("seven=7", d, at(5)).unwrap();
    assert_eq!(
        names(&jar),
        "seven six three",
        "one that was sent has been used"
    );
    assert_eq!(jar.len(), 3);
    let mut none = CookieJar::with_limits(CookieLimits {
        per_domain_max: 0,
        cookies_max: 3,
    });
    none.store("x=1", d, at(0)).unwrap();
    assert!(none.is_empty());
}

#[test]
fn a_header_does_not_grow_beyond_what_servers_take() {
    let mut jar = CookieJar::new();
    let from = uri("http://a.test/");
    for name in 0..50 {
        let cookie = format!("n{name}={}", "v".repeat(1000));
        jar.store(&cookie, from, at(0)).unwrap();
    }
    let header = jar.header(from, at(0)).unwrap();
    assert!(header.len() > HEADER_BYTES_MAX - 1010 && header.len() <= HEADER_BYTES_MAX);
    assert!(header.starts_with("n0=v") && header.ends_with('v'));
}

#[test]
fn what_a_cookie_says_can_be_read() {
    let mut jar = CookieJar::new();
    let cookie = "x=1; Secure; HttpOnly; Path=/p; Domain=a.test; Max-Age=60; SameSite=Lax; Else=1";
    jar.store(cookie, uri("https://b.a.test/"), at(0)).unwrap();
    let (domain, cookie) = jar.iter().next().unwrap();
    assert_eq!(
        (domain, cookie.name(), cookie.value(), cookie.path()),
        ("a.test", "x", "1", "/p")
    );
    assert_eq!(cookie.expires(), Some(at(60)));
    assert!(cookie.is_secure() && cookie.is_http_only() && !cookie.is_host_only());
}
