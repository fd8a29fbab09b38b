//! A driver for a thread that has one connection: it waits inside recv(2), as a server with a thread for each
//! connection does, so that a request costs two system calls, one to read it and one to answer it.
//!
//! Such a wait ends when the peer says something, or when its time is up, and for nothing else. So it is right only
//! while nobody else can have something to say:
//!
//! ```text
//!   no socket at all                                      wait for the bell (a condition variable)
//!   one connection, and only its input can bring work     wait in recv(2), for SO_RCVTIMEO at most
//!   anything else                                         hand all sockets to a `MioDriver`, and wait there
//! ```
//!
//! "Anything else" is: another thread could call (somebody holds a [`super::Remote`]: a future's waker, a job on the
//! executor), the peer does not take its answers, it has ended its half, or there is a second socket, a signal, a
//! foreign descriptor. A connection that was handed over stays there for the rest of its life; the next one begins
//! anew. The poller is made when it is first needed.

#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::os::unix::net::UnixStream;
#[cfg(unix)]
use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use slab::Slab;

use super::driver::{
    Clock, Driver, Event, Executor, Group, Notify, Readiness, Signal, Socket, Token, Watch,
};
use super::executor::ThreadPool;
use super::mio_driver::{self, MioDriver};

/// What one recv(2) takes: a usual request or a pipeline of small ones, and the only buffer that an idle connection
/// keeps. Untouched pages of it cost nothing.
const INPUT_BYTES: usize = 16 * 1024;
/// How long send(2) may wait for a peer before the connection goes on at the poller, where its write deadline runs.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);
/// A shorter wait is set as it is, a longer one with some room, see [`Blocking::limit_wait`].
const EXACT_BELOW: Duration = Duration::from_millis(200);
/// The driver, its loop, and the waker that the loop keeps for the next task hold the bell themselves. Whoever else
/// does can ring it.
const OWN_HOLDERS: usize = 3;

/// A driver that blocks in the socket of its one connection. See the head of its file.
///
/// Timers are never early on it, and late by less than 10 ms more than on [`MioDriver`] while it waits in recv(2): the
/// kernel counts `SO_RCVTIMEO` in its own ticks (socket(7)).
pub struct BlockingDriver {
    bell: Arc<Bell>,
    sockets: Slab<Entry>,
    poller: Option<MioDriver>,
    /// Signals and foreign descriptors, which are the poller's.
    watched: usize,
    executor: ThreadPool,
}

enum Entry {
    Blocking(Blocking),
    Polled(Polled),
}

/// A connection as it begins: its socket blocks.
struct Blocking {
    /// Shared with the bell, so that an [`Interrupter`] can end the wait.
    stream: Arc<TcpStream>,
    token: Option<Token>,
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// What came instead of more input.
    over: Option<io::Result<()>>,
    /// `SO_RCVTIMEO`.
    wait_max: Option<Duration>,
    /// The last wait ended because its time was up.
    timed_out: bool,
    /// Only a poller can tell what it waits for now.
    needs_poller: bool,
}

/// A socket that is the poller's.
struct Polled {
    socket: Socket,
    /// What was received before it was.
    left: Vec<u8>,
    /// Our own hand has ended its input, and not the peer, see [`Interrupter::interrupt`].
    is_cut: bool,
}

impl BlockingDriver {
    /// A driver whose jobs run on `executor`, and which can be interrupted by `interrupter`, its own and no other's.
    pub fn new(executor: ThreadPool, interrupter: &Interrupter) -> Self {
        Self {
            bell: Arc::new(Bell(Arc::clone(&interrupter.0))),
            sockets: Slab::new(),
            poller: None,
            watched: 0,
            executor,
        }
    }

    /// Whether another thread could have something to say.
    fn may_be_called(&self) -> bool {
        let others = Arc::strong_count(&self.bell) > OWN_HOLDERS;
        // Whoever has just let go of the bell may have rung it before: that is seen after this.
        fence(Ordering::Acquire);
        others
    }

    /// The connection, if its input is all that can bring work.
    fn only_connection(&mut self) -> Option<&mut Blocking> {
        if self.sockets.len() != 1 || self.watched > 0 || self.may_be_called() {
            return None;
        }
        match self.sockets.iter_mut().next() {
            Some((_, Entry::Blocking(connection))) if connection.waits_for_input() => {
                Some(connection)
            }
            _ => None,
        }
    }

    /// The poller, with every socket in it.
    fn poller(&mut self) -> io::Result<&mut MioDriver> {
        let poller = match &mut self.poller {
            Some(poller) => poller,
            none => none.insert(MioDriver::new()?),
        };
        let place = &self.bell.0;
        if place.is_at_poller() {
            return Ok(poller);
        }
        place.move_to(Waiting::AtPoller(poller.notifier()));
        let is_cut = place.is_cut.load(Ordering::Acquire);
        for key in self.sockets.iter().map(|(key, _)| key).collect::<Vec<_>>() {
            let entry = match self.sockets.remove(key) {
                Entry::Blocking(connection) => Entry::Polled(connection.hand_to(poller, is_cut)?),
                polled => polled,
            };
            // The place that was freed last is the first to be used again.
            let same = self.sockets.insert(entry);
            debug_assert_eq!(same, key, "a socket keeps its name");
        }
        Ok(poller)
    }

    fn add_polled(&mut self, socket: Socket) -> Socket {
        let polled = Polled {
            socket,
            left: Vec::new(),
            is_cut: false,
        };
        Socket(self.sockets.insert(Entry::Polled(polled)) as u32)
    }

    fn entry(&mut self, socket: Socket) -> io::Result<&mut Entry> {
        self.sockets
            .get_mut(socket.0 as usize)
            .ok_or_else(mio_driver::not_ours)
    }

    /// The poller and its name for `socket`, which is in it.
    fn polled(&mut self, socket: Socket) -> io::Result<(&mut MioDriver, Socket)> {
        match (&mut self.poller, self.sockets.get(socket.0 as usize)) {
            (Some(poller), Some(Entry::Polled(polled))) => Ok((poller, polled.socket)),
            _ => Err(mio_driver::not_ours()),
        }
    }
}

impl Blocking {
    fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(SEND_TIMEOUT))?;
        Ok(Self {
            stream: Arc::new(stream),
            token: None,
            input: vec![0; INPUT_BYTES].into(),
            start: 0,
            end: 0,
            over: None,
            wait_max: None,
            timed_out: false,
            needs_poller: false,
        })
    }

    /// Whether its source has taken all there was and can be told of more.
    fn waits_for_input(&self) -> bool {
        self.token.is_some() && self.start == self.end && self.over.is_none() && !self.needs_poller
    }

    /// Wait for input, for `timeout` at most. What the source is to be told, if anything.
    fn receive(&mut self, place: &Place, timeout: Option<Duration>) -> io::Result<Readiness> {
        let received = if timeout == Some(Duration::ZERO) {
            // There is other work, so this must not wait; but a loop that always has some must read all the same.
            self.stream.set_nonblocking(true)?;
            let received = (&*self.stream).read(&mut self.input);
            self.stream.set_nonblocking(false)?;
            received
        } else {
            self.limit_wait(timeout)?;
            let Some(_receiving) = place.begin_receiving() else {
                return Ok(Readiness::NONE);
            };
            (&*self.stream).read(&mut self.input)
        };
        self.timed_out = false;
        match received {
            Ok(0) if place.is_cut.load(Ordering::Acquire) => {
                self.needs_poller = true;
                Ok(Readiness::NONE)
            }
            Ok(0) => {
                self.over = Some(Ok(()));
                Ok(Readiness::READABLE | Readiness::CLOSING)
            }
            Ok(n) => {
                (self.start, self.end) = (0, n);
                Ok(Readiness::READABLE)
            }
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    self.timed_out = true;
                    Ok(Readiness::NONE)
                }
                ErrorKind::Interrupted => Ok(Readiness::NONE),
                _ => {
                    self.over = Some(Err(error));
                    Ok(Readiness::READABLE | Readiness::CLOSING)
                }
            },
        }
    }

    /// Have the next wait end in time. One that ends too early costs a turn in which nothing happens, and setting the
    /// time is a system call. The time left until a keep-alive deadline shrinks with each request; so what is set is
    /// three quarters of it, and stays until it is too much or far too little. Only a peer that was silent for so long
    /// has the exact rest set.
    fn limit_wait(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let is_good = match (self.wait_max, timeout) {
            (None, None) => true,
            (Some(set), Some(timeout)) => set <= timeout && set >= timeout / 4 && !self.timed_out,
            _ => false,
        };
        if is_good {
            return Ok(());
        }
        let wait_max = timeout.map(|timeout| {
            if self.timed_out || timeout < EXACT_BELOW {
                // std refuses zero, and the kernel takes it for forever.
                timeout.max(Duration::from_millis(1))
            } else {
                timeout / 4 * 3
            }
        });
        self.stream.set_read_timeout(wait_max)?;
        self.wait_max = wait_max;
        Ok(())
    }

    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = (self.end - self.start).min(buffer.len());
        if n > 0 {
            buffer[..n].copy_from_slice(&self.input[self.start..self.start + n]);
            self.start += n;
            return Ok(n);
        }
        match &mut self.over {
            None => Err(ErrorKind::WouldBlock.into()),
            Some(Ok(())) => Ok(0),
            Some(over) => mem::replace(over, Ok(())).map(|()| 0),
        }
    }

    /// Do `write`, which may wait for [`SEND_TIMEOUT`].
    fn send(
        &mut self,
        write: impl FnMut(&mut &TcpStream) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut stream = &*self.stream;
        let mut write = write;
        match mio_driver::uninterrupted(|| write(&mut stream)) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                self.needs_poller = true;
                Err(ErrorKind::WouldBlock.into())
            }
            sent => sent,
        }
    }

    /// Go over to the poller, with what was received and not read.
    fn hand_to(self, poller: &mut MioDriver, is_cut: bool) -> io::Result<Polled> {
        // The bell has let go of it, so this is its only holder.
        let stream = Arc::try_unwrap(self.stream).or_else(|shared| shared.try_clone())?;
        let socket = poller.adopt(stream)?;
        if let Some(token) = self.token {
            poller.register(socket, token)?;
        }
        Ok(Polled {
            socket,
            left: self.input[self.start..self.end].to_vec(),
            is_cut,
        })
    }
}

impl Polled {
    fn read(&mut self, poller: &mut MioDriver, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.left.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.left[..n]);
        self.left.drain(..n);
        if n > 0 && n == buffer.len() {
            return Ok(n);
        }
        // Both in one call: a read that leaves room says that nothing is left.
        match poller.read(self.socket, &mut buffer[n..]) {
            Ok(0) if self.is_cut && n == 0 => Err(ErrorKind::WouldBlock.into()),
            Ok(more) => Ok(n + more),
            Err(_) if n > 0 => Ok(n),
            Err(error) => Err(error),
        }
    }
}

impl Driver for BlockingDriver {
    fn clock(&self) -> Rc<dyn Clock> {
        Rc::new(mio_driver::MachineClock)
    }

    fn entropy(&mut self) -> u64 {
        mio_driver::entropy()
    }

    fn poll(&mut self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        if self.sockets.is_empty() && self.watched == 0 {
            self.bell.0.wait(timeout);
            return Ok(());
        }
        let bell = Arc::clone(&self.bell.0);
        if let Some(connection) = self.only_connection() {
            let readiness = connection.receive(&bell, timeout)?;
            if let Some(token) = connection.token
                && readiness != Readiness::NONE
            {
                events.push(Event { token, readiness });
            }
            return Ok(());
        }
        let poller = self.poller()?;
        let is_rung = bell.is_rung.swap(false, Ordering::SeqCst);
        poller.poll(
            events,
            if is_rung {
                Some(Duration::ZERO)
            } else {
                timeout
            },
        )
    }

    fn notifier(&self) -> Arc<dyn Notify> {
        Arc::clone(&self.bell) as Arc<dyn Notify>
    }

    fn executor(&self) -> Rc<dyn Executor> {
        Rc::new(self.executor.clone())
    }

    fn listen(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.poller()?.listen(address)?;
        Ok(self.add_polled(socket))
    }

    fn adopt_listener(&mut self, listener: TcpListener) -> io::Result<Socket> {
        let socket = self.poller()?.adopt_listener(listener)?;
        Ok(self.add_polled(socket))
    }

    fn accept(&mut self, listener: Socket) -> io::Result<(Socket, SocketAddr)> {
        let (poller, listener) = self.polled(listener)?;
        let (socket, peer) = poller.accept(listener)?;
        Ok((self.add_polled(socket), peer))
    }

    fn adopt(&mut self, stream: TcpStream) -> io::Result<Socket> {
        let connection = Blocking::new(stream)?;
        self.bell
            .0
            .move_to(Waiting::InSocket(Arc::clone(&connection.stream)));
        Ok(Socket(
            self.sockets.insert(Entry::Blocking(connection)) as u32
        ))
    }

    fn turn_away(&mut self, listener: Socket, limit: usize) -> usize {
        match self.polled(listener) {
            Ok((poller, listener)) => poller.turn_away(listener, limit),
            Err(_) => 0,
        }
    }

    fn connect(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.poller()?.connect(address)?;
        Ok(self.add_polled(socket))
    }

    fn connect_from(&mut self, local: SocketAddr, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.poller()?.connect_from(local, address)?;
        Ok(self.add_polled(socket))
    }

    #[cfg(unix)]
    fn listen_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let socket = self.poller()?.listen_unix(path)?;
        Ok(self.add_polled(socket))
    }

    #[cfg(unix)]
    fn connect_unix(&mut self, path: &Path) -> io::Result<Socket> {
        let socket = self.poller()?.connect_unix(path)?;
        Ok(self.add_polled(socket))
    }

    #[cfg(unix)]
    fn adopt_unix(&mut self, stream: UnixStream) -> io::Result<Socket> {
        let socket = self.poller()?.adopt_unix(stream)?;
        Ok(self.add_polled(socket))
    }

    #[cfg(unix)]
    fn adopt_pipe(&mut self, pipe: OwnedFd, watch: Watch) -> io::Result<Socket> {
        let socket = self.poller()?.adopt_pipe(pipe, watch)?;
        Ok(self.add_polled(socket))
    }

    fn bind_udp(&mut self, address: SocketAddr) -> io::Result<Socket> {
        let socket = self.poller()?.bind_udp(address)?;
        Ok(self.add_polled(socket))
    }

    fn connect_udp(&mut self, socket: Socket, peer: SocketAddr) -> io::Result<()> {
        let (poller, socket) = self.polled(socket)?;
        poller.connect_udp(socket, peer)
    }

    fn send_to(
        &mut self,
        socket: Socket,
        bytes: &[u8],
        peer: Option<SocketAddr>,
    ) -> io::Result<usize> {
        let (poller, socket) = self.polled(socket)?;
        poller.send_to(socket, bytes, peer)
    }

    fn recv_from(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let (poller, socket) = self.polled(socket)?;
        poller.recv_from(socket, buffer)
    }

    fn join_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        let (poller, socket) = self.polled(socket)?;
        poller.join_group(socket, group)
    }

    fn leave_group(&mut self, socket: Socket, group: Group) -> io::Result<()> {
        let (poller, socket) = self.polled(socket)?;
        poller.leave_group(socket, group)
    }

    fn register(&mut self, socket: Socket, token: Token) -> io::Result<()> {
        if let Entry::Blocking(connection) = self.entry(socket)? {
            connection.token = Some(token);
            return Ok(());
        }
        let (poller, socket) = self.polled(socket)?;
        poller.register(socket, token)
    }

    fn read(&mut self, socket: Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match (self.sockets.get_mut(socket.0 as usize), &mut self.poller) {
            (Some(Entry::Blocking(connection)), _) => connection.read(buffer),
            (Some(Entry::Polled(polled)), Some(poller)) => polled.read(poller, buffer),
            _ => Err(mio_driver::not_ours()),
        }
    }

    fn write(&mut self, socket: Socket, bytes: &[u8]) -> io::Result<usize> {
        if let Entry::Blocking(connection) = self.entry(socket)? {
            return connection.send(|stream| stream.write(bytes));
        }
        let (poller, socket) = self.polled(socket)?;
        poller.write(socket, bytes)
    }

    fn write_vectored(&mut self, socket: Socket, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Entry::Blocking(connection) = self.entry(socket)? {
            return connection.send(|stream| stream.write_vectored(slices));
        }
        let (poller, socket) = self.polled(socket)?;
        poller.write_vectored(socket, slices)
    }

    fn shutdown_write(&mut self, socket: Socket) -> io::Result<()> {
        match self.entry(socket)? {
            Entry::Blocking(connection) => return connection.stream.shutdown(Shutdown::Write),
            // All is said: from here on the end of the input is the end, whoever made it. The peer's cannot be seen,
            // and to wait for it would be to wait for a deadline.
            Entry::Polled(polled) => polled.is_cut = false,
        }
        let (poller, socket) = self.polled(socket)?;
        poller.shutdown_write(socket)
    }

    fn take_error(&mut self, socket: Socket) -> io::Result<Option<io::Error>> {
        if let Entry::Blocking(connection) = self.entry(socket)? {
            return connection.stream.take_error();
        }
        let (poller, socket) = self.polled(socket)?;
        poller.take_error(socket)
    }

    fn local_addr(&self, socket: Socket) -> io::Result<SocketAddr> {
        match (self.sockets.get(socket.0 as usize), &self.poller) {
            (Some(Entry::Blocking(connection)), _) => connection.stream.local_addr(),
            (Some(Entry::Polled(polled)), Some(poller)) => poller.local_addr(polled.socket),
            _ => Err(mio_driver::not_ours()),
        }
    }

    fn close(&mut self, socket: Socket) {
        match self.sockets.try_remove(socket.0 as usize) {
            Some(Entry::Blocking(_)) => self.bell.0.move_to(Waiting::ForTheBell),
            Some(Entry::Polled(polled)) => {
                if let Some(poller) = &mut self.poller {
                    poller.close(polled.socket);
                }
                if self.sockets.is_empty() && self.watched == 0 {
                    self.bell.0.move_to(Waiting::ForTheBell);
                }
            }
            None => {}
        }
    }

    fn reset(&mut self, socket: Socket) {
        if let Ok((poller, polled)) = self.polled(socket) {
            poller.reset(polled);
        }
        self.close(socket);
    }

    fn open_sockets(&self) -> usize {
        self.sockets.len()
    }

    fn descriptor_limit(&self) -> Option<usize> {
        mio_driver::descriptor_limit()
    }

    #[cfg(unix)]
    fn watch_descriptor(
        &mut self,
        fd: std::os::fd::RawFd,
        watch: Watch,
        token: Token,
    ) -> io::Result<()> {
        self.poller()?.watch_descriptor(fd, watch, token)?;
        self.watched += 1;
        Ok(())
    }

    #[cfg(unix)]
    fn unwatch_descriptor(&mut self, fd: std::os::fd::RawFd) -> io::Result<()> {
        self.poller()?.unwatch_descriptor(fd)?;
        self.watched -= 1;
        Ok(())
    }

    /// There is none: who wants a loop inside another one has no thread for it to block.
    #[cfg(unix)]
    fn pollable_descriptor(&self) -> Option<std::os::fd::RawFd> {
        None
    }

    fn watch_signal(&mut self, signal: Signal, token: Token) -> io::Result<()> {
        self.poller()?.watch_signal(signal, token)?;
        self.watched += 1;
        Ok(())
    }

    fn take_signal(&mut self, signal: Signal) -> bool {
        let poller = self.poller.as_mut();
        poller.is_some_and(|poller| poller.take_signal(signal))
    }

    fn watch_children(&mut self, token: Token) -> io::Result<()> {
        self.poller()?.watch_children(token)?;
        self.watched += 1;
        Ok(())
    }

    fn unwatch_children(&mut self, token: Token) {
        if let Some(poller) = &mut self.poller {
            poller.unwatch_children(token);
            self.watched -= 1;
        }
    }
}

/// What every [`super::Remote`] of the loop holds: its holders are those who can call.
struct Bell(Arc<Place>);

impl Notify for Bell {
    fn notify(&self) {
        self.0.ring();
    }
}

/// Where the thread waits, for those who end its wait.
#[derive(Default)]
struct Place {
    is_rung: AtomicBool,
    /// The thread is in recv(2), or just before it.
    is_receiving: AtomicBool,
    /// The connection's input was ended by us.
    is_cut: AtomicBool,
    waiting: Mutex<Waiting>,
    rung: Condvar,
}

#[derive(Default)]
enum Waiting {
    #[default]
    ForTheBell,
    InSocket(Arc<TcpStream>),
    AtPoller(Arc<dyn Notify>),
}

impl Place {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it is held.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn move_to(&self, waiting: Waiting) {
        let mut place = self.waiting();
        if let Waiting::InSocket(_) = waiting {
            self.is_cut.store(false, Ordering::Release);
        }
        *place = waiting;
    }

    fn is_at_poller(&self) -> bool {
        matches!(*self.waiting(), Waiting::AtPoller(_))
    }

    fn ring(&self) {
        self.is_rung.store(true, Ordering::SeqCst);
        match &*self.waiting() {
            Waiting::ForTheBell => self.rung.notify_all(),
            Waiting::AtPoller(notifier) => notifier.notify(),
            // Nobody who holds the bell is there while it waits in a socket: it has seen the ring, or will.
            Waiting::InSocket(_) => {}
        }
    }

    /// Wait for the bell.
    fn wait(&self, timeout: Option<Duration>) {
        let place = self.waiting();
        let is_silent = |_: &mut Waiting| !self.is_rung.swap(false, Ordering::SeqCst);
        match timeout {
            None => drop(self.rung.wait_while(place, is_silent)),
            Some(timeout) => drop(self.rung.wait_timeout_while(place, timeout, is_silent)),
        }
    }

    /// From here on an interruption ends the input. `None` when there was one just now.
    fn begin_receiving(&self) -> Option<Receiving<'_>> {
        self.is_receiving.store(true, Ordering::SeqCst);
        let receiving = Receiving(self);
        let is_rung = self.is_rung.swap(false, Ordering::SeqCst);
        (!is_rung).then_some(receiving)
    }
}

struct Receiving<'p>(&'p Place);

impl Drop for Receiving<'_> {
    fn drop(&mut self) {
        self.0.is_receiving.store(false, Ordering::SeqCst);
    }
}

/// Ends the wait of a [`BlockingDriver`] from another thread, also one inside recv(2).
///
/// That cannot be woken but by ending its input. So [`Interrupter::interrupt`] is for the end of an engine. What the
/// peer sends after that is still read on Linux, where ending the input of a connection keeps nothing from coming in;
/// but the peer's own end cannot be seen any more, and only a deadline tells that it has gone.
#[derive(Clone, Default)]
pub struct Interrupter(Arc<Place>);

impl Interrupter {
    /// Have the current or the next [`Driver::poll`] return, if the driver has no connection.
    pub fn wake(&self) {
        self.0.ring();
    }

    /// Have the current or the next [`Driver::poll`] return.
    pub fn interrupt(&self) {
        self.0.ring();
        // The driver says that it is receiving before it looks at the ring: one of the two sees the other.
        if self.0.is_receiving.load(Ordering::SeqCst)
            && let Waiting::InSocket(stream) = &*self.0.waiting()
        {
            self.0.is_cut.store(true, Ordering::Release);
            // It fails for a peer that has gone, and then the wait has ended.
            let _ = stream.shutdown(Shutdown::Read);
        }
    }

    /// End the connection, if its thread waits in it: also for a peer that takes no answer.
    pub fn cut(&self) {
        if let Waiting::InSocket(stream) = &*self.0.waiting() {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

impl std::fmt::Debug for Interrupter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interrupter").finish_non_exhaustive()
    }
}
