//! Both ends in memory: certificates that are fine and that are not, connections cut at every byte, slow ones, and tasks
//! that share one stream. And programs that others wrote, over sockets.

mod certificates;
mod handshake;
mod peers;
mod transfer;

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};

use super::*;
use crate::net::StreamExt;

static AUTHORITIES: AtomicUsize = AtomicUsize::new(0);

/// Who signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Signed {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        // A root is looked up by its name.
        let number = AUTHORITIES.fetch_add(1, Ordering::Relaxed);
        let name = format!("authority {number}");
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn sign(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Signed {
            chain: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// For `server.test` and 127.0.0.1.
    fn server(&self) -> Signed {
        self.sign(&["server.test", "127.0.0.1"], |_| {})
    }

    fn client(&self) -> Signed {
        self.sign(&["client.test"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        })
    }

    fn acceptor(&self) -> TlsAcceptorBuilder {
        self.server().acceptor()
    }

    /// Trusts this authority alone.
    fn connector(&self) -> TlsConnectorBuilder {
        let builder = TlsConnector::builder().without_roots();
        builder.add_roots(self.pem().as_bytes()).unwrap()
    }
}

impl Signed {
    fn acceptor(&self) -> TlsAcceptorBuilder {
        TlsAcceptor::builder(self.chain.as_bytes(), self.key.as_bytes()).unwrap()
    }
}

/// A client and a server that trust each other as most do.
fn ordinary() -> (TlsConnector, TlsAcceptor) {
    let authority = Authority::new();
    let connector = authority.connector().build().unwrap();
    (connector, authority.acceptor().build().unwrap())
}

/// One end of a connection in memory, as strict as a socket: it knows one waker a direction, and takes what it has room
/// for.
struct Pipe {
    incoming: Rc<RefCell<Wire>>,
    outgoing: Rc<RefCell<Wire>>,
}

/// One direction.
struct Wire {
    bytes: VecDeque<u8>,
    line: Line,
    /// How many bytes may still go in before the connection is cut.
    left: usize,
    is_shut: bool,
    /// Whether the next reading and writing will be asked to come again.
    pauses: [bool; 2],
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// What a direction is like.
#[derive(Clone, Copy)]
struct Line {
    /// Bytes on their way.
    room: usize,
    /// Bytes of one operation.
    piece: usize,
    /// Every other operation finds nothing to do.
    pauses: bool,
}

const FAST: Line = Line {
    room: 64 * 1024,
    piece: usize::MAX,
    pauses: false,
};

fn pipe(line: Line) -> (Pipe, Pipe) {
    pipe_cut(line, usize::MAX)
}

/// The first end is the client's. What the server sends is cut behind `server_bytes`.
fn pipe_cut(line: Line, server_bytes: usize) -> (Pipe, Pipe) {
    let wire = |left| {
        Rc::new(RefCell::new(Wire {
            bytes: VecDeque::new(),
            line,
            left,
            is_shut: false,
            pauses: [line.pauses; 2],
            reader: None,
            writer: None,
        }))
    };
    let (from_server, from_client) = (wire(server_bytes), wire(usize::MAX));
    let client = Pipe {
        incoming: Rc::clone(&from_server),
        outgoing: Rc::clone(&from_client),
    };
    let server = Pipe {
        incoming: from_client,
        outgoing: from_server,
    };
    (client, server)
}

impl Wire {
    fn paused(&mut self, side: usize, context: &Context<'_>) -> Poll<()> {
        if !self.line.pauses {
            return Poll::Ready(());
        }
        self.pauses[side] = !self.pauses[side];
        match self.pauses[side] {
            true => Poll::Ready(()),
            false => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn read(&mut self, context: &Context<'_>, buffer: &mut [u8]) -> Poll<usize> {
        ready!(self.paused(0, context));
        if self.bytes.is_empty() && !self.is_shut && self.left > 0 {
            self.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = self.line.piece.min(buffer.len()).min(self.bytes.len());
        for (place, byte) in buffer.iter_mut().zip(self.bytes.drain(..count)) {
            *place = byte;
        }
        self.writer.take().into_iter().for_each(Waker::wake);
        Poll::Ready(count)
    }

    fn write(&mut self, context: &Context<'_>, bytes: &[u8]) -> Poll<usize> {
        ready!(self.paused(1, context));
        let room = self.line.room.saturating_sub(self.bytes.len());
        let count = self.line.piece.min(bytes.len()).min(room);
        if count == 0 {
            self.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        // Behind the cut bytes are lost, and the writer does not hear of it.
        let kept = count.min(self.left);
        self.bytes.extend(&bytes[..kept]);
        self.left -= kept;
        self.reader.take().into_iter().for_each(Waker::wake);
        Poll::Ready(count)
    }

    fn shut(&mut self) {
        self.is_shut = true;
        self.reader.take().into_iter().for_each(Waker::wake);
    }
}

impl Stream for Pipe {
    fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.incoming.borrow_mut().read(context, buffer).map(Ok)
    }

    fn poll_write(&mut self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        if self.outgoing.borrow().is_shut {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        }
        self.outgoing.borrow_mut().write(context, bytes).map(Ok)
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.borrow_mut().shut();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.outgoing.borrow_mut().shut();
        // Nobody reads any more: the other side can write without end.
        let mut incoming = self.incoming.borrow_mut();
        incoming.left = 0;
        incoming.line.room = usize::MAX;
        incoming.writer.take().into_iter().for_each(Waker::wake);
    }
}

type Side<'a> = Pin<Box<dyn Future<Output = ()> + 'a>>;

/// Whether a future was woken since its last poll.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Poll those that were woken, until all have ended. A wake-up that is lost ends in a panic.
#[track_caller]
fn run(sides: Vec<Side<'_>>) {
    let mut sides: Vec<_> = sides
        .into_iter()
        .map(|side| (Some(side), Arc::new(Woken(AtomicBool::new(true)))))
        .collect();
    while sides.iter().any(|(side, _)| side.is_some()) {
        let mut is_stuck = true;
        for (side, woken) in &mut sides {
            if let Some(future) = side
                && woken.0.swap(false, Ordering::Relaxed)
            {
                is_stuck = false;
                let waker = Waker::from(Arc::clone(woken));
                if future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_ready()
                {
                    *side = None;
                }
            }
        }
        assert!(!is_stuck, "all wait and nobody was woken");
    }
}

/// Run a client and a server, and give what they came to.
#[track_caller]
fn both<A, B>(client: impl Future<Output = A>, server: impl Future<Output = B>) -> (A, B) {
    let (mut a, mut b) = (None, None);
    run(vec![
        Box::pin(async { a = Some(client.await) }),
        Box::pin(async { b = Some(server.await) }),
    ]);
    (a.unwrap(), b.unwrap())
}

/// The error about TLS in `result`.
#[track_caller]
fn tls_error<T>(result: io::Result<T>) -> TlsError {
    let error = result.err().expect("it fails");
    TlsError::of(&error)
        .unwrap_or_else(|| panic!("about TLS: {error}"))
        .clone()
}

async fn read_all(stream: &mut impl Stream) -> (Vec<u8>, io::Result<()>) {
    let mut all = Vec::new();
    loop {
        match stream.read_vec(&mut all).await {
            Ok(0) => return (all, Ok(())),
            Ok(_) => {}
            Err(error) => return (all, Err(error)),
        }
    }
}
