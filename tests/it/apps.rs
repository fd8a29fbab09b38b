//! Handlers and whole apps without a socket.

use std::time::Duration;

use tourbillon::web::{
    App, Body, IntoResponse, Limits, Message, Peer, Request, Response, Shared, Socket, task,
};

fn greet(request: &Request, visits: &mut u32) -> String {
    *visits += 1;
    format!("{} {visits}", request.param("name").unwrap_or_default())
}

async fn slow(request: Request, visits: Shared<u32>) -> String {
    request.handle().sleep(Duration::from_millis(2)).await;
    visits.with(|visits| {
        *visits += 10;
        visits.to_string()
    })
}

async fn length(mut request: Request, _: Shared<u32>) -> Result<String, u16> {
    let body = request.take_body().collect(100).await;
    match body.map_err(|_| 400_u16)? {
        Some(body) => Ok(body.len().to_string()),
        None => Err(413),
    }
}

struct Nothing;

impl Socket<u32> for Nothing {
    fn message(&mut self, _: &mut Peer<'_>, _: Message<'_>, _: &mut u32) {}
}

fn app() -> App<u32> {
    App::new(0)
        .limits(Limits {
            body_bytes_max: 1000,
            ..Limits::default()
        })
        .get("/greet/{name}", greet)
        .get("/slow", task(slow))
        .get("/broken", |_: &Request, _: &mut u32| -> u16 {
            panic!("broken")
        })
        .get(
            "/broken-task",
            task(async |_: Request, _: Shared<u32>| -> u16 { panic!("broken") }),
        )
        .post("/length", task(length).streaming())
        .post("/whole", |request: &Request, _: &mut u32| {
            request.body().len().to_string()
        })
        .any("/any", |request: &Request, _: &mut u32| {
            request.method().to_owned()
        })
        .route("PURGE", "/cache", |_: &Request, _: &mut u32| ())
        .ws("/ws", |_: &Request, _: &mut u32| Ok(Nothing))
}

fn text(response: &Response) -> &str {
    std::str::from_utf8(response.body().as_bytes().unwrap()).unwrap()
}

#[test]
fn a_handler_is_a_function_that_can_be_called() {
    let request =
        Request::build("GET", "/greet/x?q=1", &[("host", "a"), ("x-y", "z")], "").unwrap();
    let mut visits = 1;
    assert_eq!(
        greet(&request, &mut visits),
        " 2",
        "no route, so no parameter"
    );
    assert_eq!(request.query("q").as_deref(), Some("1"));
    assert_eq!(request.header("X-Y"), Some("z"));
}

#[test]
fn an_app_answers_without_a_socket() {
    let mut app = app().into_test().unwrap();
    assert_eq!(text(&app.get("/greet/ada")), "ada 1");
    assert_eq!(text(&app.get("/slow")), "11");
    assert_eq!(text(&app.get("/greet/bob")), "bob 12");
    assert_eq!(text(&app.post("/length", "x".repeat(100))), "100");
    assert_eq!(app.post("/length", "x".repeat(101)).status(), 413);
    assert_eq!(text(&app.post("/whole", "x".repeat(1000))), "1000");
    assert_eq!(app.post("/whole", "x".repeat(1001)).status(), 413);
    assert_eq!(app.get("/nowhere").status(), 404);
    let refused = app.post("/greet/ada", "");
    assert_eq!(
        (refused.status(), refused.header("allow")),
        (405, Some("GET, HEAD, OPTIONS"))
    );
    assert_eq!(app.get("/ws").status(), 426);
    for method in ["GET", "POST", "PURGE"] {
        let request = Request::build(method, "/any", &[("host", "a")], "").unwrap();
        assert_eq!(text(&app.call(request)), method);
    }
    let purge = Request::build("PURGE", "/cache", &[("host", "a")], "").unwrap();
    assert_eq!(app.call(purge).status(), 204);
}

#[test]
fn a_panic_is_a_500_without_a_socket_too() {
    let mut app = app().into_test().unwrap();
    app.event_loop().on_panic(|panicked| {
        assert_eq!(panicked.message, "broken");
    });
    assert_eq!(app.get("/broken").status(), 500);
    assert_eq!(app.get("/broken-task").status(), 500);
    assert_eq!(app.event_loop().stats().panics, 2);
    assert_eq!(text(&app.get("/greet/ada")), "ada 1");
}

#[test]
fn what_a_handler_returns_has_its_natural_answer() {
    fn check(answer: impl IntoResponse, status: u16, content_type: Option<&str>, body: &str) {
        let response = answer.into_response();
        assert_eq!(response.status(), status);
        assert_eq!(response.header("content-type"), content_type);
        assert_eq!(text(&response), body);
    }
    let plain = Some("text/plain; charset=utf-8");
    check("text", 200, plain, "text");
    check("text".to_owned(), 200, plain, "text");
    check(
        b"bytes".to_vec(),
        200,
        Some("application/octet-stream"),
        "bytes",
    );
    check((), 204, None, "");
    check(304, 304, None, "");
    check(404, 404, plain, "404 Not Found\n");
    check((201, "made"), 201, plain, "made");
    check(None::<&str>, 404, plain, "404 Not Found\n");
    check(Some("text"), 200, plain, "text");
    check(Ok::<_, u16>("text"), 200, plain, "text");
    check(Err::<&str, _>(403), 403, plain, "403 Forbidden\n");
    check(
        Response::html("<p>"),
        200,
        Some("text/html; charset=utf-8"),
        "<p>",
    );
    check(Response::new(Body::Empty), 200, None, "");
    let elsewhere = Response::see_other("/there");
    assert_eq!(
        (elsewhere.status(), elsewhere.header("location")),
        (303, Some("/there"))
    );
}

#[test]
fn fields_from_outside_cannot_write_fields_of_their_own() {
    let mut response = Response::text("x");
    for (name, value) in [
        ("x-user", "a\r\nset-cookie: b"),
        ("x user", "a"),
        ("", "a"),
        ("content-length", "5"),
        ("Transfer-Encoding", "chunked"),
        ("content-type", "a\nb"),
    ] {
        assert!(
            response.try_header(name, value).is_err(),
            "{name}: {value:?}"
        );
    }
    assert!(response.try_header("x-user", "ada").is_ok());
    assert_eq!(response.header("X-User"), Some("ada"));
}

#[test]
#[should_panic(expected = "there are two routes for GET /greet/{name}")]
fn two_routes_for_one_path_are_refused() {
    let _ = app().get("/greet/{name}", greet);
}
