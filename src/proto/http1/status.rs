//! Reason phrases and status lines: RFC 9110, 15 and IANA's registry of status codes.

/// One list, two functions: the phrase alone, and the whole line ready to send.
macro_rules! statuses {
    ($($code:literal $phrase:literal,)*) => {
        /// The reason phrase that IANA's registry gives for `status`; empty for a status that is not registered.
        ///
        /// ```
        /// assert_eq!(tourbillon::proto::http1::reason(404), "Not Found");
        /// assert_eq!(tourbillon::proto::http1::reason(599), "");
        /// ```
        pub const fn reason(status: u16) -> &'static str {
            match status {
                $($code => $phrase,)*
                _ => "",
            }
        }

        /// The whole status line, for a registered status.
        pub(super) const fn line(status: u16) -> Option<&'static str> {
            match status {
                $($code => Some(concat!("HTTP/1.1 ", $code, " ", $phrase, "\r\n")),)*
                _ => None,
            }
        }
    };
}

statuses! {
    100 "Continue",
    101 "Switching Protocols",
    102 "Processing",
    103 "Early Hints",
    200 "OK",
    201 "Created",
    202 "Accepted",
    203 "Non-Authoritative Information",
    204 "No Content",
    205 "Reset Content",
    206 "Partial Content",
    207 "Multi-Status",
    208 "Already Reported",
    226 "IM Used",
    300 "Multiple Choices",
    301 "Moved Permanently",
    302 "Found",
    303 "See Other",
    304 "Not Modified",
    305 "Use Proxy",
    307 "Temporary Redirect",
    308 "Permanent Redirect",
    400 "Bad Request",
    401 "Unauthorized",
    402 "Payment Required",
    403 "Forbidden",
    404 "Not Found",
    405 "Method Not Allowed",
    406 "Not Acceptable",
    407 "Proxy Authentication Required",
    408 "Request Timeout",
    409 "Conflict",
    410 "Gone",
    411 "Length Required",
    412 "Precondition Failed",
    413 "Content Too Large",
    414 "URI Too Long",
    415 "Unsupported Media Type",
    416 "Range Not Satisfiable",
    417 "Expectation Failed",
    421 "Misdirected Request",
    422 "Unprocessable Content",
    423 "Locked",
    424 "Failed Dependency",
    425 "Too Early",
    426 "Upgrade Required",
    428 "Precondition Required",
    429 "Too Many Requests",
    431 "Request Header Fields Too Large",
    451 "Unavailable For Legal Reasons",
    500 "Internal Server Error",
    501 "Not Implemented",
    502 "Bad Gateway",
    503 "Service Unavailable",
    504 "Gateway Timeout",
    505 "HTTP Version Not Supported",
    506 "Variant Also Negotiates",
    507 "Insufficient Storage",
    508 "Loop Detected",
    511 "Network Authentication Required",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_a_registered_status_holds_its_number_and_phrase() {
        assert_eq!(line(200), Some("HTTP/1.1 200 OK\r\n"));
        assert_eq!(
            line(431),
            Some("HTTP/1.1 431 Request Header Fields Too Large\r\n")
        );
        assert_eq!(line(299), None);
        for status in 0..=999 {
            match line(status) {
                Some(line) => assert_eq!(line, format!("HTTP/1.1 {status} {}\r\n", reason(status))),
                None => assert_eq!(reason(status), ""),
            }
        }
    }
}
