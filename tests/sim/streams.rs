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
use tourbillon::task::{sleep, spawn, timeout};

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
        let mut ctx = self.simulation.loop_mut(SERVER).ctx();
        TcpListener::listen(&mut ctx, self.address).unwrap()
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

/// `future`, unless it takes longer; then it is dropped.
async fn within<F: Future>(future: F, limit: Duration) -> Option<F::Output> {
    timeout(limit, future).await.ok()
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

#[test]
fn whoever_gives_up_an_operation_again_and_again_loses_no_byte_sends_none_twice_and_misses_nobody()
{
    check(0..200, |seed| {
        let mut faults = Faults::gentle(seed);
        faults.accept_error = 0.0;
        let mut scene = Scene::new(seed, faults);
        let world = scene.world.clone();
        let mut listener = scene.listener();
        let number = world.range(1..=5) as usize;
        let patience = Duration::from_micros(world.range(1..=3_000));
        let size = size(&world).min(50_000);
        let (impatient, heard) = (world.clone(), Rc::new(Cell::new(0)));
        let seen = Rc::clone(&heard);
        scene.run(SERVER, async move {
            let mut readers = Vec::new();
            while readers.len() < number {
                if let Some(accepted) = within(listener.accept(), patience).await {
                    readers.push(spawn(hear_impatiently(accepted.unwrap().0, patience)));
                }
            }
            for reader in readers {
                let heard = reader.await.unwrap().unwrap();
                let expected: Vec<u8> = (0..heard.len()).map(|at| at as u8).collect();
                assert!(heard == expected, "bytes were lost, or came twice");
                seen.set(seen.get() + heard.len());
            }
        });
        for _ in 0..number {
            let (to, world) = (scene.address, impatient.clone());
            scene.run(CLIENT, async move {
                let mut stream = TcpStream::connect(to).await.unwrap();
                let mut sent = 0;
                while sent < size {
                    let length = (world.range(1..=30_000) as usize).min(size - sent);
                    let piece: Vec<u8> = (sent..sent + length).map(|at| at as u8).collect();
                    if let Some(written) = within(stream.write(&piece), patience).await {
                        sent += written.unwrap();
                    }
                }
                while within(stream.shutdown(), patience).await.is_none() {}
                let mut end = [0];
                assert_eq!(stream.read(&mut end).await.unwrap(), 0);
            });
        }
        scene.finish()?;
        assert_eq!(heard.get(), number * size);
        Ok(())
    });
}

async fn hear_impatiently(mut stream: TcpStream, patience: Duration) -> io::Result<Vec<u8>> {
    let mut heard = Vec::new();
    let mut buffer = [0; 3_000];
    loop {
        match within(stream.read(&mut buffer), patience).await {
            None => {}
            Some(read) => match read? {
                0 => return Ok(heard),
                read => heard.extend_from_slice(&buffer[..read]),
            },
        }
    }
}

#[test]
fn a_connection_that_is_given_up_on_the_way_is_closed() {
    check(0..100, |seed| {
        let mut faults = Faults::drawn(seed);
        faults.connect_delay_ms = 0..=20;
        let mut scene = Scene::new(seed, faults);
        let world = scene.world.clone();
        let mut listener = scene.listener();
        scene.run(SERVER, async move {
            // Those who were there for a moment have an end, too.
            while let Some(Ok((mut stream, _))) =
                within(listener.accept(), Duration::from_secs(100)).await
            {
                let mut rest = Vec::new();
                let _ = stream.read_to_end(&mut rest, 10).await;
            }
        });
        for _ in 0..5 {
            let (to, limit) = (
                scene.address,
                Duration::from_micros(world.range(0..=30_000)),
            );
            scene.run(CLIENT, async move {
                drop(within(TcpStream::connect(to), limit).await);
            });
        }
        scene.finish()
    });
}

#[test]
fn cancelled_at_any_await_a_conversation_leaves_nothing_behind() {
    let awaits = tourbillon::sim::cancel_at_each_await(|| {
        let conversation = async {
            let mut listener = TcpListener::bind("127.0.0.1:7".parse().unwrap())
                .await
                .unwrap();
            let to = listener.local_addr();
            spawn(async move {
                let accepted = within(listener.accept(), Duration::from_secs(1)).await;
                if let Some(accepted) = accepted {
                    let _ = echo(accepted.unwrap().0, true).await;
                }
            });
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(&[7; 200_000]).await.unwrap();
            stream.flush().await.unwrap();
            stream.shutdown().await.unwrap();
            let mut heard = Vec::new();
            stream.read_to_end(&mut heard, 200_000).await.unwrap();
            assert_eq!(heard.len(), 200_000);
        };
        // Until the other side has noticed.
        (conversation, sleep(Duration::from_secs(10)))
    });
    assert!(awaits > 5, "{awaits}");
}

#[test]
fn what_was_written_before_a_stream_is_dropped_arrives_and_an_abort_is_a_reset() {
    for abort in [false, true] {
        let mut scene = Scene::new(1, Faults::none());
        let mut listener = scene.listener();
        scene.run(SERVER, async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = Vec::new();
            match stream.read_to_end(&mut heard, 100_000).await {
                Ok(length) => assert_eq!((length, abort), (60_000, false)),
                Err(error) => assert_eq!((error.kind(), abort), (ErrorKind::ConnectionReset, true)),
            }
        });
        let to = scene.address;
        scene.run(CLIENT, async move {
            let mut stream = TcpStream::connect(to).await.unwrap();
            stream.write_all(&[1; 60_000]).await.unwrap();
            match abort {
                true => stream.abort(),
                false => drop(stream),
            }
        });
        scene.finish().unwrap();
    }
}

#[test]
fn a_peer_that_does_not_read_costs_64_kib_and_a_dropped_stream_gives_it_5_s() {
    let mut scene = Scene::new(1, Faults::none());
    let address = scene.address;
    let client = scene.world.connect(address);
    client.pause_reading();
    let mut listener = scene.listener();
    let held = Rc::new(Cell::new(0));
    let most = Rc::clone(&held);
    scene
        .simulation
        .oracle("what a stream holds", move |simulation| {
            for (_, source) in simulation.loops()[SERVER].census() {
                most.set(most.get().max(source.bytes_held));
            }
            Ok(())
        });
    let world = scene.world.clone();
    scene.run(SERVER, async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let endless = async {
            loop {
                stream.write_all(&[1; 10_000]).await.unwrap();
            }
        };
        assert!(within(endless, Duration::from_secs(1)).await.is_none());
        drop(stream);
        sleep(Duration::from_millis(4_990)).await;
        assert_eq!(world.open_sockets("server"), 2);
        sleep(Duration::from_millis(20)).await;
        assert_eq!(world.open_sockets("server"), 1);
    });
    scene.finish().unwrap();
    assert!((60_000..=64 * 1024).contains(&held.get()), "{}", held.get());
}

#[test]
fn a_listener_takes_in_64_and_those_behind_them_when_they_are_asked_for() {
    let mut scene = Scene::new(1, Faults::none());
    let mut listener = scene.listener();
    let address = scene.address;
    let clients: Vec<_> = (0..100).map(|_| scene.world.connect(address)).collect();
    scene.simulation.run_for(Duration::from_secs(1)).unwrap();
    assert_eq!(scene.simulation.open_sockets(SERVER), 1 + 64);
    let census: Vec<_> = scene.simulation.loops()[SERVER].census().collect();
    let full = census
        .iter()
        .find(|(_, source)| source.kind == "listener")
        .unwrap();
    assert_eq!((full.1.state, full.1.paused), ("full", true));
    scene.run(SERVER, async move {
        for _ in 0..100 {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.write_all(b"x").await.unwrap();
        }
    });
    scene.finish().unwrap();
    assert!(clients.iter().all(|client| client.received_len() == 1));
}

mod names {
    use super::*;
    use std::net::IpAddr;
    use tourbillon::net::{Connector, Resolver};

    /// A resolver that counts its lookups, each of which takes a second.
    fn counted(addresses: &[&str]) -> (Resolver, Rc<Cell<usize>>) {
        let count = Rc::new(Cell::new(0));
        let addresses: Vec<IpAddr> = addresses.iter().map(|text| text.parse().unwrap()).collect();
        let counted = Rc::clone(&count);
        let resolver = Resolver::with_lookup(move |host| {
            counted.set(counted.get() + 1);
            let addresses = addresses.clone();
            async move {
                sleep(Duration::from_secs(1)).await;
                match host.as_str() {
                    "nowhere" => Err(io::Error::new(ErrorKind::NotFound, "no such name")),
                    _ => Ok(addresses),
                }
            }
        });
        (resolver, count)
    }

    #[test]
    fn all_who_ask_at_once_wait_for_one_lookup_and_the_answer_is_believed_for_its_time() {
        let (resolver, count) = counted(&["10.0.0.9"]);
        let seen = Rc::clone(&count);
        tourbillon::sim::run(async move {
            let askers: Vec<_> = (0..5)
                .map(|_| {
                    let resolver = resolver.clone();
                    spawn(async move { resolver.resolve("Host").await.unwrap() })
                })
                .collect();
            // The first one gives up; the lookup is not only its own.
            sleep(Duration::from_millis(10)).await;
            askers[0].abort();
            for asker in askers.into_iter().skip(1) {
                assert_eq!(asker.await.unwrap().len(), 1);
            }
            assert_eq!(seen.get(), 1);
            sleep(Duration::from_secs(299)).await;
            resolver.resolve("host").await.unwrap();
            assert_eq!(
                seen.get(),
                1,
                "names do not differ by case, and 300 s are not over"
            );
            sleep(Duration::from_secs(2)).await;
            resolver.resolve("host").await.unwrap();
            assert_eq!(seen.get(), 2);
        });
        assert_eq!(count.get(), 2);
    }

    #[test]
    fn a_failed_lookup_is_told_to_all_and_not_remembered() {
        let (resolver, count) = counted(&[]);
        tourbillon::sim::run(async move {
            let other = resolver.clone();
            let other = spawn(async move { other.resolve("nowhere").await });
            let error = resolver.resolve("nowhere").await.unwrap_err();
            assert_eq!(error.to_string(), "no such name");
            assert_eq!(
                other.await.unwrap().unwrap_err().kind(),
                ErrorKind::NotFound
            );
            assert_eq!((count.get(), resolver.names()), (1, 0));
            // A name without addresses is a failure, too.
            let error = resolver.resolve("empty").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::NotFound);
            assert_eq!((count.get(), resolver.names()), (2, 0));
        });
    }

    #[test]
    fn no_more_names_are_remembered_than_allowed_and_overrides_ask_nobody() {
        let (resolver, count) = counted(&["10.0.0.9"]);
        tourbillon::sim::run(async move {
            resolver.set_names_max(3);
            for number in 0..10 {
                resolver.resolve(&format!("host{number}")).await.unwrap();
                assert!(resolver.names() <= 3);
            }
            assert_eq!(count.get(), 10);
            resolver.resolve("host9").await.unwrap();
            assert_eq!(count.get(), 10, "the last ones are those that stay");
            resolver.forget("host9");
            resolver.set_override("fixed", ["10.0.0.1".parse().unwrap()]);
            assert_eq!(resolver.resolve("FIXED").await.unwrap().len(), 1);
            assert_eq!(resolver.resolve("::1").await.unwrap().len(), 1);
            assert_eq!(count.get(), 10);
            resolver.resolve("host9").await.unwrap();
            assert_eq!(count.get(), 11);
        });
    }

    /// Connect to a name with `addresses`; who won, and after how long.
    fn race(addresses: &'static [&'static str]) -> (io::Result<SocketAddr>, Duration) {
        let mut scene = Scene::new(1, Faults::none());
        // At 10.0.0.3 somebody listens who never accepts, and whose queue is full: who knocks there hears nothing.
        let mut mute = scene.world.driver("mute");
        let narrow = Faults {
            backlog_max: 1..=1,
            ..Faults::none()
        };
        scene.world.set_faults(narrow);
        mute.listen("10.0.0.3:7".parse().unwrap()).unwrap();
        scene.world.set_faults(Faults::none());
        let _waits = scene
            .world
            .connect("10.0.0.3:7".parse::<SocketAddr>().unwrap());
        scene.world.settle();
        let mut listener = scene.listener();
        scene.run(SERVER, async move {
            // Whoever loses is closed, and not served.
            while let Some(Ok((mut stream, _))) =
                within(listener.accept(), Duration::from_secs(300)).await
            {
                let mut rest = Vec::new();
                stream.read_to_end(&mut rest, 10).await.unwrap();
            }
        });
        let outcome = Rc::new(RefCell::new(None));
        let (theirs, world) = (Rc::clone(&outcome), scene.world.clone());
        scene.run(CLIENT, async move {
            let (resolver, _) = counted(addresses);
            let began = world.elapsed();
            let connector = Connector::new().resolver(resolver);
            let connected = connector.connect("server.example:7").await;
            let took = world.elapsed() - began - Duration::from_secs(1);
            theirs.replace(Some((connected.map(|stream| stream.peer_addr()), took)));
        });
        scene.finish().unwrap();
        outcome.take().unwrap()
    }

    #[test]
    fn the_next_address_is_tried_at_once_when_one_refuses_and_after_250_ms_when_one_is_silent() {
        let winner = Ok("10.0.0.1:7".parse().unwrap());
        let (won, took) = race(&["10.0.0.1"]);
        assert_eq!(won.map_err(drop), winner);
        assert!(took < Duration::from_millis(5), "{took:?}");
        // Nobody listens at the client's own address.
        let (won, took) = race(&["10.0.0.2", "10.0.0.1"]);
        assert_eq!(won.map_err(drop), winner);
        assert!(took < Duration::from_millis(5), "{took:?}");
        let (won, took) = race(&["10.0.0.3", "10.0.0.1"]);
        assert_eq!(won.map_err(drop), winner);
        let (least, most) = (Duration::from_millis(250), Duration::from_millis(260));
        assert!(least <= took && took < most, "{took:?}");
        let (won, took) = race(&["10.0.0.2", "10.0.0.2"]);
        assert_eq!(won.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        assert!(took < Duration::from_millis(5), "{took:?}");
    }
}
