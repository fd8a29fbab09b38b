//! What operators see of a server: how long its routes take, its connections, and what made a turn slow.

use std::time::Duration;

use tourbillon::event_loop::{EventLoop, Trouble};
use tourbillon::sim::{Client, Simulation, World};
use tourbillon::task::sleep;
use tourbillon::web::{App, Census, Limits, Request, RouteReport, Server, task};

const MS: Duration = Duration::from_millis(1);
const S: Duration = Duration::from_secs(1);

/// A server whose routes are measured.
struct Scene {
    simulation: Simulation,
    world: World,
    server: Server,
    /// The line where `/blocks` is.
    blocks_at: u32,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(7);
        let mut simulation = Simulation::new(world.clone());
        let host = simulation.add("server", EventLoop::with_driver);
        let clock = world.clone();
        let blocks = move |_: &Request, _: &mut ()| {
            clock.advance_to(clock.now() + 150 * MS);
            "late"
        };
        let sleeps = |_: Request, _| async {
            sleep(2 * S).await;
            (503, "slept")
        };
        let app = App::new(())
            .measure_routes()
            .limits(Limits {
                keep_alive_timeout: 75 * S,
                ..Limits::default()
            })
            .get("/quick/{n}", |_: &Request, _: &mut ()| "quick")
            .get("/sleeps", task(sleeps));
        let app = app.get("/blocks", blocks);
        let blocks_at = line!() - 1;
        let mut ctx = simulation.loop_mut(host).ctx();
        let (server, _) = app.listen(&mut ctx, "0.0.0.0:80").expect("a free port");
        Self {
            simulation,
            world,
            server,
            blocks_at,
        }
    }

    fn ask(&mut self, target: &str) -> Client {
        let client = self.world.connect((self.world.address("server"), 80));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: server\r\n\r\n"));
        client
    }

    fn run_for(&mut self, time: Duration) {
        self.simulation.run_for(time).unwrap();
    }

    fn route(&self, path: &str) -> RouteReport {
        let routes = self.server.route_counts();
        let found = routes.iter().find(|route| &*route.path == path);
        found.unwrap_or_else(|| panic!("{routes:?}")).clone()
    }

    fn census(&mut self) -> Census {
        self.server.census(&mut self.simulation.loop_mut(0).ctx())
    }
}

#[test]
fn the_time_of_a_request_runs_from_the_turn_of_its_head_to_its_last_byte() {
    let mut scene = Scene::new();
    let _clients = [
        scene.ask("/sleeps"),
        scene.ask("/quick/1"),
        scene.ask("/quick/2"),
    ];
    scene.run_for(3 * S);
    let slept = scene.route("/sleeps");
    assert_eq!((slept.method, slept.counts.latency.count()), ("GET", 1));
    let took = slept.counts.latency.max().unwrap();
    assert!((2 * S..2 * S + 5 * MS).contains(&took), "{took:?}");
    assert_eq!(slept.counts.answers, [0, 0, 0, 0, 1]);
    let quick = scene.route("/quick/{n}").counts;
    assert_eq!(
        (quick.answers, quick.latency.max().unwrap()),
        ([0, 2, 0, 0, 0], Duration::ZERO)
    );
}

#[test]
fn what_a_request_waits_for_others_of_its_turn_counts_as_its_time() {
    let mut scene = Scene::new();
    // Both are there when the loop wakes up, and one holds it.
    let _clients = [scene.ask("/blocks"), scene.ask("/quick/1")];
    scene.run_for(S);
    let waited = scene.route("/quick/{n}").counts.latency.max().unwrap();
    let blocked = scene.route("/blocks").counts.latency.max().unwrap();
    assert_eq!(blocked, 150 * MS);
    // Whichever was visited first.
    assert!(waited == Duration::ZERO || waited == 150 * MS, "{waited:?}");
}

#[test]
fn what_belongs_to_no_route_is_counted_by_itself() {
    let mut scene = Scene::new();
    let client = scene.ask("/nowhere");
    client.send("nonsense\r\n\r\n");
    scene.run_for(S);
    let unrouted = scene.route("").counts;
    assert_eq!(unrouted.answers, [0, 0, 0, 2, 0]);
}

#[test]
fn a_slow_turn_names_the_route_whose_handler_made_it_slow() {
    let mut scene = Scene::new();
    let _client = scene.ask("/blocks");
    scene.run_for(S);
    // Each turn looks at the one before.
    let _another = scene.ask("/quick/1");
    scene.run_for(S);
    let event_loop = &scene.simulation.loops()[0];
    let incidents: Vec<_> = event_loop.incidents().collect();
    let [incident] = &incidents[..] else {
        panic!("{incidents:?}");
    };
    let Trouble::SlowTurn(slow) = &incident.what else {
        panic!("{incident:?}");
    };
    let [Some(piece), None, None] = slow.pieces else {
        panic!("{slow:?}");
    };
    assert_eq!((slow.took, piece.took), (150 * MS, 150 * MS));
    assert_eq!(piece.origin.line(), scene.blocks_at);
    assert!(incident.turn > 0 && slow.turn.visits > 0);
    let text = incident.what.to_string();
    assert!(
        text.starts_with("slow turn: 150 ms awake") && text.contains("operations.rs"),
        "{text}"
    );
}

#[test]
fn the_census_shows_each_connection_with_its_phase_its_deadline_and_its_route() {
    let mut scene = Scene::new();
    let _idle = scene.ask("/quick/1");
    scene.run_for(S);
    let _works = scene.ask("/sleeps");
    scene.run_for(S);
    let census = scene.census();
    let [idle, works] = &census.connections[..] else {
        panic!("{census}");
    };
    assert_eq!(
        (idle.state, idle.phase, idle.route.as_deref()),
        ("idle", "idle", None)
    );
    assert!(
        (72 * S..75 * S).contains(&idle.deadline.unwrap()),
        "{census}"
    );
    assert!(
        (S..3 * S).contains(&idle.age) && idle.age > works.age,
        "{census}"
    );
    assert_eq!((works.state, works.phase), ("in its handler", "handler"));
    assert_eq!(works.route.as_deref(), Some("/sleeps"));
    assert_eq!(census.states()[&("http", "idle")], 1);
    assert!(
        census
            .to_string()
            .starts_with("2 connections: 1 http idle, 1 http in its handler\n")
    );
}

#[test]
fn an_operator_closes_a_connection_and_no_other() {
    let mut scene = Scene::new();
    let (kept, closed) = (scene.ask("/quick/1"), scene.ask("/quick/2"));
    scene.run_for(S);
    let census = scene.census();
    let token = census.connections[1].token;
    let server = scene.server.clone();
    let close = |scene: &mut Scene| server.close(&mut scene.simulation.loop_mut(0).ctx(), token);
    assert!(close(&mut scene));
    scene.run_for(S);
    assert!(!close(&mut scene), "the token is stale");
    assert_eq!(scene.server.counts().open, 1);
    let both = [
        kept.peer_closed() || kept.was_reset(),
        closed.peer_closed() || closed.was_reset(),
    ];
    assert_eq!(both.iter().filter(|gone| **gone).count(), 1);
}
