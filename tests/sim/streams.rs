//! Streams of tasks in a world where everything goes wrong: what one end says, the other hears, once and in order; and
//! whatever becomes of a connection, nothing of it is left.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tourbillon::event_loop::EventLoop;
use tourbillon::net::{StreamExt, TcpListener, TcpStream};
use tourbillon::sim::{Failure, Faults, Simulation, World, check};
use tourbillon::task::{sleep, spawn};

const SERVER: usize = 0;
const CLIENT: usize = 1;

/// Two hosts, a loop each, and how many of their tasks are still at it.
struct Scene {
    simulation: Simulation,
    world: World,
    address: SocketAddr,
    busy: Rc<Cell<usize>>,
}

impl Scene {
    fn new(seed: u64, faults: Faults) -> Self {
        let world = World::with_faults(seed, faults);
        let mut simulation = Simulation::new(world.clone());
        simulation.limit_busy_turns(20_000);
        for host in ["server", "client"] {
            simulation.add(host, EventLoop::with_driver);
        }
        let address = SocketAddr::new(world.address("server").into(), 7);
        Self {
            simulation,
            world,
            address,
            busy: Rc::default(),
        }
    }

    /// Run `task` on a loop; the scene is over when all are.
    fn run(&mut self, number: usize, task: impl Future<Output = ()> + 'static) {
        self.busy.set(self.busy.get() + 1);
        let busy = Rc::clone(&self.busy);
        self.simulation.loop_mut(number).spawn(async move {
            task.await;
            busy.set(busy.get() - 1);
        });
    }

    fn listener(&mut self) -> TcpListener {
        let mut ctx = self.simulation.loop_mut(SERVER);
        TcpListener::listen(&mut ctx.ctx(), self.address).unwrap()
    }

    /// Let everything happen, and see that nothing is left.
    fn finish(mut self) -> Result<(), Failure> {
        let busy = Rc::clone(&self.busy);
        self.simulation.run_until(|_| busy.get() == 0)?;
        self.simulation.run_until_idle()?;
        for number in [SERVER, CLIENT] {
            let stats = self.simulation.loops()[number].stats();
            assert_eq!(stats.sources, 0, "sources of loop {number}");
            assert_eq!(stats.timers_set, 0, "timers of loop {number}");
            assert_eq!(stats.panics, 0, "panics of loop {number}");
            assert_eq!(
                self.simulation.open_sockets(number),
                0,
                "sockets of loop {number}"
            );
        }
        Ok(())
    }
}

/// A size that suits the faults: byte by byte, a large one takes for ever.
fn size(world: &World) -> usize {
    let faults = world.faults();
    let piece = faults
        .piece_bytes
        .as_ref()
        .map_or(usize::MAX, |range| *range.end());
    let grain = piece
        .min(*faults.send_buffer_bytes.end())
        .min(*faults.receive_buffer_bytes.end());
    world.range(1..=grain.saturating_mul(40).clamp(100, 300_000) as u64) as usize
}

/// Send back what comes, until it ends; by one of two ways to read.
async fn echo(mut stream: TcpStream, by_swapping: bool) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut piece = [0; 5_000];
    loop {
        let read = match by_swapping {
            true => stream.read_vec(&mut buffer).await?,
            false => {
                let read = stream.read(&mut piece).await?;
                buffer.extend_from_slice(&piece[..read]);
                read
            }
        };
        if read == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&buffer).await?;
        buffer.clear();
    }
}

/// Say `said` in pieces, hear the echo of it at the same time, slowly or not; what was heard.
async fn talk(world: World, to: SocketAddr, said: Vec<u8>) -> io::Result<Vec<u8>> {
    let (mut reader, mut writer) = TcpStream::connect(to).await?.into_split();
    let theirs = said.clone();
    let pause = Duration::from_micros(world.range(0..=300));
    let wide = world.range(1..=20_000) as usize;
    let speaker = spawn(async move {
        for piece in theirs.chunks(wide) {
            writer.write_all(piece).await?;
        }
        writer.shutdown().await
    });
    let mut heard = Vec::new();
    let mut buffer = vec![0; world.range(100..=40_000) as usize];
    loop {
        match reader.read(&mut buffer).await? {
            0 => break,
            read => heard.extend_from_slice(&buffer[..read]),
        }
        if !pause.is_zero() && heard.len() % 3 == 0 {
            sleep(pause).await;
        }
    }
    speaker.await.unwrap()?;
    Ok(heard)
}

fn echoes(seed: u64, faults: Faults, is_whole: bool) -> Result<(), Failure> {
    let mut scene = Scene::new(seed, faults);
    let world = scene.world.clone();
    let number = world.range(1..=4) as usize;
    let mut listener = scene.listener();
    let by_swapping = world.chance(0.5);
    let over = Rc::new(Cell::new(false));
    let servers = Rc::clone(&over);
    scene.run(SERVER, async move {
        let mut served = Vec::new();
        while served.len() < number && !servers.get() {
            let accepted = within(listener.accept(), Duration::from_millis(500)).await;
            if let Some(accepted) = accepted {
                served.push(spawn(echo(accepted.unwrap().0, by_swapping)));
            }
        }
        drop(listener);
        for one in served {
            let result = one.await.unwrap();
            assert!(result.is_ok() || !is_whole, "{result:?}");
        }
    });
    let left = Rc::new(Cell::new(number));
    for _ in 0..number {
        let (world, to) = (world.clone(), scene.address);
        let said = world.bytes(size(&world));
        let (left, over) = (Rc::clone(&left), Rc::clone(&over));
        scene.run(CLIENT, async move {
            let heard = talk(world, to, said.clone()).await;
            match heard {
                Ok(heard) if is_whole => {
                    assert!(heard == said, "{} of {}", heard.len(), said.len())
                }
                // Who is turned away hears the end at once.
                Ok(heard) => assert!(said.starts_with(&heard)),
                Err(error) => assert!(!is_whole, "{error}"),
            }
            left.set(left.get() - 1);
            over.set(left.get() == 0);
        });
    }
    scene.finish()
}

/// `future`, unless it takes longer; then it is dropped.
async fn within<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    let mut future = std::pin::pin!(future);
    let mut limit = std::pin::pin!(sleep(limit));
    std::future::poll_fn(|context| {
        if let std::task::Poll::Ready(output) = future.as_mut().poll(context) {
            return std::task::Poll::Ready(Some(output));
        }
        limit.as_mut().poll(context).map(|()| None)
    })
    .await
}

#[test]
fn an_echo_is_what_was_said_through_any_gentle_fault() {
    check(0..400, |seed| {
        let mut faults = Faults::gentle(seed);
        // Who cannot be accepted for want of descriptors is turned away.
        faults.accept_error = 0.0;
        echoes(seed, faults, true)
    });
}

#[test]
fn whatever_goes_wrong_every_task_ends_and_nothing_is_left() {
    check(0..400, |seed| echoes(seed, Faults::drawn(seed), false));
}
