//! The pool against a model that does the same by looking at everything.

use std::cell::Cell;
use std::panic::Location;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use proptest::prelude::*;

use super::*;

/// A waker that counts.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn user(host: &str) -> User {
    User {
        url: Url::parse(host).expect("a URL"),
        origin: Location::caller(),
    }
}

/// A pool of numbered connections, and a clock.
struct Bench {
    pool: Pool<u32>,
    now: Instant,
    opened: u32,
    closed: Vec<u32>,
    bell: Arc<Bell>,
}

impl Bench {
    fn new(limit: usize, limit_per_host: usize) -> Self {
        Self {
            pool: Pool::new(PoolLimits {
                limit,
                limit_per_host,
                keepalive_timeout: Duration::from_secs(30),
                age_max: Some(Duration::from_secs(300)),
            }),
            now: Instant::now(),
            opened: 0,
            closed: Vec::new(),
            bell: Arc::default(),
        }
    }

    fn acquire(&mut self, host: &str) -> Acquired<u32> {
        self.pool
            .acquire(host, user(host), self.now, &mut self.closed)
    }

    /// Acquire, and open a connection where there is room for one.
    #[track_caller]
    fn take(&mut self, host: &str) -> (Place, u32) {
        match self.acquire(host) {
            Acquired::Idle(place, connection) => (place, connection),
            Acquired::Room(place) => {
                self.opened += 1;
                (place, self.opened)
            }
            Acquired::Wait(_) => panic!("has to wait"),
        }
    }

    #[track_caller]
    fn wait(&mut self, host: &str) -> Ticket {
        match self.acquire(host) {
            Acquired::Wait(ticket) => {
                assert!(self.fetch(&ticket).is_none());
                ticket
            }
            other => panic!("need not wait: {other:?}"),
        }
    }

    fn fetch(&mut self, ticket: &Ticket) -> Option<Acquired<u32>> {
        self.pool.fetch(ticket, &Arc::clone(&self.bell).into())
    }

    fn with<T>(&mut self, act: impl FnOnce(&mut Pool<u32>, Instant, &mut Effects<u32>) -> T) -> T {
        let mut effects = Effects::new();
        let result = act(&mut self.pool, self.now, &mut effects);
        self.closed.append(&mut effects.closed);
        effects.carry_out();
        result
    }

    fn put_back(&mut self, (place, connection): (Place, u32)) {
        self.with(|pool, now, effects| pool.put_back(place, connection, now, effects));
    }

    fn release(&mut self, place: Place) {
        self.with(|pool, now, effects| pool.release(place, now, effects));
    }

    fn leave(&mut self, ticket: &Ticket) {
        self.with(|pool, now, effects| pool.leave(ticket, now, effects));
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }
}

#[test]
fn the_connection_used_last_is_used_again() {
    let mut bench = Bench::new(0, 0);
    let (first, second) = (bench.take("http://a"), bench.take("http://a"));
    bench.put_back(first);
    bench.put_back(second);
    assert_eq!(bench.take("http://a").1, 2);
    assert_eq!(bench.take("http://a").1, 1);
    assert_eq!(bench.take("http://a").1, 3);
}

#[test]
fn a_connection_goes_to_its_own_host_only() {
    let mut bench = Bench::new(0, 0);
    let to_a = bench.take("http://a");
    bench.put_back(to_a);
    assert_eq!(bench.take("http://b").1, 2);
    assert_eq!(bench.take("http://a").1, 1);
}

#[test]
fn those_who_wait_are_served_in_the_order_in_which_they_came() {
    let mut bench = Bench::new(0, 1);
    let held = bench.take("http://a");
    let tickets: Vec<Ticket> = (0..3).map(|_| bench.wait("http://a")).collect();
    bench.put_back(held);
    for (woken, ticket) in (1..).zip(&tickets) {
        assert_eq!(bench.bell.0.load(Ordering::Relaxed), woken);
        let Some(Acquired::Idle(place, 1)) = bench.fetch(ticket) else {
            panic!("the connection is handed on");
        };
        bench.put_back((place, 1));
    }
    assert_eq!(bench.pool.counts(), (1, 1, 0));
}

#[test]
fn who_waits_for_a_full_host_does_not_hold_up_the_others() {
    let mut bench = Bench::new(3, 1);
    let _held = bench.take("http://a");
    let _waits = bench.wait("http://a");
    bench.take("http://b");
    bench.take("http://c");
    bench.wait("http://d");
}

#[test]
fn the_limit_on_all_closes_what_has_been_idle_longest() {
    let mut bench = Bench::new(2, 0);
    let (to_a, to_b) = (bench.take("http://a"), bench.take("http://b"));
    bench.put_back(to_a);
    bench.put_back(to_b);
    bench.take("http://c");
    assert_eq!(bench.closed, [1]);
    assert_eq!(bench.pool.counts(), (2, 1, 0));
}

#[test]
fn who_waited_longest_gets_room_even_if_the_free_connection_leads_elsewhere() {
    let mut bench = Bench::new(1, 0);
    let held = bench.take("http://a");
    let (elsewhere, same) = (bench.wait("http://b"), bench.wait("http://a"));
    bench.put_back(held);
    assert!(matches!(bench.fetch(&elsewhere), Some(Acquired::Room(_))));
    assert!(bench.fetch(&same).is_none());
    assert_eq!(bench.closed, [1]);
}

#[test]
fn who_leaves_passes_on_what_was_granted() {
    let mut bench = Bench::new(1, 0);
    let held = bench.take("http://a");
    let (gone, first, second) = (
        bench.wait("http://a"),
        bench.wait("http://a"),
        bench.wait("http://a"),
    );
    bench.leave(&gone);
    bench.put_back(held);
    bench.leave(&first);
    assert!(matches!(bench.fetch(&second), Some(Acquired::Idle(_, 1))));
    assert_eq!(bench.pool.counts(), (1, 0, 0));
}

#[test]
fn a_connection_too_long_idle_or_too_old_is_closed() {
    let mut bench = Bench::new(0, 0);
    let held = bench.take("http://a");
    bench.put_back(held);
    bench.pass(29);
    let held = bench.take("http://a");
    assert_eq!(held.1, 1);
    bench.put_back(held);
    bench.pass(30);
    let held = bench.take("http://a");
    assert_eq!((held.1, &bench.closed[..]), (2, &[1][..]));
    bench.pass(299);
    bench.put_back(held);
    let held = bench.take("http://a");
    assert_eq!(held.1, 2);
    bench.pass(1);
    bench.put_back(held);
    assert_eq!(bench.closed, [1, 2]);
    assert_eq!(bench.pool.counts(), (0, 0, 0));
    assert!(bench.pool.hosts.is_empty());
}

#[test]
fn a_sweep_closes_what_is_due_and_what_the_peer_closed() {
    let mut bench = Bench::new(0, 0);
    let held = [
        bench.take("http://a"),
        bench.take("http://a"),
        bench.take("http://b"),
    ];
    for one in held {
        bench.put_back(one);
        bench.pass(10);
    }
    assert_eq!(bench.pool.next_sweep(), Some(bench.now));
    bench.with(|pool, now, effects| pool.sweep(now, |connection| *connection != 3, effects));
    assert_eq!(bench.closed, [1, 3]);
    assert_eq!(bench.pool.counts(), (1, 1, 0));
    assert_eq!(bench.pool.hosts.len(), 1);
}

#[test]
fn a_closed_connection_is_replaced_by_another_idle_one_and_then_by_room() {
    let mut bench = Bench::new(2, 0);
    let held = [bench.take("http://a"), bench.take("http://a")];
    held.into_iter().for_each(|one| bench.put_back(one));
    let (place, _) = bench.take("http://a");
    assert_eq!(
        bench.with(|pool, now, effects| pool.replace(place, now, effects)),
        Some(1)
    );
    assert_eq!(bench.pool.counts(), (1, 0, 0));
    assert_eq!(
        bench.with(|pool, now, effects| pool.replace(place, now, effects)),
        None
    );
    assert_eq!(bench.pool.counts(), (1, 0, 0));
    bench.release(place);
    assert_eq!(bench.pool.counts(), (0, 0, 0));
}

#[test]
fn a_report_names_who_has_held_longest() {
    let mut bench = Bench::new(0, 2);
    let _first = bench.take("http://a");
    bench.pass(5);
    let _others = (bench.take("http://a"), bench.take("http://b"));
    let _waits = bench.wait("http://a");
    bench.pass(2);
    let report = bench.pool.report("http://a", bench.now);
    assert!(report.is_host_full);
    assert_eq!((report.limit, report.holders, report.waiters), (2, 2, 1));
    let longest = report.longest.expect("there are holders");
    assert_eq!(longest.duration, Duration::from_secs(7));
    assert_eq!(longest.url.as_str(), "http://a/");
}

/// The same rules, by looking at everything each time.
#[derive(Default)]
struct Model {
    limits: (usize, usize),
    /// Held: its host.
    held: Vec<usize>,
    /// Idle: its host, oldest first.
    idle: Vec<usize>,
    /// Waiting: number and host, oldest first.
    waiting: Vec<(usize, usize)>,
    granted: Vec<(usize, usize)>,
}

impl Model {
    fn open(&self, host: Option<usize>) -> usize {
        let all = self
            .held
            .iter()
            .chain(&self.idle)
            .chain(self.granted.iter().map(|(_, host)| host));
        all.filter(|known| host.is_none_or(|host| **known == host))
            .count()
    }

    /// Take a connection to `host` from the idle ones or from the room there is.
    fn can_have(&mut self, host: usize) -> bool {
        if let Some(at) = self.idle.iter().rposition(|known| *known == host) {
            self.idle.remove(at);
            return true;
        }
        let (limit, limit_per_host) = self.limits;
        if limit_per_host > 0 && self.open(Some(host)) >= limit_per_host {
            return false;
        }
        if limit > 0 && self.open(None) >= limit {
            if self.idle.is_empty() {
                return false;
            }
            self.idle.remove(0);
        }
        true
    }

    fn serve(&mut self) {
        let mut at = 0;
        while at < self.waiting.len() {
            let (number, host) = self.waiting[at];
            if self.can_have(host) {
                self.waiting.remove(at);
                self.granted.push((number, host));
                at = 0;
            } else {
                at += 1;
            }
        }
    }
}

thread_local! {
    /// How many steps met one who had to wait, and one who was granted something.
    static MET: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

#[derive(Clone, Debug)]
enum Act {
    Acquire(usize),
    PutBack(usize),
    Release(usize),
    Replace(usize),
    Fetch(usize),
    Leave(usize),
    SweepOldest,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => (0..3_usize).prop_map(Act::Acquire),
        4 => any::<usize>().prop_map(Act::PutBack),
        2 => any::<usize>().prop_map(Act::Release),
        1 => any::<usize>().prop_map(Act::Replace),
        3 => any::<usize>().prop_map(Act::Fetch),
        2 => any::<usize>().prop_map(Act::Leave),
        1 => Just(Act::SweepOldest),
    ];
    proptest::collection::vec(act, 1..80)
}

const HOSTS: [&str; 3] = ["http://a", "http://b", "http://c"];

fn run(limits: (usize, usize), acts: &[Act]) {
    let mut bench = Bench::new(limits.0, limits.1);
    let mut model = Model {
        limits,
        ..Model::default()
    };
    let mut held: Vec<(Place, u32)> = Vec::new();
    let mut tickets: Vec<(usize, Ticket)> = Vec::new();
    let mut number = 0;
    for act in acts {
        // So that no two connections became idle at the same moment.
        bench.now += Duration::from_millis(1);
        match act {
            Act::Acquire(host) => {
                let acquired = bench.acquire(HOSTS[*host]);
                let can = model.can_have(*host);
                match acquired {
                    Acquired::Idle(place, connection) => held.push((place, connection)),
                    Acquired::Room(place) => held.push((place, 0)),
                    Acquired::Wait(ticket) => {
                        assert!(bench.fetch(&ticket).is_none());
                        tickets.push((number, ticket));
                        model.waiting.push((number, *host));
                        number += 1;
                        assert!(!can, "waits without need");
                        continue;
                    }
                }
                assert!(can, "beyond a limit");
                model.held.push(*host);
            }
            Act::PutBack(which) if !held.is_empty() => {
                let which = which % held.len();
                bench.put_back(held.remove(which));
                let host = model.held.remove(which);
                model.idle.push(host);
                model.serve();
            }
            Act::Release(which) if !held.is_empty() => {
                let which = which % held.len();
                bench.release(held.remove(which).0);
                model.held.remove(which);
                model.serve();
            }
            Act::Replace(which) if !held.is_empty() => {
                let which = which % held.len();
                let place = held[which].0;
                let found = bench.with(|pool, now, effects| pool.replace(place, now, effects));
                let host = model.held[which];
                let at = model.idle.iter().rposition(|known| *known == host);
                assert_eq!(found.is_some(), at.is_some());
                if let Some(at) = at {
                    model.idle.remove(at);
                }
                model.serve();
            }
            Act::Fetch(which) if !tickets.is_empty() => {
                let which = which % tickets.len();
                let (number, ticket) = &tickets[which];
                let at = model.granted.iter().position(|(known, _)| known == number);
                let fetched = bench.fetch(ticket);
                assert_eq!(fetched.is_some(), at.is_some());
                let (waited, granted) = MET.get();
                MET.set((
                    waited + usize::from(at.is_none()),
                    granted + usize::from(at.is_some()),
                ));
                match fetched {
                    Some(Acquired::Idle(place, connection)) => held.push((place, connection)),
                    Some(Acquired::Room(place)) => held.push((place, 0)),
                    _ => continue,
                }
                tickets.remove(which);
                let (_, host) = model.granted.remove(at.expect("granted"));
                model.held.push(host);
            }
            Act::Leave(which) if !tickets.is_empty() => {
                let (number, ticket) = tickets.remove(which % tickets.len());
                let was_idle = bench
                    .pool
                    .granted
                    .get(&ticket.number)
                    .is_some_and(|(_, c)| c.is_some());
                bench.leave(&ticket);
                model.waiting.retain(|(known, _)| *known != number);
                if let Some(at) = model.granted.iter().position(|(known, _)| *known == number) {
                    let (_, host) = model.granted.remove(at);
                    if was_idle {
                        model.idle.push(host);
                    }
                    model.serve();
                }
            }
            Act::SweepOldest => {
                let mut is_first = true;
                bench.with(|pool, now, effects| {
                    pool.sweep(now, |_| !std::mem::take(&mut is_first), effects);
                });
                if !model.idle.is_empty() {
                    model.idle.remove(0);
                }
                model.serve();
            }
            _ => {}
        }
        let counts = (model.open(None), model.idle.len(), model.waiting.len());
        assert_eq!(bench.pool.counts(), counts, "after {act:?}");
        let (limit, limit_per_host) = limits;
        assert!(limit == 0 || counts.0 <= limit);
        for (host, name) in HOSTS.iter().enumerate() {
            let open = bench.pool.hosts.get(*name).map_or(0, |host| host.open);
            assert_eq!(open, model.open(Some(host)));
            assert!(limit_per_host == 0 || open <= limit_per_host);
        }
    }
    // All of it given back, nothing is left.
    tickets.iter().for_each(|(_, ticket)| bench.leave(ticket));
    held.into_iter().for_each(|(place, _)| bench.release(place));
    bench.with(|pool, now, effects| pool.clear_idle(now, effects));
    assert_eq!(bench.pool.counts(), (0, 0, 0));
    assert!(bench.pool.hosts.is_empty() && bench.pool.first_in_line.is_empty());
    assert!(bench.pool.granted.is_empty() && bench.pool.holders.is_empty());
}

#[test]
fn it_does_what_the_model_does() {
    let config = ProptestConfig {
        cases: 2_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let strategy = (0..5_usize, 0..3_usize, acts());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&strategy, |(limit, limit_per_host, acts)| {
            run((limit, limit_per_host), &acts);
            Ok(())
        })
        .expect("the two agree");
    let (waited, granted) = MET.get();
    assert!(waited > 1_000 && granted > 1_000, "{waited}, {granted}");
}
