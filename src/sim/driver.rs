//! The simulated driver: the same door as the real one, with a world behind it.

use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::network::Shared;
#[cfg(unix)]
use crate::event_loop::Watch;
use crate::event_loop::{
    BlockingJob, Clock, Driver, Event, Executor, Notify, Signal, Socket, Token,
};

/// Where every world's wall clock starts: 2026-01-01 00:00:00 UTC. A fixed day, so that runs repeat.
const WALL_CLOCK_START: Duration = Duration::from_secs(1_767_225_600);

/// One loop's door into a [`World`](super::World). Never blocks: a poll returns what is there, and time passes only
/// when the world lets it.
pub(super) struct SimDriver {
    network: Shared,
    process: usize,
}

impl SimDriver {
    pub(super) fn new(network: Shared, host: &str) -> Self {
        let process = {
            let mut network = network.borrow_mut();
            let address = network.address(host);
            network.add_process(address)
        };
        Self { network, process }
    }
}

struct SimClock {
    network: Shared,
}

impl Clock for SimClock {
    fn now(&self) -> Instant {
        self.network.borrow().now()
    }

    fn wall_clock(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + WALL_CLOCK_START + self.network.borrow().elapsed()
    }
}

impl Driver for SimDriver {
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(SimClock {
            network: Rc::clone(&self.network),
        })
    }

    fn entropy(&mut self) -> u64 {
        self.network.borrow_mut().entropy(self.process)
    }

    fn poll(&mut self, events: &mut Vec<Event>, _timeout: Option<Duration>) -> io::Result<()> {
        self.network.borrow_mut().poll(self.process, events);
        Ok(())
    }

    fn notifier(&self) -> Arc<dyn Notify> {
        Arc::new(SimNotifier(self.network.borrow().notified(self.process)))
    }

    fn executor(&self) -> Rc<dyn Executor> {
        Rc::new(SimExecutor {
            network: Rc::clone(&self.network),
            process: self.process,
        })
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<Socket> {
        self.network.borrow_mut().listen(self.process, address)
    }

    fn accept(&mut self, listener: Socket) -> io::Result<(Socket, SocketAddr)> {
        self.network.borrow_mut().accept(self.process, listener)
    }

    fn turn_away(&mut self, listener: Socket, limit: usize) -> usize {
        self.network
            .borrow_mut()
            .turn_away(self.process, listener, limit)
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        self.network
            .borrow_mut()
            .connect(self.process, None, address)
    }

    fn connect_from(&mut self, local: SocketAddr, address: SocketAddr) -> io::Result<Socket> {
        self.network
            .borrow_mut()
            .connect(self.process, Some(local), address)
    }

    fn register(&mut self, socket: Socket, token: Token) -> io::Result<()> {
        self.network
            .borrow_mut()
            .register(self.process, socket, token)
    }

    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        self.network.borrow_mut().read(self.process, socket, buffer)
    }

    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(socket, &[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, socket: Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        self.network
            .borrow_mut()
            .write(self.process, socket, slices)
    }

    fn shutdown_write(&mut self, socket: Socket) -> io::Result<()> {
        self.network
            .borrow_mut()
            .shutdown_write(self.process, socket)
    }

    fn take_error(&mut self, socket: Socket) -> io::Result<Option<io::Error>> {
        self.network.borrow_mut().take_error(self.process, socket)
    }

    fn local_addr(&self, socket: Socket) -> io::Result<SocketAddr> {
        self.network.borrow().local_addr(self.process, socket)
    }

    fn close(&mut self, socket: Socket) {
        self.network.borrow_mut().close(self.process, socket);
    }

    fn reset(&mut self, socket: Socket) {
        self.network
            .borrow_mut()
            .close_with_reset(self.process, socket);
    }

    fn open_sockets(&self) -> usize {
        self.network.borrow().open_sockets(self.process)
    }

    fn descriptor_limit(&self) -> Option<usize> {
        self.network.borrow().descriptor_limit(self.process)
    }

    #[cfg(unix)]
    fn watch_descriptor(
        &mut self,
        _fd: std::os::fd::RawFd,
        _watch: Watch,
        _token: Token,
    ) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, _fd: std::os::fd::RawFd) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn watch_signal(&mut self, signal: Signal, token: Token) -> io::Result<()> {
        self.network
            .borrow_mut()
            .watch_signal(self.process, signal, token);
        Ok(())
    }

    fn take_signal(&mut self, signal: Signal) -> bool {
        self.network.borrow_mut().take_signal(self.process, signal)
    }
}

impl Drop for SimDriver {
    fn drop(&mut self) {
        // Already borrowed only while the network itself panics; a second panic would hide the first.
        if let Ok(mut network) = self.network.try_borrow_mut() {
            network.close_process(self.process);
        }
    }
}

/// The runner looks at the flag: a loop that was notified has work.
struct SimNotifier(Arc<AtomicBool>);

impl Notify for SimNotifier {
    fn notify(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Puts jobs on the world's schedule. They run between two turns, on the world's own thread, so that there is one
/// order.
struct SimExecutor {
    network: Shared,
    process: usize,
}

impl Executor for SimExecutor {
    fn submit(&self, job: BlockingJob) -> io::Result<()> {
        self.network.borrow_mut().submit(self.process, job)
    }

    fn queued(&self) -> usize {
        self.network.borrow().jobs_queued(self.process)
    }
}
