//! One piece of work, so many times, for a program that counts instructions: `peers CASE PEER TIMES`; without arguments,
//! the cases and peers.

use std::env;
use std::process::exit;

use peers::tasks::{AsyncExecutor, Peer, Tokio, Tourbillon};

/// In one go; TIMES is a multiple.
const COUNT: usize = 1000;
const CASES: [&str; 3] = ["spawn", "call_soon", "sleep_and_cancel"];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [case, peer, times] = &arguments[..] else {
        for case in CASES {
            for peer in [Tourbillon::NAME, Tokio::NAME, AsyncExecutor::NAME] {
                println!("{case} {peer}");
            }
        }
        return;
    };
    let Ok(times) = times.parse() else {
        fail(&format!("{times} is no number"));
    };
    match &**peer {
        Tourbillon::NAME => run::<Tourbillon>(case, times),
        Tokio::NAME => run::<Tokio>(case, times),
        AsyncExecutor::NAME => run::<AsyncExecutor>(case, times),
        _ => fail(&format!("nobody is called {peer}")),
    }
}

fn run<P: Peer>(case: &str, times: usize) {
    let mut peer = P::new();
    for _ in 0..times / COUNT {
        match case {
            "spawn" => peer.spawn(COUNT),
            "call_soon" => peer.call_soon(COUNT),
            "sleep_and_cancel" => peer.sleep_and_cancel(COUNT),
            _ => fail(&format!("nothing is called {case}")),
        }
    }
}

fn fail(message: &str) -> ! {
    eprintln!("peers: {message}");
    exit(2);
}
