//! Times, by Criterion: `cargo bench --manifest-path benches/peers/Cargo.toml --bench tasks`.
//!
//! Compare within one run, on a quiet machine.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use peers::tasks::{AsyncExecutor, Peer, Tokio, Tourbillon};

/// In one go.
const COUNT: usize = 1000;

fn compare(c: &mut Criterion, name: &str, work: [&mut dyn FnMut(); 3]) {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Elements(COUNT as u64));
    let names = [Tourbillon::NAME, Tokio::NAME, AsyncExecutor::NAME];
    for (name, work) in names.into_iter().zip(work) {
        group.bench_function(name, |b| b.iter(&mut *work));
    }
    group.finish();
}

fn tasks(c: &mut Criterion) {
    let (mut ours, mut tokio, mut smol) = (Tourbillon::new(), Tokio::new(), AsyncExecutor::new());
    compare(
        c,
        "spawn and complete an empty task",
        [
            &mut || ours.spawn(COUNT),
            &mut || tokio.spawn(COUNT),
            &mut || smol.spawn(COUNT),
        ],
    );
    compare(
        c,
        "call a function soon",
        [
            &mut || ours.call_soon(COUNT),
            &mut || tokio.call_soon(COUNT),
            &mut || smol.call_soon(COUNT),
        ],
    );
    compare(
        c,
        "begin to sleep and cancel",
        [
            &mut || ours.sleep_and_cancel(COUNT),
            &mut || tokio.sleep_and_cancel(COUNT),
            &mut || smol.sleep_and_cancel(COUNT),
        ],
    );
}

criterion_group!(benches, tasks);
criterion_main!(benches);
