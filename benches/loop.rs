//! What the loop's parts cost, in nanoseconds: `cargo bench --bench loop`.
//!
//! Everything here runs without a socket, on one thread. Wall-clock time of a busy machine says little: compare two
//! runs on a quiet one, or two commits in turn.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use tourbillon::event_loop::{EventLoop, TurnBudget};
use tourbillon::parts::slab::Slab;
use tourbillon::parts::wheel::Wheel;
use tourbillon::proto::http1::{
    BodyLength, Fields, HeadLimits, RequestHead, ResponseHead, Server, date,
};
use tourbillon::proto::ws::{Endpoint, Role, Step, WsLimits};

/// Live timers beside the one that is measured.
const TIMERS: u64 = 10_000;

fn wheel(c: &mut Criterion) {
    let mut wheel = Wheel::new();
    for n in 0..TIMERS {
        wheel.insert(1 + n * 6, n);
    }
    let mut tick = 0;
    c.bench_function("wheel: insert and cancel", |b| {
        b.iter(|| {
            tick = (tick + 7919) % 60_000;
            let id = wheel.insert(1 + tick, 0);
            wheel.cancel(black_box(id))
        });
    });
    let moved = wheel.insert(30_000, 0);
    c.bench_function("wheel: move", |b| {
        b.iter(|| {
            tick = (tick + 7919) % 60_000;
            wheel.reset(moved, 1 + tick)
        });
    });
    c.bench_function("wheel: next expiry", |b| {
        b.iter(|| black_box(&wheel).next_expiry())
    });
}

fn slab(c: &mut Criterion) {
    let mut slab = Slab::new();
    let keys: Vec<_> = (0..1000).map(|n| slab.insert(Box::new(n))).collect();
    let mut turn = 0;
    c.bench_function("slab: take and put back", |b| {
        b.iter(|| {
            turn = (turn + 1) % keys.len();
            let value = slab.take(keys[turn]).expect("it is there");
            slab.put_back(keys[turn], black_box(value));
        });
    });
}

fn turn(c: &mut Criterion) {
    let mut event_loop = EventLoop::new().expect("a loop");
    c.bench_function("turn: nothing to do", |b| {
        b.iter(|| event_loop.turn(TurnBudget::no_wait()))
    });
    c.bench_function("turn: 1,000 callbacks", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                event_loop.call_soon(|_| {});
            }
            event_loop.turn(TurnBudget::no_wait())
        });
    });
    c.bench_function("call_later and cancel", |b| {
        b.iter(|| {
            event_loop
                .call_later(Duration::from_secs(30), |_| {})
                .cancel()
        });
    });
    c.bench_function("turn: 1,000 tasks, spawned and done", |b| {
        b.iter(|| {
            for _ in 0..1000 {
                drop(event_loop.spawn(async {}));
            }
            event_loop.turn(TurnBudget::no_wait())
        });
    });
}

fn http1(c: &mut Criterion) {
    let input = b"GET /plaintext HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
    let (mut server, mut head, limits) = (Server::new(), RequestHead::new(), HeadLimits::default());
    let (fields, date) = (Fields::new(), date::format(0));
    let mut out = Vec::with_capacity(1024);
    c.bench_function("http1: one exchange", |b| {
        b.iter(|| {
            out.clear();
            server
                .next(black_box(input), &mut head, &limits)
                .expect("a head");
            server.next(b"", &mut head, &limits).expect("its end");
            let answer = ResponseHead {
                status: 200,
                fields: &fields,
                content_type: Some("text/plain"),
                length: BodyLength::Known(13),
                date: &date,
            };
            server.respond(&answer, &mut out).expect("owed");
            server
                .body(b"Hello, World!", &mut out)
                .expect("in the body");
            server.end(&mut out).expect("complete");
            server.after()
        });
    });
}

fn websocket(c: &mut Criterion) {
    let mut frame = Vec::new();
    let mut client = Endpoint::new(Role::Client);
    client
        .mask_with([1, 2, 3, 4])
        .binary(&[7; 64], &mut frame)
        .expect("open");
    let (mut server, limits) = (Endpoint::new(Role::Server), WsLimits::default());
    let mut out = Vec::with_capacity(1024);
    c.bench_function("ws: echo of 64 bytes", |b| {
        b.iter_batched_ref(
            || frame.clone(),
            |input| {
                out.clear();
                let (reader, writer) = server.split();
                match reader.next(input, &limits) {
                    Ok((_, Step::Binary(payload))) => {
                        writer.binary(payload, &mut out).expect("open")
                    }
                    other => panic!("{other:?} is no echo"),
                }
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group!(benches, wheel, slab, turn, http1, websocket);
criterion_main!(benches);
