//! From a URL to a stream that speaks WebSocket.

use std::io;
use std::sync::Arc;

use super::super::url::{Scheme, Url};
use super::{Refusal, WebSocketBuilder, WebSocketError};
#[cfg(feature = "tls")]
use crate::net::TlsConnector;
use crate::net::{Stream, StreamExt, ask_loop};
use crate::proto::http1::{
    BodyLength, Client, HeadLimits, IncomingResponse, OutgoingRequest, ResponseStep,
};
use crate::proto::ws::{ClientHandshake, MaskKeys, Opened};

/// The most of a refusal's body that is kept.
const REFUSAL_BYTES_MAX: usize = 64 * 1024;

/// A handshake that was made.
pub(super) struct Done {
    pub(super) stream: Box<dyn Stream>,
    /// What came behind it already.
    pub(super) input: Vec<u8>,
    pub(super) opened: Opened,
    pub(super) response: IncomingResponse,
    pub(super) mask_keys: MaskKeys,
}

/// A WebSocket's URL is one of HTTP but for its scheme (RFC 6455, 3).
pub(super) fn parse(text: &str) -> Result<Url, WebSocketError> {
    let (scheme, rest) = text
        .split_once("://")
        .ok_or(WebSocketError::NotWebSocketUrl)?;
    let scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case("ws") => "http",
        _ if scheme.eq_ignore_ascii_case("wss") => "https",
        _ => return Err(WebSocketError::NotWebSocketUrl),
    };
    let url = Url::parse(&format!("{scheme}://{rest}")).map_err(WebSocketError::Url)?;
    match url.fragment() {
        None => Ok(url),
        Some(_) => Err(WebSocketError::NotWebSocketUrl),
    }
}

/// A connection to the URL's host, in TLS if it says so.
pub(super) async fn dial(
    builder: &WebSocketBuilder,
    url: &Url,
) -> Result<Box<dyn Stream>, WebSocketError> {
    if url.scheme() == Scheme::Https && cfg!(not(feature = "tls")) {
        return Err(WebSocketError::NoTls);
    }
    let target = (url.host(), url.port());
    let stream = builder.connector.connect(target).await.map_err(broken)?;
    #[cfg(feature = "tls")]
    if url.scheme() == Scheme::Https {
        let connector = builder.tls.get_or_init(TlsConnector::new);
        let stream = connector.connect(url.host(), stream).await;
        return Ok(Box::new(stream.map_err(broken)?));
    }
    Ok(Box::new(stream))
}

fn broken(error: io::Error) -> WebSocketError {
    WebSocketError::Connect(Arc::new(error))
}

/// Make the opening handshake on `stream`.
pub(super) async fn shake_hands(
    builder: &WebSocketBuilder,
    mut stream: Box<dyn Stream>,
    url: &Url,
) -> Result<Done, WebSocketError> {
    let (nonce, seed) = entropy().await.map_err(broken)?;
    let mut handshake = ClientHandshake::new(nonce);
    for name in &builder.subprotocols {
        handshake = handshake
            .subprotocol(name)
            .map_err(WebSocketError::Subprotocol)?;
    }
    #[cfg(feature = "deflate")]
    if let Some((options, _)) = &builder.deflate {
        handshake = handshake.deflate(options);
    }

    let mut http = Client::new();
    let mut output = Vec::new();
    write_request(builder, url, &handshake, &mut http, &mut output)?;
    stream.write_all(&output).await.map_err(broken)?;

    let mut input = Vec::new();
    let response = read_head(&mut http, &mut stream, &mut input).await?;
    if response.status() != 101 {
        let body = read_body(&mut http, &mut stream, input).await;
        let head = response;
        return Err(WebSocketError::Refused(Box::new(Refusal { head, body })));
    }
    let joined = joined_fields(&response);
    let opened = handshake
        .check(response.status(), |name| {
            let found = joined.iter().find(|(known, _)| known == name);
            found.map(|(_, value)| value.as_str())
        })
        .map_err(WebSocketError::Handshake)?;
    Ok(Done {
        stream,
        input,
        opened,
        response,
        mask_keys: MaskKeys::new(seed),
    })
}

/// A handshake's nonce, and the seed of a connection's masking keys.
async fn entropy() -> io::Result<([u8; 16], [u8; 32])> {
    ask_loop(|ctx| {
        let mut bytes = [0; 48];
        for word in bytes.chunks_exact_mut(8) {
            word.copy_from_slice(&ctx.driver().entropy().to_ne_bytes());
        }
        let (nonce, seed) = bytes.split_at(16);
        Ok((
            nonce.try_into().expect("16 of 48"),
            seed.try_into().expect("32 of 48"),
        ))
    })
    .await
}

fn write_request(
    builder: &WebSocketBuilder,
    url: &Url,
    handshake: &ClientHandshake,
    http: &mut Client,
    output: &mut Vec<u8>,
) -> Result<(), WebSocketError> {
    if let Some(error) = builder.bad_field {
        return Err(WebSocketError::Field(error));
    }
    let mut fields = builder.fields.clone();
    for (name, value) in handshake.fields() {
        fields.push(name, &value).map_err(WebSocketError::Field)?;
    }
    let request = OutgoingRequest {
        method: "GET",
        target: url.target(),
        host: url.authority(),
        fields: &fields,
        length: BodyLength::Known(0),
        expects_continue: false,
    };
    http.request(&request, output)
        .and_then(|()| http.end(output))
        .expect("a URL and fields that were checked make a request");
    Ok(())
}

/// The head of the final response. What came behind it is left in `input`.
async fn read_head(
    http: &mut Client,
    stream: &mut Box<dyn Stream>,
    input: &mut Vec<u8>,
) -> Result<IncomingResponse, WebSocketError> {
    let (mut head, limits) = (IncomingResponse::new(), HeadLimits::default());
    loop {
        let (used, step) = http
            .next(input, &mut head, &limits)
            .map_err(WebSocketError::Http)?;
        let (is_head, wants_more) = (step == ResponseStep::Head, step == ResponseStep::NeedMore);
        input.drain(..used);
        if is_head {
            return Ok(head);
        }
        if wants_more && stream.read_vec(input).await.map_err(broken)? == 0 {
            let fault = http.eof().expect_err("a response is due");
            return Err(WebSocketError::Http(fault));
        }
    }
}

/// The body of a refusal, as far as it comes, so that people can read why.
async fn read_body(http: &mut Client, stream: &mut Box<dyn Stream>, mut input: Vec<u8>) -> Vec<u8> {
    let (mut head, limits) = (IncomingResponse::new(), HeadLimits::default());
    let mut body = Vec::new();
    while body.len() < REFUSAL_BYTES_MAX {
        let Ok((used, step)) = http.next(&input, &mut head, &limits) else {
            break;
        };
        let needs_more = match step {
            ResponseStep::Data(data) => {
                body.extend_from_slice(data);
                false
            }
            ResponseStep::NeedMore => true,
            _ => break,
        };
        input.drain(..used);
        if needs_more && !matches!(stream.read_vec(&mut input).await, Ok(1..)) {
            break;
        }
    }
    body.truncate(REFUSAL_BYTES_MAX);
    body
}

/// The fields by their names in small letters, those of several lines joined by commas (RFC 9110, 5.3). What is not
/// UTF-8 means nothing here.
fn joined_fields(response: &IncomingResponse) -> Vec<(String, String)> {
    let mut joined: Vec<(String, String)> = Vec::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value);
        let name = name.to_ascii_lowercase();
        match joined.iter_mut().find(|(known, _)| *known == name) {
            Some((_, list)) => {
                list.push_str(", ");
                list.push_str(&value);
            }
            None => joined.push((name, value.into_owned())),
        }
    }
    joined
}
