//! What the client does behind its features, over real sockets: TLS, straight and through a proxy, compressed bodies,
//! cookies; and multipart forms and Unix sockets, which need none.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

#[cfg(any(feature = "json", feature = "compression", feature = "tls"))]
use tourbillon::client::ErrorKind;
use tourbillon::client::multipart::Part;
use tourbillon::client::{Client, ClientBuilder, Error};
use tourbillon::event_loop::EventLoop;
use tourbillon::net::{Stream, StreamExt, TcpListener};
use tourbillon::task::spawn;

/// Run `scenario` on a loop of its own.
fn run<F: Future<Output = ()> + 'static>(scenario: F) {
    EventLoop::new().unwrap().run_until(scenario).unwrap();
}

/// Reads requests and answers each with what `answer` makes of its head and body.
async fn converse(mut stream: impl Stream, answer: impl Fn(&str, &[u8]) -> Vec<u8>) {
    let mut input = Vec::new();
    loop {
        let head_end = input.windows(4).position(|four| four == b"\r\n\r\n");
        let Some(end) = head_end.map(|at| at + 4) else {
            match stream.read_vec(&mut input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => continue,
            }
        };
        let head = String::from_utf8(input.drain(..end).collect()).unwrap();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "));
        let length = length.map_or(0, |text| text.parse().unwrap());
        while input.len() < length {
            match stream.read_vec(&mut input).await {
                Ok(0) | Err(_) => return,
                Ok(_) => {}
            }
        }
        let body: Vec<u8> = input.drain(..length).collect();
        if stream.write_all(&answer(&head, &body)).await.is_err() {
            return;
        }
    }
}

/// Serve on a free port.
async fn serve(answer: impl Fn(&str, &[u8]) -> Vec<u8> + 'static) -> SocketAddr {
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_addr();
    let answer = Rc::new(answer);
    spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let answer = Rc::clone(&answer);
            spawn(async move { converse(stream, |head, body| answer(head, body)).await });
        }
    });
    address
}

fn ok(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\n{fields}Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

fn build(builder: ClientBuilder) -> Client {
    builder.timeout(crate::support::PATIENCE).build().unwrap()
}

async fn text(client: &Client, url: String) -> Result<String, Error> {
    client.get(url).send().await?.text().await
}

#[test]
fn a_form_with_files_is_sent_with_its_length() {
    run(async {
        let address = serve(|head, body| {
            assert!(
                head.contains("Content-Type: multipart/form-data; boundary="),
                "{head}"
            );
            ok("", body)
        })
        .await;
        let client = build(Client::builder());
        let file = Part::bytes(b"\x89PNG".to_vec()).file_name("a.png");
        let form = client.multipart().text("name", "Ann").part("file", file);
        let other = client.multipart();
        assert_ne!(form.content_type(), other.content_type());
        let response = client
            .post(format!("http://{address}/"))
            .multipart(form)
            .send()
            .await;
        let echoed = response.unwrap().bytes().await.unwrap();
        let echoed = String::from_utf8_lossy(&echoed);
        assert!(echoed.contains("name=\"name\"\r\n\r\nAnn\r\n"), "{echoed}");
        assert!(echoed.contains("filename=\"a.png\""), "{echoed}");
    });
}

#[test]
fn pairs_become_a_query_and_a_form() {
    run(async {
        let address = serve(|head, body| ok("", &[head.as_bytes(), body].concat())).await;
        let client = build(Client::builder());
        let request = client.post(format!("http://{address}/a?b=c"));
        let request = request
            .query(&[("q", "x y")])
            .form(&[("name", "ä&b"), ("z", "")]);
        let echoed = request.send().await.unwrap().text().await.unwrap();
        assert!(
            echoed.starts_with("POST /a?b=c&q=x+y HTTP/1.1\r\n"),
            "{echoed}"
        );
        assert!(
            echoed.contains("Content-Type: application/x-www-form-urlencoded\r\n"),
            "{echoed}"
        );
        assert!(echoed.ends_with("\r\n\r\nname=%C3%A4%26b&z="), "{echoed}");
    });
}

#[cfg(feature = "json")]
#[test]
fn json_goes_out_and_comes_in() {
    run(async {
        let address = serve(|head, body| {
            assert!(
                head.contains("Content-Type: application/json\r\n"),
                "{head}"
            );
            ok("", body)
        })
        .await;
        let client = build(Client::builder());
        let send = async |text: &'static str| {
            let request = client.post(format!("http://{address}/")).json(&(1, text));
            request.send().await.unwrap().json::<(u32, String)>().await
        };
        assert_eq!(send("one").await.unwrap(), (1, "one".to_owned()));
        let request = client.post(format!("http://{address}/")).json(&["no pair"]);
        let error = request
            .send()
            .await
            .unwrap()
            .json::<(u32, String)>()
            .await
            .unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Json(_)), "{error}");
    });
}

#[cfg(unix)]
#[test]
fn a_unix_socket_stands_for_every_host() {
    use tourbillon::net::UnixListener;
    let path = std::env::temp_dir().join(format!("tourbillon-client-{}", std::process::id()));
    let ours = path.clone();
    run(async move {
        let mut listener = UnixListener::bind(&ours).await.unwrap();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(converse(stream, |head, _| ok("", head.as_bytes())));
            }
        });
        let client = build(Client::builder().unix_socket(&ours));
        let echoed = text(&client, "http://some.host/x".to_owned())
            .await
            .unwrap();
        assert!(
            echoed.starts_with("GET /x HTTP/1.1\r\nHost: some.host\r\n"),
            "{echoed}"
        );
    });
    // The listener may have removed it.
    let _ = std::fs::remove_file(path);
}

#[cfg(feature = "cookies")]
#[test]
fn cookies_are_sent_back_to_whom_they_are_from_also_across_redirects() {
    run(async {
        let address = serve(|head, _| match head.split(' ').nth(1).unwrap() {
            "/login" => {
                let fields =
                    "Location: /home\r\nSet-Cookie: id=7; Path=/\r\nSet-Cookie: a=b; Max-Age=0\r\n";
                format!("HTTP/1.1 303 X\r\n{fields}Content-Length: 0\r\n\r\n").into_bytes()
            }
            _ => ok("", head.as_bytes()),
        })
        .await;
        let client = build(Client::builder());
        let home = text(&client, format!("http://{address}/login"))
            .await
            .unwrap();
        assert!(home.contains("\r\nCookie: id=7\r\n"), "{home}");
        assert_eq!(client.cookies(|jar| jar.len()), Some(1));
        let elsewhere = format!("http://localhost:{}/", address.port());
        let client = build(Client::builder().resolve("localhost", [address.ip()]));
        text(&client, format!("http://{address}/login"))
            .await
            .unwrap();
        let other = text(&client, elsewhere).await.unwrap();
        assert!(!other.contains("Cookie"), "{other}");
        let none = build(Client::builder().cookie_jar(None));
        let home = text(&none, format!("http://{address}/login"))
            .await
            .unwrap();
        assert!(!home.contains("Cookie"), "{home}");
    });
}

#[cfg(feature = "compression")]
mod compression {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// Serve `body` with these codings to those who ask for them.
    async fn serve_coded(codings: &'static str, body: Vec<u8>) -> SocketAddr {
        serve(
            move |head, _| match head.contains("Accept-Encoding: gzip") {
                true => ok(&format!("Content-Encoding: {codings}\r\n"), &body),
                false => ok("", b"plain"),
            },
        )
        .await
    }

    #[test]
    fn compressed_bodies_are_asked_for_and_decoded() {
        run(async {
            let long = "A tourbillon is a cage. ".repeat(20_000);
            let client = build(Client::builder());
            let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
            zlib.write_all(long.as_bytes()).unwrap();
            for (codings, body) in [
                ("gzip", gzip(long.as_bytes())),
                ("x-gzip, identity", gzip(long.as_bytes())),
                ("deflate", zlib.finish().unwrap()),
                ("gzip, gzip", gzip(&gzip(long.as_bytes()))),
                ("identity", long.clone().into_bytes()),
            ] {
                let address = serve_coded(codings, body).await;
                for _ in 0..2 {
                    let decoded = text(&client, format!("http://{address}/")).await.unwrap();
                    assert!(decoded == long, "{codings}: {} bytes", decoded.len());
                }
                assert_eq!(client.pool().open, client.pool().idle);
            }
        });
    }

    #[test]
    fn who_asks_for_something_else_decodes_it_himself() {
        run(async {
            let address = serve_coded("gzip", gzip(b"hello")).await;
            let url = format!("http://{address}/");
            let raw = build(Client::builder())
                .get(&url)
                .header("Accept-Encoding", "gzip;q=1");
            assert_eq!(
                raw.send().await.unwrap().bytes().await.unwrap(),
                gzip(b"hello")
            );
            let never = build(Client::builder().auto_decompress(false));
            assert_eq!(text(&never, url).await.unwrap(), "plain");
        });
    }

    #[test]
    fn a_bomb_is_ended_at_the_limit_and_can_be_read_piece_by_piece() {
        run(async {
            // A quarter of a gigabyte.
            let bomb = gzip(&gzip(&vec![0; 1 << 28]));
            assert!(bomb.len() < 10_000, "{}", bomb.len());
            let address = serve_coded("gzip, gzip", bomb).await;
            let client = build(Client::builder().body_bytes_max(1 << 20));
            let url = format!("http://{address}/");
            let error = text(&client, url.clone()).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::BodyTooLarge(_)),
                "{error}"
            );
            let mut response = client.get(url).send().await.unwrap();
            for _ in 0..1_000 {
                let piece = response.chunk().await.unwrap().unwrap();
                assert!(!piece.is_empty() && piece.len() <= 64 * 1024);
            }
        });
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_an_error() {
        run(async {
            let good = gzip(b"hello, hello, hello");
            let mut flipped = good.clone();
            flipped[12] ^= 0x55;
            for (codings, body) in [
                ("gzip", b"not gzip at all".to_vec()),
                ("gzip", good[..good.len() - 1].to_vec()),
                ("gzip", flipped),
                ("rot13", good.clone()),
                ("gzip, gzip, gzip, gzip, gzip, gzip", good),
            ] {
                let address = serve_coded(codings, body).await;
                let client = build(Client::builder());
                let error = text(&client, format!("http://{address}/"))
                    .await
                    .unwrap_err();
                assert!(
                    matches!(error.kind(), ErrorKind::Decode(_)),
                    "{codings}: {error}"
                );
                assert_eq!(client.pool().open, client.pool().idle);
            }
        });
    }
}

#[cfg(feature = "tls")]
mod tls {
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    use tourbillon::client::{Phase, Timeouts};
    use tourbillon::net::{TcpStream, TlsAcceptor, TlsConnector, TlsError, copy_bidirectional};

    use super::*;

    /// Who signs, and what a server for `secure.test` shows.
    fn certificates() -> (TlsConnector, TlsAcceptor) {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(["secure.test".to_owned()]).unwrap();
        let chain = leaf.signed_by(&key, &issuer).unwrap().pem();
        let acceptor = TlsAcceptor::builder(chain.as_bytes(), key.serialize_pem().as_bytes());
        let connector = TlsConnector::builder().without_roots();
        let connector = connector.add_roots(issuer.pem().as_bytes()).unwrap();
        (
            connector.build().unwrap(),
            acceptor.unwrap().build().unwrap(),
        )
    }

    async fn serve_secure(acceptor: TlsAcceptor) -> SocketAddr {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                spawn(async move {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        converse(stream, |head, body| {
                            ok("", &[head.as_bytes(), body].concat())
                        })
                        .await;
                    }
                });
            }
        });
        address
    }

    fn client(connector: TlsConnector, address: SocketAddr) -> ClientBuilder {
        let builder = Client::builder().tls(connector);
        builder
            .resolve("secure.test", [address.ip()])
            .resolve("other.test", [address.ip()])
    }

    #[test]
    fn https_is_spoken_to_whom_the_roots_vouch_for() {
        run(async {
            let (connector, acceptor) = certificates();
            let address = serve_secure(acceptor).await;
            let client = build(client(connector, address));
            let url = format!("https://secure.test:{}/x", address.port());
            for _ in 0..3 {
                let head = text(&client, url.clone()).await.unwrap();
                assert!(
                    head.starts_with("GET /x HTTP/1.1\r\nHost: secure.test:"),
                    "{head}"
                );
            }
            assert_eq!(client.pool().open, 1);
            let large = client
                .post(&url)
                .body(vec![b'x'; 3_000_000])
                .send()
                .await
                .unwrap();
            assert!(large.bytes().await.unwrap().len() > 3_000_000);
            assert_eq!((client.pool().open, client.pool().idle), (1, 1));
        });
    }

    #[test]
    fn a_certificate_that_does_not_convince_is_an_error_of_the_handshake() {
        run(async {
            let (connector, acceptor) = certificates();
            let address = serve_secure(acceptor).await;
            let (stranger, _) = certificates();
            for (connector, name) in [(connector, "other.test"), (stranger, "secure.test")] {
                let client = build(client(connector, address));
                let url = format!("https://{name}:{}/", address.port());
                let error = text(&client, url).await.unwrap_err();
                assert_eq!(error.phase(), Phase::Tls, "{error}");
                let ErrorKind::Io(inner) = error.kind() else {
                    panic!("{error}");
                };
                assert!(TlsError::of(inner).is_some(), "{error}");
                assert_eq!(client.pool().open, 0);
            }
        });
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_an_error_of_the_handshake() {
        run(async {
            let (connector, _) = certificates();
            let address = serve(|_, _| ok("", b"plain")).await;
            let client = build(client(connector, address));
            let url = format!("https://secure.test:{}/", address.port());
            let timeouts = Timeouts {
                sock_connect: Some(Duration::from_millis(300)),
                ..Timeouts::default()
            };
            let error = client.get(url).timeouts(timeouts).send().await.unwrap_err();
            assert_eq!(error.phase(), Phase::Tls, "{error}");
        });
    }

    /// A proxy that grants CONNECT to `allowed` and to nobody else.
    async fn serve_proxy(allowed: SocketAddr) -> SocketAddr {
        let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr();
        spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        if stream.read_vec(&mut head).await.is_ok_and(|read| read == 0) {
                            return;
                        }
                    }
                    let head = String::from_utf8(head).unwrap();
                    let wanted = format!("CONNECT secure.test:{} HTTP/1.1\r\n", allowed.port());
                    if !head.starts_with(&wanted)
                        || !head.contains("Proxy-Authorization: Basic dTpw\r\n")
                    {
                        let refusal = b"HTTP/1.1 407 X\r\nContent-Length: 0\r\n\r\n";
                        return drop(stream.write_all(refusal).await);
                    }
                    let mut there = TcpStream::connect(allowed).await.unwrap();
                    stream
                        .write_all(b"HTTP/1.1 200 Connected\r\n\r\n")
                        .await
                        .unwrap();
                    let _ = copy_bidirectional(&mut stream, &mut there).await;
                });
            }
        });
        address
    }

    #[test]
    fn https_goes_through_a_proxy_s_tunnel_and_stays_secret_in_it() {
        run(async {
            let (connector, acceptor) = certificates();
            let address = serve_secure(acceptor).await;
            let proxy = serve_proxy(address).await;
            let through = |url: String| build(client(connector.clone(), address).proxy(url));
            let url = format!("https://secure.test:{}/x", address.port());
            let client = through(format!("http://u:p@{proxy}"));
            for _ in 0..2 {
                let head = text(&client, url.clone()).await.unwrap();
                assert!(head.starts_with("GET /x HTTP/1.1\r\n"), "{head}");
                assert!(!head.contains("Proxy-Authorization"), "{head}");
            }
            assert_eq!(client.pool().open, 1);
            let stranger = through(format!("http://{proxy}"));
            let error = text(&stranger, url).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::ProxyRefused(407)),
                "{error}"
            );
            assert_eq!(error.phase(), Phase::Proxy);
        });
    }
}
