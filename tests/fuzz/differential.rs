//! The request machine against a second parser: hyper's. Both read the same bytes as a connection on which every request
//! is answered by an empty 200, and must take the same requests from it, up to a difference that is known.
//!
//! Every known difference is a [`Class`] with its reason. Where both refuse, with whatever name, they agree. Behind the
//! first difference the two are at different places, so nothing is compared any more.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use hyper::body::{Body, Incoming};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use tourbillon::proto::http1::{
    After, BodyLength, Fields, HeadLimits, PeerError, RequestHead, ResponseHead, Server, Step,
    Version,
};

/// Fails if the two differ in a way that has no class.
pub fn differential(input: &[u8]) {
    if let Some(difference) = unexplained(input) {
        panic!("{difference}");
    }
}

/// A difference that has no class, in words.
pub fn unexplained(input: &[u8]) -> Option<String> {
    let difference = first_difference(input)?;
    let Difference { ours, theirs, .. } = &difference;
    let input = input.escape_ascii();
    let text = format!("in no class, in \"{input}\"\nwe:    {ours:?}\nhyper: {theirs:?}\n");
    class(&difference).is_none().then_some(text)
}

/// The class that explains a difference.
pub fn class(difference: &Difference) -> Option<&'static Class> {
    CLASSES.iter().find(|class| (class.explains)(difference))
}

/// A known difference, and why it is one.
pub struct Class {
    pub name: &'static str,
    pub why: &'static str,
    explains: fn(&Difference) -> bool,
}

/// Where the two first differ: what each had as the next thing on the connection.
#[derive(Debug)]
pub struct Difference {
    pub ours: Next,
    pub theirs: Next,
    /// The request before it, as both had it.
    pub before: Option<Request>,
    /// All that our machine had not used up before it said so.
    pub rest: Vec<u8>,
    /// How many lines the whole input has.
    pub lines: usize,
}

/// The next thing that a reader takes from a connection.
#[derive(Clone, Debug)]
pub enum Next {
    Request(Request),
    /// A fault, or bytes that do not make up a request. Ours has a name.
    Refused(Option<PeerError>),
    /// The connection ends in order: by the peer, or because nothing more is to be read.
    End,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub is_http10: bool,
    /// Names in lower case; sorted by them, since hyper keeps no order between names.
    pub fields: Vec<(String, Vec<u8>)>,
    /// What was wrong with the body, if something was.
    pub body: Result<Vec<u8>, Option<PeerError>>,
}

impl Request {
    fn values(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let fields = self.fields.iter().filter(move |field| field.0 == name);
        fields.map(|field| &field.1[..])
    }
}

impl Next {
    /// Whether two readers agree about it.
    fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Request(ours), Self::Request(theirs)) => {
                let both_broken = ours.body.is_err() && theirs.body.is_err();
                let same_head = Request {
                    body: ours.body.clone(),
                    ..theirs.clone()
                } == *ours;
                same_head && (both_broken || ours.body == theirs.body)
            }
            (Self::Refused(_), Self::Refused(_)) | (Self::End, Self::End) => true,
            _ => false,
        }
    }
}

/// Where our machine and hyper first differ about these bytes.
pub fn first_difference(input: &[u8]) -> Option<Difference> {
    let ((ours, at), theirs) = (ours(input), theirs(input));
    let index = { ours.iter().zip(&theirs) }.position(|(ours, theirs)| !ours.agrees(theirs))?;
    let before = match index.checked_sub(1).map(|index| &ours[index]) {
        Some(Next::Request(request)) => Some(request.clone()),
        _ => None,
    };
    Some(Difference {
        before,
        ours: ours[index].clone(),
        theirs: theirs[index].clone(),
        rest: input[at..].to_vec(),
        lines: input.split(|byte| *byte == b'\n').count(),
    })
}

// ---- the differences that are known

/// All of them. The first that fits counts.
pub const CLASSES: &[Class] = &[
    Class {
        name: "bare LF",
        why: "hyper takes LF alone for a line's end; RFC 9112, 2.2 leaves the choice, and we refuse",
        explains: |it| we_refuse(it, &[PeerError::BareLf]),
    },
    Class {
        name: "empty lines",
        why: "RFC 9112, 2.2 asks for one empty line before a request to be skipped; hyper skips any number",
        explains: |it| we_refuse(it, &[PeerError::EmptyRequestLine]),
    },
    Class {
        name: "a last CR",
        why: "where the stream ends behind CR alone, hyper sees nothing, and we an incomplete request",
        explains: |it| {
            matches!(
                (&it.ours, &it.theirs, &it.rest[..]),
                (Next::Refused(_), Next::End, b"\r")
            )
        },
    },
    Class {
        name: "host",
        why: "RFC 9112, 3.2 has the server judge Host; hyper leaves it to the application",
        explains: |it| {
            we_refuse(
                it,
                &[PeerError::NoHost, PeerError::TwoHosts, PeerError::BadHost],
            )
        },
    },
    Class {
        name: "target form",
        why: "RFC 9112, 3.2 says which form of a target goes with which method; hyper takes any URI",
        explains: |it| we_refuse(it, &[PeerError::BadTarget]),
    },
    Class {
        name: "connection options beside bytes that are no ASCII",
        why: "a list is read item by item, so `close` counts whatever stands beside it (RFC 9110, 7.6.1); hyper reads no \
              value with bytes above 127 as a list",
        explains: |it| {
            let mut options = it
                .before
                .iter()
                .flat_map(|request| request.values("connection"));
            options.any(|value| !value.is_ascii())
        },
    },
    Class {
        name: "length and chunked",
        why: "RFC 9112, 6.3 lets a server refuse both fields together, as we do; hyper drops the length and goes on",
        explains: |it| we_refuse(it, &[PeerError::LengthAndChunked]),
    },
    Class {
        name: "equal lengths",
        why: "RFC 9110, 8.6 lets equal lengths be refused, as we do; hyper takes the first",
        explains: |it| we_refuse(it, &[PeerError::TwoLengths]),
    },
    Class {
        name: "transfer codings",
        why: "we implement chunked alone, and refuse others (RFC 9112, 6.1) and all odd spellings; hyper looks at the end \
              of the last field only, and hands the rest on",
        explains: |it| {
            let codings = [
                PeerError::UnknownTransferCoding,
                PeerError::BadTransferEncoding,
            ];
            we_refuse(it, &codings)
        },
    },
    Class {
        name: "expectations",
        why: "RFC 9110, 10.1.1 lets an unknown expectation be refused with 417, as we do; hyper ignores it",
        explains: |it| we_refuse(it, &[PeerError::UnknownExpectation]),
    },
    Class {
        name: "sizes",
        why: "each has its own limits: hyper bounds the whole buffer, at some 400 KB",
        explains: |it| {
            let sizes = [
                PeerError::RequestLineTooLong,
                PeerError::LineTooLong,
                PeerError::HeadTooLarge,
                PeerError::TooManyFields,
                PeerError::ChunkExtensionTooLarge,
                PeerError::TrailerTooLarge,
            ];
            we_refuse(it, &sizes)
        },
    },
    Class {
        name: "chunk extensions",
        why: "we hold extensions to the grammar of RFC 9112, 7.1.1; hyper reads over whatever stands there",
        explains: |it| we_refuse(it, &[PeerError::BadChunkExtension]),
    },
    Class {
        name: "chunk sizes",
        why: "we take one to sixteen digits of a chunk's size; hyper takes any number of zeros before it, and blanks",
        explains: |it| we_refuse(it, &[PeerError::BadChunkSize]),
    },
    Class {
        name: "trailers",
        why: "we refuse trailers that would frame or route (RFC 9110, 6.5.1); hyper hands them on",
        explains: |it| we_refuse(it, &[PeerError::BadTrailer]),
    },
    Class {
        name: "many trailers",
        why: "hyper bounds the number of trailers, at 100 as for the fields of a head; we bound their bytes",
        explains: |it| match (&it.ours, &it.theirs) {
            (Next::Request(ours), Next::Request(theirs)) if ours.body.is_ok() => {
                let is_chunked = ours.values("transfer-encoding").next().is_some();
                is_chunked && theirs.body == Err(None) && it.lines > 100
            }
            _ => false,
        },
    },
    Class {
        name: "the largest lengths",
        why: "hyper keeps the two largest numbers of 64 bits for itself; nobody has such a body",
        explains: |it| {
            let is_largest = |value: &[u8]| {
                let length = std::str::from_utf8(value)
                    .unwrap_or_default()
                    .parse::<u64>();
                length.is_ok_and(|length| length > u64::MAX - 2)
            };
            matches!((&it.ours, &it.theirs), (Next::Request(request), Next::Refused(_))
                if request.values("content-length").any(is_largest))
        },
    },
    Class {
        name: "URI characters",
        why: "hyper's URI type refuses characters that a URI should have encoded; browsers send them, and they mean \
              nothing to framing",
        explains: |it| hyper_refuses(it, |target| target.contains(|c| "\"<>\\^`{|}".contains(c))),
    },
    Class {
        name: "URI hosts",
        why: "hyper's URI type knows no percent encoding in a host; RFC 3986, 3.2.2 has it",
        explains: |it| hyper_refuses(it, |target| authority(target).contains('%')),
    },
];

/// We refuse with one of these, as the request's head or in its body, and hyper does not.
fn we_refuse(difference: &Difference, with: &[PeerError]) -> bool {
    match (&difference.ours, &difference.theirs) {
        (Next::Refused(Some(error)), Next::Request(_) | Next::End) => with.contains(error),
        (Next::Request(ours), Next::Request(theirs)) if theirs.body.is_ok() => {
            matches!(ours.body, Err(Some(error)) if with.contains(&error))
        }
        _ => false,
    }
}

/// Hyper refuses what we take as a request with such a target.
fn hyper_refuses(difference: &Difference, target_is: impl Fn(&str) -> bool) -> bool {
    match (&difference.ours, &difference.theirs) {
        (Next::Request(request), Next::Refused(_)) => target_is(&request.target),
        _ => false,
    }
}

/// The host and port of a target, if it has them.
fn authority(target: &str) -> &str {
    if target.starts_with('/') {
        return "";
    }
    let behind = target
        .split_once("://")
        .map_or(target, |(_, behind)| behind);
    behind.split(['/', '?']).next().unwrap_or_default()
}

// ---- ours

/// What our machine takes from these bytes, and how many of them it uses up.
fn ours(input: &[u8]) -> (Vec<Next>, usize) {
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let (mut taken, mut open, mut at) = (Vec::new(), None, 0);
    let last = loop {
        let (used, step) = match server.next(&input[at..], &mut head, &limits) {
            Ok(next) => next,
            Err(error) => break Err(error),
        };
        at += used;
        match step {
            Step::Head => open = Some((our_request(&head), Vec::new())),
            Step::Data(data) => open.as_mut().expect("behind a head").1.extend(data),
            Step::End => {
                let (request, data) = open.take().expect("behind a head");
                taken.push(Next::Request(Request {
                    body: Ok(data),
                    ..request
                }));
                answer(&mut server);
                if server.after() != After::NextExchange {
                    break Ok(());
                }
            }
            Step::NeedMore => break server.eof(),
            Step::Paused => unreachable!("every request has been answered"),
        }
    };
    taken.push(match (last, open) {
        (Ok(()), _) => Next::End,
        (Err(error), None) => Next::Refused(Some(error)),
        (Err(error), Some((request, _))) => Next::Request(Request {
            body: Err(Some(error)),
            ..request
        }),
    });
    (taken, at)
}

fn our_request(head: &RequestHead) -> Request {
    let field = |(name, value): (&str, &[u8])| (name.to_ascii_lowercase(), value.to_vec());
    let mut fields: Vec<_> = head.headers().map(field).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Request {
        method: head.method_str().into(),
        target: normal_target(head),
        is_http10: head.version() == Version::Http10,
        fields,
        body: Ok(Vec::new()),
    }
}

/// The target as hyper's URI type writes it: a scheme in lower case, `/` for an empty path behind an authority. Both mean
/// the same (RFC 3986, 6.2.2.1 and 6.2.3).
fn normal_target(head: &RequestHead) -> String {
    let target = head.target();
    match target.split_once("://") {
        Some((scheme, _)) if !target.starts_with('/') => {
            let (scheme, host, path) = (scheme.to_ascii_lowercase(), head.host(), head.path());
            let query = head.query().map(|query| format!("?{query}"));
            format!("{scheme}://{host}{path}{}", query.unwrap_or_default())
        }
        _ => target.into(),
    }
}

fn answer(server: &mut Server) {
    let (fields, mut out) = (Fields::new(), Vec::new());
    let head = ResponseHead {
        status: 200,
        fields: &fields,
        content_type: None,
        length: BodyLength::Known(0),
        date: b"Thu, 01 Jan 1970 00:00:00 GMT",
    };
    server.respond(&head, &mut out).unwrap();
    server.end(&mut out).unwrap();
}

// ---- theirs

/// A connection in memory: all input is there at once, then its end. Output is dropped.
struct Wire {
    input: Vec<u8>,
    at: usize,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let len = buffer.remaining().min(self.input.len() - self.at);
        buffer.put_slice(&self.input[self.at..self.at + len]);
        self.at += len;
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn theirs(input: &[u8]) -> Vec<Next> {
    let taken = Rc::new(RefCell::new(Vec::new()));
    let service = service_fn(|request| {
        let taken = Rc::clone(&taken);
        async move {
            let request = their_request(request).await;
            taken.borrow_mut().push(Next::Request(request));
            Ok::<_, std::convert::Infallible>(hyper::Response::new(String::new()))
        }
    });
    let wire = Wire {
        input: input.to_vec(),
        at: 0,
    };
    let connection = http1::Builder::new()
        .half_close(true)
        .header_read_timeout(None)
        .auto_date_header(false)
        .serve_connection(wire, service);
    let outcome = poll_to_the_end(connection);
    let mut taken = taken.take();
    // An error in a body is the last request's own.
    let is_broken = matches!(taken.last(), Some(Next::Request(request)) if request.body.is_err());
    if !is_broken {
        taken.push(match outcome {
            Ok(()) => Next::End,
            Err(_) => Next::Refused(None),
        });
    }
    taken
}

async fn their_request(request: hyper::Request<Incoming>) -> Request {
    let (head, mut body) = request.into_parts();
    let mut data = Ok(Vec::new());
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        match frame.map(|frame| frame.into_data()) {
            Ok(Ok(piece)) => data.iter_mut().for_each(|data| data.extend(&piece)),
            // Trailers.
            Ok(Err(_)) => {}
            Err(_) => {
                data = Err(None);
                break;
            }
        }
    }
    let field = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        (name.as_str().to_owned(), value.as_bytes().to_vec())
    };
    let mut fields: Vec<_> = head.headers.iter().map(field).collect();
    fields.sort_by(|a, b| a.0.cmp(&b.0));
    Request {
        method: head.method.as_str().into(),
        target: head.uri.to_string(),
        is_http10: head.version == hyper::Version::HTTP_10,
        fields,
        body: data,
    }
}

/// Poll until it is done. Nothing here ever waits for the outside, so some thousand times are enough.
fn poll_to_the_end<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..100_000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
    panic!("hyper waits for something");
}
