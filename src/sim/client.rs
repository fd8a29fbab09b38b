//! A raw TCP client that a test scripts: it says what bytes to send, the network says how they travel.

use std::net::SocketAddr;

use super::network::Shared;

/// A client of a [`World`](super::World) that runs on no loop. Every call returns at once; what it causes happens as
/// the world goes on. Clones are the same client. A client that is dropped stays connected.
#[derive(Clone)]
pub struct Client {
    network: Shared,
    number: u32,
}

impl Client {
    pub(super) fn connect(network: Shared, from: Option<SocketAddr>, to: SocketAddr) -> Self {
        let number = network.borrow_mut().connect_client(from, to);
        Self { network, number }
    }

    /// Send `bytes`, cut and delayed as the world's faults say. There is no limit to what may wait. Does nothing after
    /// [`Client::shutdown_write`], a close or a reset.
    pub fn send(&self, bytes: impl AsRef<[u8]>) {
        self.network
            .borrow_mut()
            .client_send(self.number, bytes.as_ref(), false);
    }

    /// Send one urgent byte (RFC 9293, 3.8.5) behind what was sent so far. It is not part of the stream: readers stop
    /// at its place once and go on behind it. While one is under way a second takes its place.
    pub fn send_urgent(&self) {
        self.network
            .borrow_mut()
            .client_send(self.number, b"", true);
    }

    /// All that has been received, without what [`Client::take_received`] took.
    pub fn received(&self) -> Vec<u8> {
        self.network
            .borrow_mut()
            .client(self.number)
            .received
            .clone()
    }

    /// Take what has been received.
    pub fn take_received(&self) -> Vec<u8> {
        std::mem::take(&mut self.network.borrow_mut().client(self.number).received)
    }

    /// Look at what has been received in place, for conditions that are asked again and again.
    pub fn with_received<R>(&self, look: impl FnOnce(&[u8]) -> R) -> R {
        let received = self.take_received();
        let answer = look(&received);
        let mut network = self.network.borrow_mut();
        let since = std::mem::replace(&mut network.client(self.number).received, received);
        network.client(self.number).received.extend(since);
        answer
    }

    /// How many bytes [`Client::received`] would give.
    pub fn received_len(&self) -> usize {
        self.network.borrow_mut().client(self.number).received.len()
    }

    /// Say that nothing more will be sent (FIN), and go on receiving.
    pub fn shutdown_write(&self) {
        self.network.borrow_mut().client_shutdown(self.number);
    }

    /// Close: what was sent still arrives, and then the end. If anything was not read ([`Client::pause_reading`]), or
    /// arrives later, the peer gets a reset, as with close(2).
    pub fn close(&self) {
        self.network.borrow_mut().client_close(self.number, false);
    }

    /// Vanish with a reset. What was sent and has not arrived is lost.
    pub fn reset(&self) {
        self.network.borrow_mut().client_close(self.number, true);
    }

    /// Read no more. The receive buffer fills, then the window is shut, then the peer's send buffer fills.
    pub fn pause_reading(&self) {
        self.network.borrow_mut().client_pause(self.number, true);
    }

    /// Read again, what waits first.
    pub fn resume_reading(&self) {
        self.network.borrow_mut().client_pause(self.number, false);
    }

    /// The connection was made at some time.
    pub fn was_connected(&self) -> bool {
        self.network.borrow_mut().client(self.number).connected
    }

    /// The client has not closed, and neither end has reset or refused the connection. True while connecting.
    pub fn is_open(&self) -> bool {
        let mut network = self.network.borrow_mut();
        let client = network.client(self.number);
        !client.closed && client.error.is_none()
    }

    /// The peer ended its half, and everything before that has been read.
    pub fn peer_closed(&self) -> bool {
        self.network.borrow_mut().client(self.number).fin_seen
    }

    /// The peer reset the connection.
    pub fn was_reset(&self) -> bool {
        let error = self.network.borrow_mut().client(self.number).error;
        error.is_some_and(|kind| kind != std::io::ErrorKind::ConnectionRefused)
    }

    /// Nobody listened, or a fault said so.
    pub fn was_refused(&self) -> bool {
        let error = self.network.borrow_mut().client(self.number).error;
        error == Some(std::io::ErrorKind::ConnectionRefused)
    }

    /// The peer will send nothing more: it ended its half, or the connection is gone.
    pub fn is_over(&self) -> bool {
        self.peer_closed() || !self.is_open()
    }

    /// Something that was sent has not arrived yet.
    pub fn has_unsent(&self) -> bool {
        self.network.borrow().client_has_unsent(self.number)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Client")
            .field("number", &self.number)
            .finish_non_exhaustive()
    }
}
