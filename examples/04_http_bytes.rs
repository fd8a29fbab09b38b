//! HTTP/1.1 without a network: the server's machine alone, fed from an array.
//!
//!     cargo run --example 04_http_bytes
//!
//! What to look at: no socket, no clock, no loop appears in this file. The caller owns the bytes: it keeps what the
//! machine has not used and shows it again with more behind it. The input holds three requests, and the third is an
//! attack: it gives its body's length in two ways, so that one server might see a request where another sees a body.
//! Change `PIECE_BYTES` to any other number: the pieces change, the events do not (a body's bytes may come in more
//! slices). Here is what it prints; the dates are cut out.
//!
//! ```text
//! peer says  GET /hello?name=Ada HTTP/1.1\r\nHost: exam
//! peer says  ple.com\r\n\r\nPOST /echo HTTP/1.1\r\nHost: ex
//!   Head     GET /hello, query Some("name=Ada"), host example.com
//!   End
//!   answer   HTTP/1.1 200 OK\r\nDate: …\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n
//! peer says  ample.com\r\nTransfer-Encoding: chunked\r\n\r
//! peer says  \n4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\nPOST / HTTP/1.1
//!   Head     POST /echo, query None, host example.com
//!   Data     Wiki
//!   Data     pedia
//!   End
//!   answer   HTTP/1.1 200 OK\r\nDate: …\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nWikipedia
//! peer says  \r\nHost: example.com\r\nContent-Length: 4\r\n
//! peer says  Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n
//!   fault    both Content-Length and Transfer-Encoding are given
//!   answer   HTTP/1.1 400 Bad Request\r\nDate: …\r\nContent-Length: 0\r\nConnection: close\r\n\r\n
//! ```

use std::error::Error;

use tourbillon::proto::http1::{
    After, BodyLength, Fields, HeadLimits, RequestHead, ResponseHead, Server, Step, date,
};

const PIECE_BYTES: usize = 40;

const INPUT: &[u8] = b"GET /hello?name=Ada HTTP/1.1\r\nHost: example.com\r\n\r\n\
    POST /echo HTTP/1.1\r\nHost: example.com\r\nTransfer-Encoding: chunked\r\n\r\n\
    4\r\nWiki\r\n5\r\npedia\r\n0\r\n\r\n\
    POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";

fn main() -> Result<(), Box<dyn Error>> {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let mut body = Vec::new();
    // What the machine has not used up yet.
    let mut pending = Vec::new();

    for piece in INPUT.chunks(PIECE_BYTES) {
        println!("peer says  {}", piece.escape_ascii());
        pending.extend_from_slice(piece);
        loop {
            let (used, step) = match server.next(&pending, &mut head, &limits) {
                Ok(next) => next,
                Err(fault) => {
                    println!("  fault    {fault}");
                    answer(&mut server, fault.status(), None, b"")?;
                    return Ok(());
                }
            };
            match step {
                Step::Head => println!(
                    "  Head     {} {}, query {:?}, host {}",
                    head.method_str(),
                    head.path(),
                    head.query(),
                    head.host()
                ),
                Step::Data(data) => {
                    println!("  Data     {}", data.escape_ascii());
                    body.extend_from_slice(data);
                }
                Step::End => {
                    println!("  End");
                    answer(&mut server, 200, Some("text/plain"), &body)?;
                    body.clear();
                }
                Step::NeedMore => {
                    pending.drain(..used);
                    break;
                }
                Step::Paused => match server.after() {
                    After::NextExchange => {}
                    _ => return Ok(()),
                },
            }
            pending.drain(..used);
        }
    }
    Ok(server.eof()?)
}

/// Write an answer and show its bytes. A real connection would send them.
fn answer(
    server: &mut Server,
    status: u16,
    content_type: Option<&str>,
    body: &[u8],
) -> Result<(), Box<dyn Error>> {
    let mut out = Vec::new();
    let head = ResponseHead {
        status,
        fields: &Fields::new(),
        content_type,
        length: BodyLength::Known(body.len() as u64),
        date: &date::format(0),
    };
    server.respond(&head, &mut out)?;
    server.body(body, &mut out)?;
    server.end(&mut out)?;
    println!("  answer   {}", out.escape_ascii());
    Ok(())
}
