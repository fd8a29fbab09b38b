//! Credentials as the value of `Authorization` (RFC 7617, RFC 6750).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A user name and a password. A name with a colon in it cannot be told from its password by whoever reads it (RFC
/// 7617, 2); it is sent all the same.
pub(super) fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A token.
pub(super) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 7617, 2 and 2.1.
    #[test]
    fn basic_is_as_the_rfc_shows() {
        assert_eq!(
            basic("Aladdin", "open sesame"),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(basic("test", "123\u{a3}"), "Basic dGVzdDoxMjPCow==");
    }
}
