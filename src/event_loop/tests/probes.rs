//! What the loop takes for granted about the kernel, asked of the kernel: the same probes as the simulator's, by their
//! numbers there, through the real driver and real sockets.
//!
//! The probe of urgent data (3) needs `MSG_OOB`, which std cannot send without `unsafe`; the simulator's own test has
//! it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use super::*;

const LISTENER: Token = Token::new(0, 0);
const CONNECTION: Token = Token::new(1, 0);
/// Long enough for loopback, short enough for a test: what has not come by then is taken not to come.
const QUIET: Duration = Duration::from_millis(30);

struct Probe {
    driver: MioDriver,
    socket: Socket,
    client: TcpStream,
}

fn seen(driver: &mut MioDriver, token: Token) -> Vec<Readiness> {
    let mut events = Vec::new();
    driver.poll(&mut events, Some(QUIET)).unwrap();
    let of_token = events.iter().filter(|event| event.token == token);
    of_token.map(|event| event.readiness).collect()
}

impl Probe {
    /// `before` happens before the accepted socket is registered.
    fn new(before: impl FnOnce(&mut TcpStream)) -> Self {
        let mut driver = MioDriver::new().unwrap();
        let listener = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        driver.register(listener, LISTENER).unwrap();
        let mut client = TcpStream::connect(driver.local_addr(listener).unwrap()).unwrap();
        assert_eq!(seen(&mut driver, LISTENER), [Readiness::READABLE]);
        let (socket, peer) = driver.accept(listener).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        before(&mut client);
        driver.register(socket, CONNECTION).unwrap();
        Self {
            driver,
            socket,
            client,
        }
    }

    fn seen(&mut self) -> Vec<Readiness> {
        seen(&mut self.driver, CONNECTION)
    }

    fn read(&mut self) -> Result<usize, ErrorKind> {
        let mut buffer = [0; 65_536];
        self.driver
            .read(self.socket, &mut buffer)
            .map_err(|error| error.kind())
    }
}

fn read_write() -> Readiness {
    Readiness::READABLE | Readiness::WRITABLE
}

fn all() -> Readiness {
    read_write() | Readiness::CLOSING
}

#[test]
fn probe_1_data_and_the_end_before_the_poll_are_one_event_that_says_closing() {
    let mut probe = Probe::new(|_| {});
    assert_eq!(probe.seen(), [Readiness::WRITABLE]);
    probe.client.write_all(&[7; 100]).unwrap();
    probe.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(probe.seen(), [all()]);
    assert_eq!(probe.read(), Ok(100));
    assert_eq!(probe.seen(), [], "a short read, and no second event");
    assert_eq!(probe.read(), Ok(0), "so it has to be read on");
}

#[test]
fn probe_2_an_end_behind_the_poll_is_a_second_event() {
    let mut probe = Probe::new(|_| {});
    assert_eq!(probe.seen(), [Readiness::WRITABLE]);
    probe.client.write_all(&[7; 100]).unwrap();
    assert_eq!(probe.seen(), [read_write()]);
    probe.client.shutdown(Shutdown::Write).unwrap();
    std::thread::sleep(QUIET);
    assert_eq!(probe.read(), Ok(100));
    assert_eq!(probe.seen(), [all()]);
    assert_eq!(probe.read(), Ok(0));
}

/// Runs itself again where descriptors are scarce, since the limit is the whole process's.
#[test]
fn probe_6_a_descriptor_that_becomes_free_raises_no_event_for_those_who_wait() {
    const CHILD: &str = "TOURBILLON_PROBE_6";
    if std::env::var_os(CHILD).is_none() {
        let this = std::env::current_exe().unwrap();
        let name = "event_loop::tests::probes::probe_6_a_descriptor_that_becomes_free_raises_no_event_for_those_who_wait";
        let run = Command::new("sh")
            .args([
                "-c",
                "ulimit -n 24 && exec \"$0\" --exact \"$1\" --test-threads 1 --nocapture",
            ])
            .arg(this)
            .arg(name)
            .env(CHILD, "1")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let mut driver = MioDriver::new().unwrap();
    let listener = driver.listen("127.0.0.1:0".parse().unwrap()).unwrap();
    driver.register(listener, LISTENER).unwrap();
    let address = driver.local_addr(listener).unwrap();
    let clients: Vec<_> = (0..4)
        .map(|_| TcpStream::connect(address).unwrap())
        .collect();
    assert_eq!(seen(&mut driver, LISTENER), [Readiness::READABLE]);
    let mut fillers = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        fillers.push(file);
    }
    fillers.pop();
    let (first, _) = driver.accept(listener).unwrap();
    let error = driver.accept(listener).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(24), "EMFILE: {error}");
    driver.close(first);
    assert_eq!(
        seen(&mut driver, LISTENER),
        [],
        "nobody says that it would work now"
    );
    driver.accept(listener).unwrap();
    assert_eq!(
        driver.turn_away(listener, 1),
        1,
        "the reserved descriptor is there for this"
    );
    drop(clients);
}

#[test]
fn probe_8_a_close_with_unread_input_destroys_the_answer_and_a_lingering_one_does_not() {
    let mut probe = Probe::new(|_| {});
    probe.client.write_all(&[7; 100]).unwrap();
    std::thread::sleep(QUIET);
    probe.driver.write(probe.socket, b"answer").unwrap();
    probe.driver.close(probe.socket);
    std::thread::sleep(QUIET);
    let sent = probe.client.write(b"more");
    let read = probe.client.read_to_end(&mut Vec::new());
    let broken = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    let error = sent.err().or(read.err()).expect("the connection was reset");
    assert!(broken.contains(&error.kind()), "{error}");

    let mut probe = Probe::new(|_| {});
    probe.client.write_all(&[7; 100]).unwrap();
    std::thread::sleep(QUIET);
    probe.driver.write(probe.socket, b"answer").unwrap();
    probe.driver.shutdown_write(probe.socket).unwrap();
    assert_eq!(probe.read(), Ok(100));
    probe.client.write_all(b"more").unwrap();
    let mut answer = Vec::new();
    probe.client.read_to_end(&mut answer).unwrap();
    assert_eq!(answer, b"answer");
}

#[test]
fn probe_10_what_was_sent_and_acknowledged_raises_no_event() {
    let mut probe = Probe::new(|_| {});
    assert_eq!(
        probe.seen(),
        [Readiness::WRITABLE],
        "one event for the registration"
    );
    let mut events = Vec::new();
    for _ in 0..1_000 {
        probe.driver.write(probe.socket, &[7; 100]).unwrap();
        probe.client.read_exact(&mut [0; 100]).unwrap();
        probe
            .driver
            .poll(&mut events, Some(Duration::ZERO))
            .unwrap();
    }
    assert_eq!(events, []);

    let mut probe = Probe::new(|client| {
        client.write_all(&[7; 100]).unwrap();
        std::thread::sleep(QUIET);
    });
    assert_eq!(
        probe.seen(),
        [read_write()],
        "what was there before comes with it"
    );
}
