//! Many WebSockets that say nothing: held, pinged, and told something once; and what the server holds for each.
//!
//! What the simulated network holds of them is measured by itself and taken off: see `examples/idle_million`, which
//! does the same with a million.

#[path = "../examples/idle_million/crowd.rs"]
mod crowd;

use allocation_counter::measure;
use crowd::{Bare, Crowd, Host, Served};
use tourbillon::sim::World;

const CONNECTIONS: usize = 20_000;
/// Long enough that each is pinged, and none twice.
const HOLD_SECONDS: u32 = 31;
/// What the server may hold for one: its membership of a room is in it, and the slack of tables that grew by doubling.
const BYTES_EACH_MAX: i64 = 400;

/// What `make`'s host and its world hold while a crowd is there, in bytes.
fn held<H: Host>(make: impl FnOnce(&World) -> H) -> i64 {
    let world = crowd::world();
    let (mut host, mut crowd) = (make(&world), Crowd::new(&world));
    let counted = measure(|| {
        crowd.join(&mut host, CONNECTIONS);
        crowd.hold(&mut host, HOLD_SECONDS);
    });
    let turns = host.publish();
    assert!(turns.count > 0);
    assert_eq!(host.held(), CONNECTIONS);
    assert_eq!(crowd.pinged(), CONNECTIONS);
    assert_eq!(crowd.informed(), CONNECTIONS);
    counted.bytes_current
}

#[test]
fn twenty_thousand_are_held_pinged_and_told_once_in_a_few_hundred_bytes_each() {
    let ours = held(Served::new);
    let network = held(Bare::new);
    let each = (ours - network) / CONNECTIONS as i64;
    println!(
        "{each} bytes for each WebSocket, beside {} of the network",
        network / CONNECTIONS as i64
    );
    assert!(each > 0, "{ours} bytes with a server, {network} without");
    assert!(each <= BYTES_EACH_MAX, "{each} bytes for each WebSocket");
}
