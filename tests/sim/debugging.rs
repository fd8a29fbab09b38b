//! What debug mode says of a server: which of its handlers held the loop, and which will never answer.

use std::cell::RefCell;
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tourbillon::event_loop::{EventLoop, Finding, SlowReport};
use tourbillon::sim::{Client, Simulation, World};
use tourbillon::task::{sleep, spawn_named};
use tourbillon::web::{App, Request, task};

const MS: Duration = Duration::from_millis(1);

type Found = Rc<RefCell<Vec<Finding>>>;

/// A server in debug mode.
struct Scene {
    simulation: Simulation,
    world: World,
    found: Found,
    /// The lines where the routes of `app` are.
    blocks_at: u32,
    forgets_at: u32,
}

impl Scene {
    fn new() -> Self {
        let world = World::new(7);
        let mut simulation = Simulation::new(world.clone());
        let found = Found::default();
        let finding = Rc::clone(&found);
        let server = simulation.add("server", |driver| {
            let mut event_loop = EventLoop::with_driver(driver);
            event_loop.on_finding(move |it| finding.borrow_mut().push(it.clone()));
            event_loop.set_debug(true);
            event_loop
        });
        let clock = world.clone();
        let blocks = move |_: &Request, _: &mut ()| {
            clock.advance_to(clock.now() + 150 * MS);
            "late"
        };
        let forgets = |_, _| async {
            poll_fn(|_| Poll::<()>::Pending).await;
            "never"
        };
        let waits = |_, _| async {
            spawn_named("in vain", pending::<()>());
            sleep(Duration::from_secs(5)).await;
            "in the end"
        };
        let app = App::new(())
            .get("/waits", task(waits))
            .get("/blocks", blocks)
            .get("/forgets", task(forgets));
        let forgets_at = line!() - 1;
        let mut ctx = simulation.loop_mut(server).ctx();
        app.listen(&mut ctx, "0.0.0.0:80").expect("a free port");
        Self {
            simulation,
            world,
            found,
            blocks_at: forgets_at - 1,
            forgets_at,
        }
    }

    fn ask(&mut self, target: &str) -> Client {
        let client = self.world.connect((self.world.address("server"), 80));
        client.send(format!("GET {target} HTTP/1.1\r\nHost: server\r\n\r\n"));
        client
    }

    fn slow(&self) -> Vec<SlowReport> {
        let found = self.found.borrow();
        let slow = found.iter().filter_map(|finding| match finding {
            Finding::Slow(slow) => Some(slow.clone()),
            _ => None,
        });
        slow.collect()
    }
}

#[test]
fn a_handler_that_blocks_is_named_by_its_route_and_its_connection_is_not_blamed_again() {
    let mut scene = Scene::new();
    let client = scene.ask("/blocks");
    let is_answered = |_: &Simulation| client.received().ends_with(b"late");
    scene.simulation.run_until(is_answered).unwrap();
    let [slow] = &scene.slow()[..] else {
        panic!("{:?}", scene.found.borrow());
    };
    assert_eq!(slow.work.kind, "handler");
    assert_eq!(slow.work.origin.line(), scene.blocks_at);
    assert_eq!(slow.took, 150 * MS);
}

#[test]
fn a_handler_that_nothing_can_wake_is_found_and_stands_in_the_table() {
    let mut scene = Scene::new();
    let _client = scene.ask("/forgets");
    scene.simulation.run_for(Duration::from_secs(1)).unwrap();
    let found = scene.found.borrow();
    let [Finding::Lost(lost)] = &found[..] else {
        panic!("{found:?}");
    };
    let place = (lost.work.kind, lost.work.origin.line());
    assert_eq!(place, ("handler", scene.forgets_at));
    let tasks = scene.simulation.loops()[0].tasks();
    let [task] = &tasks.tasks[..] else {
        panic!("{tasks}");
    };
    assert_eq!((task.kind, task.state), ("http", "lost"));
    assert_eq!(task.origin.line(), scene.forgets_at);
}

#[test]
fn a_handler_that_waits_is_in_the_table_with_what_it_waits_on_and_the_task_it_has_spawned() {
    let mut scene = Scene::new();
    let _client = scene.ask("/waits");
    scene.simulation.run_for(Duration::from_secs(1)).unwrap();
    let tasks = scene.simulation.loops()[0].tasks();
    let what: Vec<_> = (tasks.tasks.iter())
        .map(|task| (task.kind, task.waits_on.map(|waits_on| waits_on.what)))
        .collect();
    assert_eq!(what, [("http", Some("timer")), ("task", None)], "{tasks}");
    // The handler has its timer, and the task nothing: the loop knows which is in vain.
    let found = scene.found.borrow();
    let [Finding::Lost(lost)] = &found[..] else {
        panic!("{found:?}");
    };
    assert_eq!(lost.work.name.as_deref(), Some("in vain"));
}
