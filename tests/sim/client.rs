//! The client against servers that a test scripts, on one simulated loop: what it promises about connections, time and
//! cancellation. Time is virtual, so limits of minutes are waited for.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::client::{
    Body, Client, Error, ErrorKind, Phase, Redirects, Response, RetryPolicy, TimeLimit, Timeouts,
    TraceEvent,
};
use tourbillon::event_loop::{EventLoop, Handle};
use tourbillon::net::{StreamExt, TcpListener, TcpStream};
use tourbillon::proto::http1::PeerError;
use tourbillon::sim::{Faults, Simulation, World, cancel_at_each_await, run};
use tourbillon::task::{JoinHandle, sleep, spawn};

/// The only host of [`run`] and [`cancel_at_each_await`].
fn address() -> SocketAddr {
    (World::new(0).address("test"), 80).into()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A request as the server has read it.
struct Asked {
    head: String,
    body: Vec<u8>,
}

impl Asked {
    fn target(&self) -> &str {
        self.head.split(' ').nth(1).expect("a request line")
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (known, value) = line.split_once(": ")?;
            known.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// One connection at the server's end.
struct Peer {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Peer {
    /// The next request, its body by length. `None` if the client has closed.
    async fn ask(&mut self) -> Option<Asked> {
        let mut asked = self.head().await?;
        let length: usize = asked
            .header("Content-Length")
            .map_or(0, |text| text.parse().unwrap());
        while self.input.len() < length {
            self.more().await?;
        }
        asked.body = self.input.drain(..length).collect();
        Some(asked)
    }

    async fn head(&mut self) -> Option<Asked> {
        loop {
            if let Some(end) = self.input.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = self.input.drain(..end + 4).collect();
                return Some(Asked {
                    head: String::from_utf8(head).unwrap(),
                    body: Vec::new(),
                });
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        match self.stream.read_vec(&mut self.input).await {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(()),
        }
    }

    async fn say(&mut self, text: impl AsRef<[u8]>) {
        // A client that has gone is no fault of the server's.
        let _ = self.stream.write_all(text.as_ref()).await;
    }

    async fn ok(&mut self, body: &str) {
        let length = body.len();
        self.say(format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{body}"
        ))
        .await;
    }
}

/// A server, and how often it was connected to.
struct Server {
    connections: Rc<Cell<usize>>,
    /// Connections that are open now, and the most there were.
    open: Rc<Cell<(usize, usize)>>,
    task: JoinHandle<()>,
}

impl Server {
    fn connections(&self) -> usize {
        self.connections.get()
    }

    fn stop(&self) {
        self.task.abort();
    }
}

/// Do `serve` with each connection; it is told the connection's number, from 1.
fn serve<F: Future<Output = ()> + 'static>(serve: impl Fn(usize, Peer) -> F + 'static) -> Server {
    let (connections, open) = (Rc::new(Cell::new(0)), Rc::new(Cell::new((0, 0))));
    let (count, counts) = (Rc::clone(&connections), Rc::clone(&open));
    let task = spawn(async move {
        let mut listener = TcpListener::bind(address()).await.unwrap();
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                return;
            };
            count.set(count.get() + 1);
            let peer = Peer {
                stream,
                input: Vec::new(),
            };
            let (served, counts) = (serve(count.get(), peer), Rc::clone(&counts));
            spawn(async move {
                let (now, most) = counts.get();
                counts.set((now + 1, most.max(now + 1)));
                served.await;
                let (now, most) = counts.get();
                counts.set((now - 1, most));
            });
        }
    });
    Server {
        connections,
        open,
        task,
    }
}

/// Answer every request with its target.
fn serve_targets() -> Server {
    serve(|_, mut peer| async move {
        while let Some(asked) = peer.ask().await {
            peer.ok(asked.target()).await;
        }
    })
}

fn url(path: &str) -> String {
    format!("http://{}{path}", address().ip())
}

async fn text(client: &Client, path: &str) -> Result<String, Error> {
    client.get(url(path)).send().await?.text().await
}

#[track_caller]
fn check_timeout(error: &Error, limit: TimeLimit, phase: Phase) {
    let ErrorKind::Timeout(timeout) = error.kind() else {
        panic!("{error}");
    };
    assert_eq!((timeout.limit, error.phase()), (limit, phase), "{error}");
}

/// How long `future` took, by the clock of the world.
async fn timed<T>(future: impl Future<Output = T>) -> (T, Duration) {
    let handle = Handle::current();
    let began = handle.time();
    let output = future.await;
    (output, handle.time() - began)
}

#[test]
fn one_connection_serves_requests_one_after_another() {
    run(async {
        let server = serve_targets();
        let client = Client::new();
        for n in 0..10 {
            let path = format!("/{n}");
            assert_eq!(text(&client, &path).await.unwrap(), path);
        }
        assert_eq!(server.connections(), 1);
        assert_eq!(client.pool().idle, 1);
    });
}

#[test]
fn limits_hold_and_those_who_wait_are_served_in_order() {
    run(async {
        let order = Rc::new(RefCell::new(Vec::new()));
        let asked_in = Rc::clone(&order);
        let server = serve(move |_, mut peer| {
            let asked_in = Rc::clone(&asked_in);
            async move {
                while let Some(asked) = peer.ask().await {
                    asked_in.borrow_mut().push(asked.target().to_owned());
                    sleep(seconds(1)).await;
                    peer.ok("x").await;
                }
            }
        });
        let client = Client::builder().limit_per_host(3).build().unwrap();
        let requests: Vec<_> = (0..12)
            .map(|n| {
                let client = client.clone();
                spawn(async move { text(&client, &format!("/{n}")).await.unwrap() })
            })
            .collect();
        let (_, took) = timed(async {
            for request in requests {
                request.await.unwrap();
            }
        })
        .await;
        assert!(took >= seconds(4) && took < seconds(5), "{took:?}");
        assert_eq!((server.connections(), server.open.get().1), (3, 3));
        let order: Vec<usize> = order
            .borrow()
            .iter()
            .map(|path| path[1..].parse().unwrap())
            .collect();
        // Three at a time; which of three comes first is the network's choice.
        for (n, number) in order.iter().enumerate() {
            assert_eq!(number / 3, n / 3, "{order:?}");
        }
    });
}

#[test]
fn an_idle_connection_is_closed_when_it_is_due() {
    run(async {
        let server = serve_targets();
        let client = Client::builder()
            .keepalive_timeout(seconds(30))
            .build()
            .unwrap();
        text(&client, "/").await.unwrap();
        sleep(seconds(29)).await;
        assert_eq!(client.pool().open, 1);
        sleep(seconds(2)).await;
        assert_eq!(client.pool().open, 0);
        assert_eq!(server.open.get().0, 0);
    });
}

#[test]
fn a_connection_that_its_server_closes_while_idle_is_closed_at_once() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.ask().await;
            peer.ok("x").await;
            sleep(seconds(5)).await;
        });
        let client = Client::new();
        text(&client, "/").await.unwrap();
        sleep(seconds(4)).await;
        assert_eq!(client.pool().open, 1);
        sleep(seconds(2)).await;
        assert_eq!(client.pool().open, 0);
        text(&client, "/").await.unwrap();
        assert_eq!(server.connections(), 2);
    });
}

/// The server closes a kept connection when the second request is on its way.
fn serve_once_and_close_on_the_second() -> Server {
    serve(|number, mut peer| async move {
        peer.ask().await;
        peer.ok("x").await;
        if number == 1 {
            peer.ask().await;
        } else {
            while peer.ask().await.is_some() {
                peer.ok("again").await;
            }
        }
    })
}

#[test]
fn a_request_that_meets_a_closing_connection_is_sent_again_if_that_is_safe() {
    run(async {
        let server = serve_once_and_close_on_the_second();
        let client = Client::new();
        text(&client, "/").await.unwrap();
        assert_eq!(text(&client, "/").await.unwrap(), "x");
        assert_eq!(server.connections(), 2);
    });
}

#[test]
fn a_request_that_may_have_been_acted_on_is_not_sent_again() {
    run(async {
        let server = serve_once_and_close_on_the_second();
        let client = Client::new();
        text(&client, "/").await.unwrap();
        let error = client.post(url("/")).body("pay").send().await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Peer(PeerError::NoResponse)),
            "{error}"
        );
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn a_new_connection_that_is_closed_without_an_answer_is_an_error() {
    run(async {
        let server = serve(|_, mut peer| async move {
            peer.ask().await;
        });
        let error = text(&Client::new(), "/").await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::Peer(PeerError::NoResponse)),
            "{error}"
        );
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn a_response_dropped_half_read_closes_its_connection_unless_the_rest_is_there() {
    run(async {
        let server = serve(|_, mut peer| async move {
            while let Some(asked) = peer.ask().await {
                match asked.target() {
                    "/short" => peer.ok("all of it is here").await,
                    _ => {
                        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nmore to come")
                            .await
                    }
                }
            }
        });
        let client = Client::new();
        let mut response = client.get(url("/short")).send().await.unwrap();
        response.chunk().await.unwrap();
        drop(response);
        assert_eq!((client.pool().open, client.pool().idle), (1, 1));
        let response = client.get(url("/long")).send().await.unwrap();
        drop(response);
        assert_eq!(client.pool().open, 0);
        assert_eq!(server.connections(), 1);
    });
}

#[test]
fn the_pool_timeout_says_who_has_the_connections() {
    run(async {
        serve(|_, mut peer| async move {
            peer.ask().await;
            sleep(seconds(1000)).await;
        });
        let client = Client::builder()
            .limit_per_host(2)
            .pool_timeout(seconds(5))
            .build()
            .unwrap();
        let slow = |path| {
            let request = client.get(url(path)).send();
            spawn(async move { request.await.map(drop) })
        };
        slow("/first");
        sleep(seconds(2)).await;
        slow("/second");
        sleep(seconds(1)).await;
        let (result, took) = timed(text(&client, "/third")).await;
        let error = result.unwrap_err();
        check_timeout(&error, TimeLimit::Pool, Phase::Pool);
        assert!(took >= seconds(5) && took < seconds(6), "{took:?}");
        let ErrorKind::Timeout(timeout) = error.kind() else {
            unreachable!()
        };
        let report = timeout.pool.as_ref().unwrap();
        assert_eq!((report.limit, report.holders, report.waiters), (2, 2, 1));
        let longest = report.longest.as_ref().unwrap();
        assert_eq!(longest.url.path(), "/first");
        assert!(longest.duration >= seconds(8), "{:?}", longest.duration);
        assert!(longest.origin.file().ends_with("client.rs"));
        let message = error.to_string();
        assert!(message.contains("limit_per_host 2 is reached"), "{message}");
        assert!(message.contains("/first"), "{message}");
        assert_eq!(client.pool().waiting, 0);
    });
}

/// Sends what it is told to and then nothing, without ever closing.
fn serve_and_stall(text: &'static str) -> Server {
    serve(move |_, mut peer| async move {
        peer.ask().await;
        peer.say(text).await;
        sleep(seconds(100_000)).await;
    })
}

#[test]
fn a_stall_in_each_phase_ends_in_the_limit_that_is_for_it() {
    for (text, phase) in [
        ("", Phase::Wait),
        ("HTTP/1.1 2", Phase::Wait),
        ("HTTP/1.1 200 OK\r\nX: y\r\n", Phase::Wait),
        ("HTTP/1.1 100 Continue\r\n\r\n", Phase::Wait),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
            Phase::Body,
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab",
            Phase::Body,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", Phase::Body),
    ] {
        for limit in [TimeLimit::Total, TimeLimit::SockRead] {
            run(async move {
                serve_and_stall(text);
                let mut timeouts = Timeouts::NONE;
                match limit {
                    TimeLimit::Total => timeouts.total = Some(seconds(60)),
                    _ => timeouts.sock_read = Some(seconds(60)),
                }
                let client = Client::builder().timeouts(timeouts).build().unwrap();
                let (result, took) = timed(self::text(&client, "/")).await;
                check_timeout(&result.unwrap_err(), limit, phase);
                assert!(
                    took >= seconds(60) && took < seconds(61),
                    "{text:?}: {took:?}"
                );
                assert_eq!(client.pool().open, 0);
            });
        }
    }
}

#[test]
fn sock_read_is_about_pauses_and_not_about_the_whole() {
    run(async {
        serve(|_, mut peer| async move {
            peer.ask().await;
            for piece in ["HTTP/1.1 ", "200 OK\r\nContent-", "Length: 20\r\n\r\n"] {
                sleep(seconds(9)).await;
                peer.say(piece).await;
            }
            for _ in 0..20 {
                sleep(seconds(9)).await;
                peer.say("x").await;
            }
        });
        let client = Client::builder()
            .sock_read_timeout(seconds(10))
            .build()
            .unwrap();
        assert_eq!(text(&client, "/").await.unwrap().len(), 20);
    });
}

#[test]
fn a_body_without_end_and_without_a_pause_ends_with_the_whole() {
    run(async {
        serve(|_, mut peer| async move {
            peer.ask().await;
            peer.say("HTTP/1.1 200 OK\r\n\r\n").await;
            while peer.stream.write_all(&[b'x'; 10_000]).await.is_ok() {}
        });
        let client = Client::builder().timeout(seconds(2)).build().unwrap();
        let mut response = client.get(url("/")).send().await.unwrap();
        let error = loop {
            if let Err(error) = response.chunk().await {
                break error;
            }
        };
        check_timeout(&error, TimeLimit::Total, Phase::Body);
        assert_eq!(client.pool().open, 0);
    });
}

#[test]
fn the_reader_s_own_pauses_are_not_the_server_s() {
    run(async {
        serve(|_, mut peer| async move {
            peer.ask().await;
            peer.say("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na")
                .await;
            sleep(seconds(25)).await;
            peer.say("b").await;
        });
        let client = Client::builder()
            .sock_read_timeout(seconds(10))
            .build()
            .unwrap();
        let mut response = client.get(url("/")).send().await.unwrap();
        response.chunk().await.unwrap();
        sleep(seconds(20)).await;
        assert_eq!(response.chunk().await.unwrap(), Some(&b"b"[..]));
    });
}

#[test]
fn a_server_that_does_not_read_ends_in_the_limit_on_writing() {
    run(async {
        serve(|_, peer| async move {
            sleep(seconds(100_000)).await;
            drop(peer);
        });
        let timeouts = Timeouts {
            write: Some(seconds(20)),
            ..Timeouts::NONE
        };
        let client = Client::builder().timeouts(timeouts).build().unwrap();
        let request = client.post(url("/")).body(vec![0; 10_000_000]);
        let (result, took) = timed(request.send()).await;
        check_timeout(&result.unwrap_err(), TimeLimit::Write, Phase::Send);
        assert!(took < seconds(25), "{took:?}");
    });
}

#[test]
fn a_host_that_does_not_answer_ends_in_the_limit_on_connecting() {
    let faults = Faults {
        connect_delay_ms: 100_000..=100_000,
        ..Faults::none()
    };
    let world = World::with_faults(1, faults);
    let mut simulation = Simulation::new(world.clone());
    for host in ["server", "client"] {
        simulation.add(host, EventLoop::with_driver);
    }
    let address = SocketAddr::new(world.address("server").into(), 80);
    let mut ctx = simulation.loop_mut(0).ctx();
    let _listener = TcpListener::listen(&mut ctx, address).unwrap();
    let task = simulation.loop_mut(1).spawn(async move {
        for (timeouts, limit) in [
            (
                Timeouts {
                    sock_connect: Some(seconds(30)),
                    ..Timeouts::NONE
                },
                TimeLimit::SockConnect,
            ),
            (
                Timeouts {
                    connect: Some(seconds(10)),
                    ..Timeouts::default()
                },
                TimeLimit::Connect,
            ),
            (
                Timeouts {
                    total: Some(seconds(10)),
                    ..Timeouts::default()
                },
                TimeLimit::Total,
            ),
        ] {
            let client = Client::builder().timeouts(timeouts).build().unwrap();
            let error = client
                .get(format!("http://{address}/"))
                .send()
                .await
                .unwrap_err();
            check_timeout(&error, limit, Phase::Connect);
            assert!(error.is_connect());
            assert_eq!(client.pool().open, 0);
        }
    });
    simulation.run_until(|_| task.is_finished()).unwrap();
    assert!(matches!(task.take(), Some(Ok(()))));
}

#[test]
fn redirects_are_followed_with_what_may_go_along() {
    run(async {
        let heads = Rc::new(RefCell::new(Vec::new()));
        let seen = Rc::clone(&heads);
        serve(move |_, mut peer| {
            let seen = Rc::clone(&seen);
            async move {
                while let Some(asked) = peer.ask().await {
                    let location = match asked.target() {
                        "/a" => "307 X\r\nLocation: /b",
                        "/b" => "303 X\r\nLocation: c?x#y",
                        "/loop" => "302 X\r\nLocation: /loop",
                        "/c?x" => "302 X\r\nLocation: http://elsewhere/d",
                        _ => "200 OK",
                    };
                    let body = String::from_utf8(asked.body.clone()).unwrap();
                    let auth = asked.header("Authorization").is_some();
                    let line = asked.head.lines().next().unwrap();
                    seen.borrow_mut().push(format!("{line} {body} {auth}"));
                    peer.say(format!(
                        "HTTP/1.1 {location}\r\nContent-Length: 3\r\n\r\nend"
                    ))
                    .await;
                }
            }
        });
        let here = [address().ip()];
        let client = Client::builder()
            .resolve("elsewhere", here)
            .build()
            .unwrap();
        let request = client.post(url("/a")).body("body").bearer_auth("secret");
        let response = request.send().await.unwrap();
        assert_eq!(response.url().as_str(), "http://elsewhere/d#y");
        let statuses: Vec<u16> = response.history().iter().map(|hop| hop.status).collect();
        assert_eq!(statuses, [307, 303, 302]);
        assert_eq!(response.text().await.unwrap(), "end");
        assert_eq!(
            heads.borrow()[..],
            [
                "POST /a HTTP/1.1 body true",
                "POST /b HTTP/1.1 body true",
                "GET /c?x HTTP/1.1  true",
                "GET /d HTTP/1.1  false",
            ]
        );
        let error = text(&client, "/loop").await.unwrap_err();
        assert!(
            matches!(error.kind(), ErrorKind::TooManyRedirects(10)),
            "{error}"
        );
        let none = client.get(url("/loop")).redirects(Redirects::NONE);
        assert_eq!(none.send().await.unwrap().status(), 302);
        let (mut writer, body) = Body::channel(None);
        spawn(async move {
            let _ = writer.send("x").await;
            writer.finish();
        });
        let gone = client.post(url("/a")).body(body).send().await.unwrap_err();
        assert!(matches!(gone.kind(), ErrorKind::BodyGone), "{gone}");
    });
}

#[test]
fn retries_wait_as_the_server_asks_and_stop_when_it_answers() {
    run(async {
        let server = serve(|number, mut peer| async move {
            while peer.ask().await.is_some() {
                match number {
                    1 => return,
                    2 => {
                        let head = "HTTP/1.1 503 X\r\nRetry-After: 20\r\nConnection: close\r\n";
                        peer.say(format!("{head}Content-Length: 0\r\n\r\n")).await;
                        return;
                    }
                    _ => peer.ok("at last").await,
                }
            }
        });
        let client = Client::builder()
            .retries(RetryPolicy::default())
            .build()
            .unwrap();
        let (result, took) = timed(text(&client, "/")).await;
        assert_eq!(result.unwrap(), "at last");
        assert_eq!(server.connections(), 3);
        assert!(took >= seconds(20) && took < seconds(21), "{took:?}");
    });
}

#[test]
fn an_upload_is_pulled_only_as_fast_as_the_server_reads() {
    run(async {
        serve(|_, mut peer| async move {
            peer.head().await;
            sleep(seconds(100)).await;
            while !peer.input.ends_with(b"0\r\n\r\n") {
                peer.more().await;
            }
            let length = peer.input.len();
            peer.ok(&length.to_string()).await;
        });
        let pulled = Rc::new(Cell::new(0));
        let counter = Rc::clone(&pulled);
        let mut left = 1_000;
        let body = Body::stream(None, move |_: &mut std::task::Context<'_>| {
            left -= 1;
            counter.set(counter.get() + 1);
            std::task::Poll::Ready(Ok((left >= 0).then(|| vec![b'x'; 10_000])))
        });
        let client = Client::new();
        let request = spawn(client.post(url("/")).body(body).send());
        sleep(seconds(50)).await;
        // What two sockets' buffers and ours hold, and not the ten megabytes.
        assert!(pulled.get() < 200, "{}", pulled.get());
        let response = request.await.unwrap().unwrap();
        // Each chunk has four digits and two line ends, the last one is five bytes.
        assert_eq!(
            response.text().await.unwrap(),
            (1_000 * 10_008 + 5).to_string()
        );
    });
}

#[test]
fn a_response_may_come_while_the_request_is_still_sent() {
    run(async {
        serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .await;
            loop {
                // Each chunk is echoed as it came, framing and all.
                let echo = std::mem::take(&mut peer.input);
                peer.say(&echo).await;
                if peer.more().await.is_none() {
                    return;
                }
            }
        });
        let (mut writer, body) = Body::channel(None);
        let client = Client::new();
        let mut response = client.post(url("/")).body(body).send().await.unwrap();
        for word in ["one", "two", "three"] {
            writer.send(word).await.unwrap();
            assert_eq!(response.chunk().await.unwrap(), Some(word.as_bytes()));
        }
        writer.finish();
        assert_eq!(response.chunk().await.unwrap(), None);
        assert_eq!(client.pool().idle, 1);
    });
}

#[test]
fn a_server_that_refuses_a_body_early_is_heard() {
    run(async {
        serve(|_, mut peer| async move {
            peer.head().await;
            peer.say("HTTP/1.1 413 X\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno!")
                .await;
            // As servers do, so that what was said is not lost in a reset.
            peer.stream.shutdown().await.unwrap();
            while peer.more().await.is_some() {}
        });
        let client = Client::new();
        let request = client.post(url("/")).body(vec![0; 10_000_000]);
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 413);
        assert_eq!(response.text().await.unwrap(), "no!");
        assert_eq!(client.pool().open, 0);
    });
}

#[test]
fn a_body_waits_until_the_server_wants_it_but_not_for_ever() {
    run(async {
        serve(|number, mut peer| async move {
            let asked = peer.head().await.unwrap();
            assert_eq!(asked.header("Expect"), Some("100-continue"));
            sleep(Duration::from_millis(500)).await;
            assert!(peer.input.is_empty());
            if number == 1 {
                peer.say("HTTP/1.1 100 Continue\r\n\r\n").await;
            }
            while peer.input.len() < 4 {
                peer.more().await.unwrap();
            }
            peer.say("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
                .await;
        });
        let client = Client::new();
        let send = || client.post(url("/")).body("body").expect_continue().send();
        let (asked, took) = timed(send()).await;
        assert_eq!(asked.unwrap().status(), 200);
        assert!(took < seconds(1), "{took:?}");
        let (silent, took) = timed(send()).await;
        assert_eq!(silent.unwrap().status(), 200);
        assert!(took >= seconds(1) && took < seconds(2), "{took:?}");
    });
}

#[test]
fn a_body_that_breaks_off_or_lies_about_its_length_fails_the_request() {
    run(async {
        serve(|_, mut peer| async move { while peer.more().await.is_some() {} });
        let client = Client::new();
        let (mut writer, body) = Body::channel(None);
        spawn(async move { writer.send("half").await });
        let error = client.post(url("/")).body(body).send().await.unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::Upload(_)), "{error}");
        for length in [3, 5] {
            let (mut writer, body) = Body::channel(Some(length));
            spawn(async move {
                let _ = writer.send("four").await;
                writer.finish();
            });
            let error = client.post(url("/")).body(body).send().await.unwrap_err();
            assert!(matches!(error.kind(), ErrorKind::Misuse(_)), "{error}");
        }
        assert_eq!(client.pool().open, 0);
    });
}

#[test]
fn a_proxy_gets_whole_urls_and_its_own_password() {
    run(async {
        serve(|_, mut peer| async move {
            while let Some(asked) = peer.ask().await {
                let auth = asked.header("Proxy-Authorization").unwrap_or("none");
                let host = asked.header("Host").unwrap();
                peer.ok(&format!("{} {host} {auth}", asked.target())).await;
            }
        });
        let proxy = format!("http://u:p@{}", address());
        let client = Client::builder().proxy(proxy).no_proxy(["direct.test"]);
        let client = client
            .resolve("direct.test", [address().ip()])
            .build()
            .unwrap();
        let ask = async |url: &str| client.get(url).send().await.unwrap().text().await.unwrap();
        assert_eq!(
            ask("http://a.test/x?y#z").await,
            "http://a.test/x?y a.test Basic dTpw"
        );
        assert_eq!(
            ask("http://b.test:81/").await,
            "http://b.test:81/ b.test:81 Basic dTpw"
        );
        assert_eq!(client.pool().open, 1);
        assert_eq!(ask("http://direct.test/").await, "/ direct.test none");
    });
}

#[test]
fn each_step_of_a_request_is_traced() {
    run(async {
        serve(|_, mut peer| async move {
            while let Some(asked) = peer.ask().await {
                match asked.target() {
                    "/old" => {
                        peer.say("HTTP/1.1 301 X\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
                            .await
                    }
                    _ => peer.ok("four").await,
                }
            }
        });
        let steps = Rc::new(RefCell::new(Vec::new()));
        let told = Rc::clone(&steps);
        let client = Client::builder().limit(1).trace(move |trace| {
            let name = match &trace.event {
                TraceEvent::Started { url, .. } => format!("started {}", url.path()),
                TraceEvent::ChunkReceived { bytes } => format!("received {bytes}"),
                TraceEvent::ChunkSent { bytes } => format!("sent {bytes}"),
                TraceEvent::HeadersReceived { status } => format!("status {status}"),
                TraceEvent::Ended { kept } => format!("ended {kept}"),
                other => format!("{other:?}")
                    .split([' ', '{'])
                    .next()
                    .unwrap()
                    .to_lowercase(),
            };
            told.borrow_mut().push(format!("{} {name}", trace.id));
        });
        let client = client.build().unwrap();
        let response = client.get(url("/old")).send().await.unwrap();
        let waiting = spawn(client.post(url("/new")).body("12345").send());
        sleep(seconds(1)).await;
        response.bytes().await.unwrap();
        waiting.await.unwrap().unwrap().bytes().await.unwrap();
        assert_eq!(
            steps.borrow()[..],
            [
                "0 started /old",
                "0 resolving",
                "0 resolved",
                "0 connected",
                "0 headerssent",
                "0 status 301",
                "0 ended true",
                "0 redirected",
                "0 started /new",
                "0 reused",
                "0 headerssent",
                "0 status 200",
                "1 started /new",
                "1 queued",
                "0 received 4",
                "0 ended true",
                "1 dequeued",
                "1 reused",
                "1 headerssent",
                "1 status 200",
                "1 received 4",
                "1 ended true",
            ]
        );
    });
}

#[test]
fn whatever_comes_back_is_read_as_far_as_it_may_be() {
    run(async {
        serve(|_, mut peer| async move {
            while let Some(asked) = peer.ask().await {
                match asked.target() {
                    "/large" => {
                        peer.say("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n")
                            .await
                    }
                    "/endless" => {
                        peer.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                            .await;
                        for _ in 0..1_000 {
                            peer.say(format!("3e8\r\n{}\r\n", "x".repeat(1_000))).await;
                        }
                    }
                    _ => peer.ok("\u{e4}").await,
                }
            }
        });
        let client = Client::builder().body_bytes_max(100_000).build().unwrap();
        for path in ["/large", "/endless"] {
            let error = text(&client, path).await.unwrap_err();
            assert!(
                matches!(error.kind(), ErrorKind::BodyTooLarge(100_000)),
                "{error}"
            );
        }
        assert_eq!(text(&client, "/").await.unwrap(), "ä");
    });
}

/// What a cancelled request must leave: nothing but perhaps an idle connection, and a client that still works.
async fn see_that_all_is_well(client: Client, server: Server) {
    let pool = client.pool();
    assert_eq!((pool.open, pool.waiting), (pool.idle, 0), "{pool:?}");
    assert_eq!(text(&client, "/after").await.unwrap(), "/after");
    assert_eq!(client.pool().open, client.pool().idle);
    drop(client);
    server.stop();
    while server.open.get().0 > 0 {
        sleep(Duration::from_millis(1)).await;
    }
}

#[test]
fn a_request_can_be_cancelled_at_each_await() {
    let awaits = cancel_at_each_await(|| {
        let (server, client) = (serve_targets(), Client::new());
        let ours = client.clone();
        let request = async move {
            for path in ["/a", "/b"] {
                text(&ours, path).await.unwrap();
            }
        };
        (request, see_that_all_is_well(client, server))
    });
    assert!(awaits >= 3, "{awaits}");
}

#[test]
fn a_wait_for_a_connection_can_be_cancelled_at_each_await() {
    let awaits = cancel_at_each_await(|| {
        let server = serve_targets();
        let client = Client::builder().limit(1).build().unwrap();
        let (ours, others) = (client.clone(), client.clone());
        // It has the only connection at first, and another one waits behind ours.
        let before = spawn(async move { text(&others, "/before").await.map(drop) });
        let (request, behind) = (client.get(url("/ours")).send(), client.clone());
        let request = async move {
            let response = request.await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/ours");
            drop(ours);
        };
        let afterwards = async move {
            let behind = spawn(async move { text(&behind, "/behind").await });
            before.await.unwrap().unwrap();
            assert_eq!(behind.await.unwrap().unwrap(), "/behind");
            see_that_all_is_well(client, server).await;
        };
        (request, afterwards)
    });
    assert!(awaits >= 2, "{awaits}");
}

#[test]
fn an_upload_can_be_cancelled_at_each_await() {
    let awaits = cancel_at_each_await(|| {
        let server = serve(|_, mut peer| async move {
            while let Some(asked) = peer.head().await {
                if asked.target() == "/after" {
                    peer.ok("/after").await;
                    continue;
                }
                while !peer.input.ends_with(b"0\r\n\r\n") {
                    if peer.more().await.is_none() {
                        return;
                    }
                }
                peer.input.clear();
                peer.ok("/up").await;
            }
        });
        let client = Client::new();
        let ours = client.clone();
        let request = async move {
            let (mut writer, body) = Body::channel(None);
            let writing = spawn(async move {
                for _ in 0..4 {
                    if writer.send(vec![b'x'; 30_000]).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
                writer.finish();
            });
            let response = ours.post(url("/up")).body(body).send().await.unwrap();
            assert_eq!(response.text().await.unwrap(), "/up");
            writing.await.unwrap();
        };
        (request, see_that_all_is_well(client, server))
    });
    assert!(awaits >= 4, "{awaits}");
}

#[test]
fn a_redirect_and_a_retry_can_be_cancelled_at_each_await() {
    let awaits = cancel_at_each_await(|| {
        let server = serve(|_, mut peer| async move {
            let mut refused = false;
            while let Some(asked) = peer.ask().await {
                match asked.target() {
                    "/old" => {
                        peer.say("HTTP/1.1 302 X\r\nLocation: /new\r\nContent-Length: 0\r\n\r\n")
                            .await
                    }
                    "/new" if !refused => {
                        refused = true;
                        peer.say("HTTP/1.1 503 X\r\nContent-Length: 0\r\n\r\n")
                            .await;
                    }
                    path => peer.ok(path).await,
                }
            }
        });
        let client = Client::builder()
            .retries(RetryPolicy::default())
            .build()
            .unwrap();
        let ours = client.clone();
        let request = async move { assert_eq!(text(&ours, "/old").await.unwrap(), "/new") };
        (request, see_that_all_is_well(client, server))
    });
    assert!(awaits >= 4, "{awaits}");
}

/// Requests in a world where everything goes wrong: each ends in its own right answer or in an error, and nothing is
/// left.
#[test]
fn whatever_goes_wrong_no_request_gets_the_answer_of_another() {
    let answered = Rc::new(Cell::new((0, 0)));
    for seed in 0..150 {
        let world = World::with_faults(seed, Faults::drawn(seed));
        let mut simulation = Simulation::new(world.clone());
        simulation.limit_busy_turns(20_000);
        for host in ["server", "client"] {
            simulation.add(host, EventLoop::with_driver);
        }
        let address = SocketAddr::new(world.address("server").into(), 80);
        let mut ctx = simulation.loop_mut(0).ctx();
        let mut listener = TcpListener::listen(&mut ctx, address).unwrap();
        let serving = simulation.loop_mut(0).spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                spawn(async move {
                    let input = Vec::new();
                    let mut peer = Peer { stream, input };
                    while let Some(asked) = peer.ask().await {
                        peer.ok(asked.target()).await;
                    }
                });
            }
        });
        let counts = Rc::clone(&answered);
        let task = simulation.loop_mut(1).spawn(async move {
            let client = Client::builder()
                .limit(3)
                .timeout(seconds(100))
                .build()
                .unwrap();
            let requests: Vec<_> = (0..12)
                .map(|n| {
                    let (client, counts) = (client.clone(), Rc::clone(&counts));
                    spawn(async move {
                        let target = format!("/{n}");
                        let sent = client.get(format!("http://{address}{target}")).send().await;
                        let text = match sent {
                            Ok(response) => Response::text(response).await,
                            Err(error) => Err(error),
                        };
                        let (right, wrong) = counts.get();
                        match text {
                            Ok(text) => {
                                assert_eq!(text, target, "seed {seed}");
                                counts.set((right + 1, wrong));
                            }
                            Err(_) => counts.set((right, wrong + 1)),
                        }
                    })
                })
                .collect();
            for request in requests {
                request.await.unwrap();
            }
            let pool = client.pool();
            assert_eq!(
                (pool.open, pool.waiting),
                (pool.idle, 0),
                "seed {seed}: {pool:?}"
            );
        });
        let run = simulation.run_until(|_| task.is_finished());
        run.unwrap_or_else(|failure| panic!("seed {seed}: {failure:?}"));
        task.take()
            .unwrap()
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        serving.abort();
        simulation
            .run_until_idle()
            .unwrap_or_else(|failure| panic!("seed {seed}: {failure:?}"));
        let stats = simulation.loops()[1].stats();
        assert_eq!((stats.sources, stats.timers_set), (0, 0), "seed {seed}");
    }
    let (right, wrong) = answered.get();
    assert!(right > 500 && wrong > 20, "{right} right, {wrong} wrong");
}
