//! Many clients in one thread, each of which asks again as soon as it was answered: a closed loop.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::talk::{Listener, PATIENCE, Script, Talk};

/// Who asks next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Every connection, as soon as it was answered.
    AllAtOnce,
    /// One connection after the other, each when the one before was answered; the rest are idle.
    InTurns,
    /// One speaks and all hear it; then the next one does. What is heard is counted.
    Room,
}

/// Connections that wait for their turn.
pub(crate) struct Load {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    pattern: Pattern,
    /// Who asks next, in a pattern in which one does.
    turn: usize,
    buffer: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    listener: Listener,
    question: std::sync::Arc<[u8]>,
}

impl Load {
    /// Open so many connections. Those to which each question is answered by itself ask once, so that the server has
    /// served each of them.
    pub(crate) fn open(
        address: SocketAddr,
        script: Script,
        connections: usize,
        pattern: Pattern,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut clients = Vec::with_capacity(connections);
        for n in 0..connections {
            let mut talk = Talk::open(address, script)?;
            if pattern != Pattern::Room {
                talk.ask()?;
            }
            talk.stream.set_nonblocking(true)?;
            let mut stream = TcpStream::from_std(talk.stream);
            poll.registry()
                .register(&mut stream, Token(n), Interest::READABLE)?;
            clients.push(Client {
                stream,
                listener: talk.listener,
                question: talk.question,
            });
        }
        Ok(Self {
            poll,
            events: Events::with_capacity(1024),
            clients,
            pattern,
            turn: 0,
            buffer: vec![0; 256 * 1024],
        })
    }

    /// Have so many answers come, and say how long it took. In a room it is a multiple of its members.
    pub(crate) fn run(&mut self, answers_wanted: u64) -> io::Result<Duration> {
        let began = Instant::now();
        let everyone = self.clients.len() as u64;
        let (at_once, answers_each) = match self.pattern {
            Pattern::AllAtOnce => (answers_wanted.min(everyone), 1),
            Pattern::InTurns => (1, 1),
            Pattern::Room => (1, everyone),
        };
        let mut asked = 0;
        while asked < at_once {
            self.ask_next()?;
            asked += 1;
        }
        let mut answers = 0;
        while answers < answers_wanted {
            self.poll.poll(&mut self.events, Some(PATIENCE))?;
            if self.events.is_empty() {
                return Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    "the server is silent",
                ));
            }
            let readable: Vec<usize> = self.events.iter().map(|event| event.token().0).collect();
            for client in readable {
                for _ in 0..self.hear(client)? {
                    answers += 1;
                    let is_complete = answers % answers_each == 0;
                    if !is_complete || asked * answers_each >= answers_wanted {
                        continue;
                    }
                    asked += 1;
                    match self.pattern {
                        Pattern::AllAtOnce => self.clients[client].ask()?,
                        Pattern::InTurns | Pattern::Room => self.ask_next()?,
                    }
                }
            }
        }
        Ok(began.elapsed())
    }

    fn ask_next(&mut self) -> io::Result<()> {
        let client = self.turn;
        self.turn = (self.turn + 1) % self.clients.len();
        self.clients[client].ask()
    }

    /// Read until there is no more, as edges want it.
    fn hear(&mut self, client: usize) -> io::Result<usize> {
        let client = &mut self.clients[client];
        let mut answers = 0;
        loop {
            match client.stream.read(&mut self.buffer) {
                Ok(length) => answers += client.listener.hear(&self.buffer[..length])?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(answers),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Client {
    /// A question is short, and the one before was answered: the socket takes it whole.
    fn ask(&mut self) -> io::Result<()> {
        match self.stream.write(&self.question)? {
            written if written == self.question.len() => Ok(()),
            _ => Err(io::Error::other("a socket took half a question")),
        }
    }
}
