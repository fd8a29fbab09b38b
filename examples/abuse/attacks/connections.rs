//! Connections that come and go, or come and stay.

use std::thread;
use std::time::{Duration, Instant};

use super::{Attack, Outcome, Pace};
use crate::client::{End, PATIENCE};
use crate::target::Target;

const SERVED: &str = "the polite client goes on being served";

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "reset-in-answer",
        does: "50 clients, one each 20 ms, that reset their connection when an answer (the large one, if there is one) has begun",
        passes: "each answer begins",
        pace: Pace::Alone,
        run: reset_in_answer,
    },
    Attack {
        name: "reset-in-request",
        does: "200 clients that reset their connection in the middle of a second request",
        passes: "each first request is answered",
        pace: Pace::Alone,
        run: reset_in_request,
    },
    Attack {
        name: "churn",
        does: "up to 3,000 connections in 2 s, one after another, a request each",
        passes: "each is answered",
        pace: Pace::Alone,
        run: churn,
    },
    Attack {
        name: "accept-flood",
        does: "up to 3,000 connections in 2 s, 100 at a time, dropped without a byte",
        passes: SERVED,
        pace: Pace::Alone,
        run: accept_flood,
    },
    Attack {
        name: "many-idle",
        does: "500 connections (--connections) that are opened and kept for 2 s",
        passes: SERVED,
        pace: Pace::Alone,
        run: many_idle,
    },
];

fn reset_in_answer(target: &Target) -> Outcome {
    const CLIENTS: usize = 50;
    let host = &target.options.host;
    let path = target.large.as_ref().unwrap_or(&target.path);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    // It is the resets that are to hurt, not the making of many large answers at once.
    let begun = resets(
        target,
        CLIENTS,
        request.as_bytes(),
        Duration::from_millis(20),
    );
    Outcome::new(
        begun == CLIENTS,
        format!("{begun} of {CLIENTS} answers had begun"),
    )
}

fn reset_in_request(target: &Target) -> Outcome {
    const CLIENTS: usize = 200;
    let mut request = target.get();
    let half = request.len() / 2;
    request.extend_from_within(..half);
    let answered = resets(target, CLIENTS, &request, Duration::ZERO);
    Outcome::new(
        answered == CLIENTS,
        format!("{answered} of {CLIENTS} first requests were answered"),
    )
}

/// Send `request`, see an answer begin, and reset the connection, `clients` times with a pause behind each. How many of
/// them saw one: the first that does not is the last, since waiting for more of its kind would take minutes.
fn resets(target: &Target, clients: usize, request: &[u8], pause: Duration) -> usize {
    let sees_an_answer = |_: &usize| {
        let Ok(mut connection) = target.connect() else {
            return false;
        };
        connection.send(request, PATIENCE);
        let has_begun = connection.peek(PATIENCE);
        // With bytes unread, this is the reset.
        drop(connection);
        thread::sleep(pause);
        has_begun
    };
    (0..clients).take_while(sees_an_answer).count()
}

fn churn(target: &Target) -> Outcome {
    let (path, host) = (&target.path, &target.options.host);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let (began, mut opened, mut answered) = (Instant::now(), 0, 0);
    while opened < 3000 && began.elapsed() < Duration::from_secs(2) {
        opened += 1;
        let Ok(mut connection) = target.connect() else {
            continue;
        };
        connection.send(request.as_bytes(), PATIENCE);
        connection.receive_to_end(PATIENCE);
        let is_closed = connection.end == Some(End::Closed);
        answered += usize::from(is_closed && connection.statuses() == [200]);
    }
    Outcome::new(
        answered == opened,
        format!("{answered} of {opened} answered and closed"),
    )
}

fn accept_flood(target: &Target) -> Outcome {
    let (began, mut opened, mut failed) = (Instant::now(), 0, 0);
    while opened + failed < 3000 && began.elapsed() < Duration::from_secs(2) {
        let batch: Vec<_> = (0..100).filter_map(|_| target.connect().ok()).collect();
        opened += batch.len();
        failed += 100 - batch.len();
    }
    Outcome::new(true, format!("{opened} opened, {failed} refused"))
}

fn many_idle(target: &Target) -> Outcome {
    let until = Instant::now() + Duration::from_secs(10);
    let wanted = target.options.connections;
    let mut kept = Vec::new();
    while kept.len() < wanted && Instant::now() < until {
        // Refusing one is the server's right, and lack of descriptors may be ours.
        let Ok(connection) = target.connect() else {
            break;
        };
        kept.push(connection);
    }
    thread::sleep(Duration::from_secs(2));
    Outcome::new(true, format!("{} of {wanted} opened", kept.len()))
}
