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
        passes: SERVED,
        pace: Pace::Alone,
        run: reset_in_answer,
    },
    Attack {
        name: "reset-in-request",
        does: "200 clients that reset their connection in the middle of a second request",
        passes: SERVED,
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
    let host = &target.options.host;
    let path = target.large.as_ref().unwrap_or(&target.path);
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let mut begun = 0;
    for _ in 0..50 {
        if let Ok(mut connection) = target.connect() {
            connection.send(request.as_bytes(), PATIENCE);
            begun += usize::from(connection.peek(PATIENCE));
        }
        // It is the resets that are to hurt, not the making of many large answers at once.
        thread::sleep(Duration::from_millis(20));
    }
    Outcome::new(begun == 50, format!("{begun} of 50 answers had begun"))
}

fn reset_in_request(target: &Target) -> Outcome {
    let mut request = target.get();
    let half = request.len() / 2;
    request.extend_from_within(..half);
    let mut begun = 0;
    for _ in 0..200 {
        if let Ok(mut connection) = target.connect() {
            connection.send(&request, PATIENCE);
            begun += usize::from(connection.peek(PATIENCE));
        }
    }
    Outcome::new(
        begun == 200,
        format!("{begun} of 200 first requests were answered"),
    )
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
