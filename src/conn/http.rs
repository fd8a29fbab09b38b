//! HTTP/1.1 on a connection: the machine's events on one side, the service's replies on the other.

use std::hint::cold_path;
use std::io::{self, ErrorKind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::body::Body;
use super::connection::{Progress, Turn, Visit};
use super::later::{OnDisconnect, Running};
use super::limits::Hits;
use super::pipe::{BodyReader, BodySender, Pull, body_channel};
use super::request::Request;
use super::response::Response;
use super::server::Shared;
use super::service::{Accept, Answer, BodyPlan, Reply, Service};
use super::wire::BY_REFERENCE_BYTES;
use crate::event_loop::{Ctx, Inspection, Origin, Panicked, caught};
use crate::parts::output::Chunk;
use crate::proto::http1::{self, After, BodyLength, Fields, Misuse, PeerError, ResponseHead, Step};
#[cfg(feature = "deflate")]
use crate::proto::ws::{self, Agreement, BadExtensions, Deflate};

/// Where the body of the request at hand goes.
enum Incoming {
    /// There is none, or it is all there.
    Done,
    /// Into the request, up to so many bytes; the handler is called behind it.
    Whole { bytes_max: usize },
    /// To a handler that is at work already.
    Stream(BodySender),
    /// Nowhere: the answer did not wait for it.
    Discard,
}

/// Where the answer comes from.
enum Outgoing {
    Nowhere,
    Handler(Box<Running>),
    Body(BodyReader),
    /// Nobody: it is given up, and 503 is said instead.
    GivenUp,
}

/// What a connection needs while something of a request is here, or something of its answer is left. The server lends
/// it, see [`super::server::Shared::lend_http`].
pub(super) struct Http {
    machine: http1::Server,
    request: Request,
    /// Input that is incomplete.
    pub(super) spill: Vec<u8>,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Since when the peer is waited for, in ticks, and how much of the body has come since; `None` while it is we who
    /// are behind, and before the body.
    body_since: Option<u64>,
    body_bytes: u64,
    /// The answer is wanted, or made, whether or not the peer has ended its half.
    stays: bool,
    /// It is we who end the connection, so the peer may be sending still.
    lingers: bool,
    /// What the request at hand is answered with.
    status: u16,
    /// Since when it is here, if that is measured.
    begun: Option<Instant>,
}

/// Our own slip: the machine was asked for what it cannot do. The connection ends, the loop goes on.
fn misuse(misuse: Misuse) -> io::Error {
    debug_assert!(false, "{misuse}");
    io::Error::other(misuse)
}

impl Http {
    pub(super) fn new() -> Self {
        Self {
            machine: http1::Server::new(),
            request: Request::empty(),
            spill: Vec::new(),
            incoming: Incoming::Done,
            outgoing: Outgoing::Nowhere,
            body_since: None,
            body_bytes: 0,
            stays: false,
            lingers: false,
            status: 0,
            begun: None,
        }
    }

    /// Input through the machine and the service to output, until there is nothing to do.
    pub(super) fn step(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Progress> {
        // (What is cold here is not rare, but lies out of the way of a request without a body, answered at once.)
        if !matches!(self.outgoing, Outgoing::Nowhere) {
            cold_path();
            if let Some(turn) = self.go_on(visit)? {
                return Ok(Progress::Turn(turn));
            }
        }
        loop {
            if !visit.make_room()? {
                return Ok(Progress::Paused);
            }
            if let Incoming::Stream(sender) = &self.incoming {
                cold_path();
                if sender.is_full(visit.ctx.handle(), visit.ctx.token()) {
                    self.body_since = None;
                    self.body_bytes = 0;
                    return Ok(Progress::Paused);
                }
            }
            let limits = &visit.shared.limits.head;
            let (used, step) =
                match self
                    .machine
                    .next(visit.input.bytes(), &mut self.request.head, limits)
                {
                    Ok(step) => step,
                    Err(error) => return self.refused(visit, error),
                };
            let is_paused = matches!(step, Step::Paused);
            match step {
                Step::Head => {
                    visit.input.use_up(used);
                    visit.write_peer(&mut self.request.peer);
                    self.request.begin(visit.ctx.handle());
                    if visit.shared.meters().is_some() {
                        cold_path();
                        self.begun = Some(visit.ctx.now());
                    }
                    if let Some(turn) = self.head(visit)? {
                        cold_path();
                        return Ok(Progress::Turn(turn));
                    }
                    if self.machine.is_reading_body() {
                        cold_path();
                        continue;
                    }
                }
                Step::Data(chunk) => {
                    self.body_bytes += chunk.len() as u64;
                    match &mut self.incoming {
                        Incoming::Whole { bytes_max } => {
                            let bytes = owned(&mut self.request.body);
                            if bytes.len() + chunk.len() > *bytes_max {
                                Hits::count(&visit.shared.hits.body_bytes);
                                self.machine.refuse(PeerError::BodyTooLarge);
                            } else {
                                grow(bytes, chunk.len(), *bytes_max);
                                bytes.extend_from_slice(chunk);
                            }
                        }
                        Incoming::Stream(sender) => sender.push(chunk.to_vec()),
                        Incoming::Discard | Incoming::Done => {}
                    }
                    visit.input.use_up(used);
                    if self.is_too_slow(visit) {
                        Hits::count(&visit.shared.hits.body_timeout);
                        self.machine.refuse(PeerError::TooSlow);
                    }
                    continue;
                }
                Step::End => {
                    visit.input.use_up(used);
                    match std::mem::replace(&mut self.incoming, Incoming::Done) {
                        Incoming::Whole { .. } => {
                            if let Some(turn) = self.call(visit)? {
                                return Ok(Progress::Turn(turn));
                            }
                        }
                        Incoming::Stream(sender) => sender.finish(),
                        Incoming::Discard | Incoming::Done => {}
                    }
                }
                Step::NeedMore => {
                    cold_path();
                    visit.input.use_up(used);
                    // All is said, and what is missing of the body is not worth waiting for.
                    if self.is_done_before_its_body() {
                        self.count_exchange(visit);
                        return Ok(Progress::Turn(Turn::Over { linger: true }));
                    }
                    return Ok(Progress::NeedInput);
                }
                Step::Paused => {}
            }
            match self.machine.after() {
                After::NextExchange => {
                    self.count_exchange(visit);
                    visit.steps_left = visit.steps_left.saturating_sub(1);
                    if visit.input.is_empty() {
                        return Ok(Progress::NeedInput);
                    }
                    cold_path();
                    if visit.steps_left == 0 {
                        return Ok(Progress::Again);
                    }
                }
                After::Close => {
                    // A peer that ends between two requests has had all its answers.
                    if self.machine.has_responded() {
                        self.count_exchange(visit);
                    }
                    return Ok(Progress::Turn(Turn::Over {
                        linger: self.lingers,
                    }));
                }
                After::NotYet if is_paused => return Ok(Progress::Paused),
                After::NotYet => {}
                After::Upgraded => return Err(misuse(Misuse::NotOwed)),
            }
        }
    }

    /// All of an answer is handed to the connection.
    #[inline]
    fn count_exchange(&mut self, visit: &mut Visit<'_, '_>) {
        visit.shared.count_exchange();
        if let Some(begun) = self.begun.take() {
            cold_path();
            self.measure(visit, begun);
        }
    }

    #[inline(never)]
    fn measure(&self, visit: &mut Visit<'_, '_>, begun: Instant) {
        let now = visit.ctx.time();
        visit.ctx.suspect(now, self.origin(visit));
        let route = self.request.has_route().then(|| self.request.route());
        if let Some(meters) = visit.shared.meters() {
            meters.count(route, self.status, now.saturating_duration_since(begun));
        }
    }

    /// A head is complete: decide about its body, and call the handler if it does not wait for it.
    #[inline]
    fn head(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Option<Turn>> {
        if self.request.head.is_https() {
            cold_path();
            // RFC 9110, 7.4: what is under https must not be had in plain text, and no one has secured it before us.
            return self.body(visit, BodyPlan::Refuse(Response::of_status(421)));
        }
        // As with nearly every request, is there no body to wait for?
        let is_whole = self.machine.take_end();
        // (Who looks closely wants to know whose handler it is before it begins.)
        if is_whole && !visit.ctx.looks_closely() {
            return self.call_at_once(visit, |service, ctx, request| service.answer(ctx, request));
        }
        cold_path();
        self.head_by_plan(visit, is_whole)
    }

    /// The same when there is a body, of which the service says what becomes, or when somebody looks closely.
    #[inline(never)]
    fn head_by_plan(
        &mut self,
        visit: &mut Visit<'_, '_>,
        is_whole: bool,
    ) -> io::Result<Option<Turn>> {
        match caught(|| visit.shared.service.plan(&mut self.request)) {
            Ok(BodyPlan::Refuse(response)) if is_whole => {
                self.respond(visit, response)?;
                Ok(None)
            }
            Ok(_) if is_whole => self.call(visit),
            // As nearly always when there is a body and it is small. (Who waits for leave to send it is given that.)
            Ok(BodyPlan::Whole { bytes_max })
                if !self.request.head.expects_continue() && self.takes_body(visit, bytes_max) =>
            {
                self.call(visit)
            }
            // What is all here already need not be streamed.
            Ok(BodyPlan::Stream) if self.takes_body(visit, usize::MAX) => self.call(visit),
            Ok(plan) => self.body(visit, plan),
            Err(caught) => {
                let response = self.panicked(visit, &caught.blame(visit.shared.origin()));
                self.body(visit, BodyPlan::Refuse(response))
            }
        }
    }

    /// Take a body that is all here, of a length that is known and allowed. Whether it was one.
    #[inline]
    fn takes_body(&mut self, visit: &mut Visit<'_, '_>, bytes_max: usize) -> bool {
        let Some(bytes) = self.machine.take_body(visit.input.bytes(), bytes_max) else {
            return false;
        };
        owned(&mut self.request.body).extend_from_slice(bytes);
        let used = bytes.len();
        visit.input.use_up(used);
        true
    }

    /// A body is to come, or the answer is known without it.
    fn body(&mut self, visit: &mut Visit<'_, '_>, plan: BodyPlan) -> io::Result<Option<Turn>> {
        let announced = self.request.head.content_length();
        let here = visit.input.bytes().len() as u64;
        let is_all_here = announced.is_some_and(|length| length <= here);
        let plan = match plan {
            BodyPlan::Whole { .. }
                if self.request.head.has_body()
                    && !is_all_here
                    && visit.shared.is_nearly_full() =>
            {
                Hits::count(&visit.shared.hits.bytes);
                BodyPlan::Refuse(Response::of_status(503))
            }
            plan => plan,
        };
        self.body_since = Some(visit.ctx.tick());
        self.body_bytes = 0;
        match plan {
            BodyPlan::Whole { bytes_max } => {
                if announced.is_some_and(|length| length > bytes_max as u64) {
                    Hits::count(&visit.shared.hits.body_bytes);
                    self.machine.refuse(PeerError::BodyTooLarge);
                    return Ok(None);
                }
                let bytes_max = announced.map_or(bytes_max, |length| length as usize);
                self.incoming = Incoming::Whole { bytes_max };
                self.machine.continue_100(visit.cork);
                Ok(None)
            }
            BodyPlan::Stream => {
                let (sender, reader) = body_channel(visit.shared.limits.pipe_bytes_max);
                self.request.body = Body::Stream {
                    reader,
                    length: announced,
                };
                self.incoming = Incoming::Stream(sender);
                self.machine.continue_100(visit.cork);
                self.call(visit)
            }
            BodyPlan::Refuse(response) => {
                self.incoming = Incoming::Discard;
                // To throw away what is all here costs less than the connection.
                if let Some(bytes) = self.machine.take_body(visit.input.bytes(), usize::MAX) {
                    let used = bytes.len();
                    visit.input.use_up(used);
                }
                self.respond(visit, response)?;
                Ok(None)
            }
        }
    }

    /// The request is here, as far as its handler waits for it.
    fn call(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Option<Turn>> {
        self.call_at_once(visit, |service, ctx, request| {
            ctx.begin_handler(|| service.origin(request.route()));
            service.call(ctx, request)
        })
    }

    /// Have `call` answer the request.
    #[inline(always)]
    fn call_at_once(
        &mut self,
        visit: &mut Visit<'_, '_>,
        call: impl FnOnce(&dyn Service, &mut Ctx<'_>, &mut Request) -> Reply,
    ) -> io::Result<Option<Turn>> {
        self.stays = false;
        // What is caught is moved, so it is to be small: nearly every answer is written already when there is nothing
        // to catch.
        let mut reply = None;
        let called = caught(|| {
            let made = call(&*visit.shared.service, visit.ctx, &mut self.request);
            let is_written =
                matches!(&made, Reply::Now(response) if self.respond_plainly(visit, response));
            if !is_written {
                cold_path();
                reply = Some(made);
            }
        });
        let (service, route) = (&visit.shared.service, self.request.route());
        visit.ctx.end_handler(|| service.origin(route));
        if let Err(caught) = called {
            cold_path();
            let panicked = caught.blame(self.origin(visit));
            let response = self.panicked(visit, &panicked);
            self.respond(visit, response)?;
            return Ok(None);
        }
        let Some(reply) = reply else {
            return Ok(None);
        };
        cold_path();
        match reply {
            Reply::Now(response) => self.respond_with_all(visit, response)?,
            Reply::Later(later) => {
                let origin = self.origin(visit);
                self.stays = later.on_disconnect != OnDisconnect::Cancel;
                let running = Running::new(visit.ctx, later, origin);
                return self.poll_handler(visit, running);
            }
            Reply::WebSocket(accept) => return self.upgrade(visit, accept),
        }
        Ok(None)
    }

    /// Where the code was given to the service, or to us, that answers the request at hand.
    fn origin(&self, visit: &Visit<'_, '_>) -> Origin {
        match self.request.has_route() {
            true => visit.shared.service.origin(self.request.route()),
            false => visit.shared.origin(),
        }
    }

    /// Go on with an answer that was begun, or is being made.
    fn go_on(&mut self, visit: &mut Visit<'_, '_>) -> io::Result<Option<Turn>> {
        match std::mem::replace(&mut self.outgoing, Outgoing::Nowhere) {
            Outgoing::Nowhere => {}
            Outgoing::Handler(running) if running.take_woken() => {
                return self.poll_handler(visit, running);
            }
            Outgoing::Body(reader) => self.send_body(visit, reader)?,
            Outgoing::GivenUp => {
                self.close_after_this();
                self.respond(visit, Response::of_status(503))?;
            }
            waiting => self.outgoing = waiting,
        }
        Ok(None)
    }

    fn poll_handler(
        &mut self,
        visit: &mut Visit<'_, '_>,
        mut running: Box<Running>,
    ) -> io::Result<Option<Turn>> {
        visit.ctx.begin_handler(|| running.origin());
        let polled = running.poll(visit.ctx.now());
        visit.ctx.end_handler(|| running.origin());
        match polled {
            Ok(Poll::Pending) => self.outgoing = Outgoing::Handler(running),
            Ok(Poll::Ready(Answer::Response(response))) => self.respond(visit, response)?,
            Ok(Poll::Ready(Answer::WebSocket(accept))) => return self.upgrade(visit, accept),
            Err(panicked) => {
                let response = self.panicked(visit, &panicked);
                self.respond(visit, response)?;
            }
        }
        Ok(None)
    }

    /// The answer to a request whose handler panicked. The connection closes behind it: who knows what was left undone.
    fn panicked(&mut self, visit: &mut Visit<'_, '_>, panicked: &Panicked) -> Response {
        visit.ctx.report(panicked);
        self.close_after_this();
        Response::of_status(500)
    }

    fn close_after_this(&mut self) {
        self.machine.close_after_this();
        self.lingers = true;
    }

    /// Write the answer, or as much of it as there is.
    fn respond(&mut self, visit: &mut Visit<'_, '_>, response: Response) -> io::Result<()> {
        if self.respond_plainly(visit, &response) {
            return Ok(());
        }
        self.respond_with_all(visit, response)
    }

    /// The short way, which nearly every answer takes. Whether this one did.
    #[inline(always)]
    fn respond_plainly(&mut self, visit: &mut Visit<'_, '_>, response: &Response) -> bool {
        match response.as_plain() {
            Some((status, content_type, body))
                if body.len() < BY_REFERENCE_BYTES && !visit.shared.ends_connections() =>
            {
                let preamble = &mut visit.shared.preamble(visit.ctx);
                let machine = &mut self.machine;
                self.status = status;
                machine.respond_plainly(preamble, status, content_type, body, visit.cork)
            }
            _ => {
                cold_path();
                false
            }
        }
    }

    /// The long way: any status and fields, a body that is streamed or sent from where it lies, a connection that ends.
    fn respond_with_all(
        &mut self,
        visit: &mut Visit<'_, '_>,
        response: Response,
    ) -> io::Result<()> {
        let (status, content_type, fields, body) = response.into_parts();
        self.status = status;
        let is_stream = matches!(body, Body::Stream { .. });
        let is_last =
            visit.shared.ends_connections() && visit.shared.is_last_answer(visit.ctx, visit.place);
        if is_last || (self.machine.is_reading_body() && !is_stream) {
            // What is left of the body would have to be read only to be thrown away.
            self.close_after_this();
        }
        let length = body.length().map_or(BodyLength::Unknown, BodyLength::Known);
        let content_type = content_type.as_deref();
        let date = *visit.shared.preamble(visit.ctx).date();
        let head = ResponseHead {
            status,
            fields: &fields,
            content_type,
            length,
            date: &date,
        };
        match self.machine.respond(&head, visit.cork) {
            // The handler's slip, not ours: it named a type that is no field value.
            Err(Misuse::BadContentType) => {
                let head = ResponseHead {
                    content_type: None,
                    ..head
                };
                self.machine.respond(&head, visit.cork).map_err(misuse)?;
            }
            responded => responded.map_err(misuse)?,
        }
        match body {
            Body::Stream { reader, .. } if self.machine.wants_body() => {
                return self.send_body(visit, reader);
            }
            Body::Stream { .. } => {}
            Body::Empty => {}
            body => {
                let bytes = body.as_bytes().unwrap_or_default();
                if self
                    .machine
                    .body_frame_start(bytes.len(), visit.cork)
                    .map_err(misuse)?
                {
                    if bytes.len() < BY_REFERENCE_BYTES {
                        visit.cork.extend_from_slice(bytes);
                    } else if let Some(chunk) = by_reference(body) {
                        visit.wire.flush_with(visit.ctx, visit.cork, chunk)?;
                    }
                    self.machine.body_frame_end(visit.cork);
                }
            }
        }
        self.machine.end(visit.cork).map_err(misuse)
    }

    /// Send what has come of a body that is streamed.
    fn send_body(&mut self, visit: &mut Visit<'_, '_>, reader: BodyReader) -> io::Result<()> {
        while visit.make_room()? {
            match reader.pull_for(visit.ctx.handle(), visit.ctx.token()) {
                Pull::Chunk(bytes) => {
                    let started = self.machine.body_frame_start(bytes.len(), visit.cork);
                    let Ok(started) = started else {
                        // More than the handler announced.
                        return Self::cut_off(visit);
                    };
                    if started {
                        if bytes.len() < BY_REFERENCE_BYTES {
                            visit.cork.extend_from_slice(&bytes);
                        } else {
                            visit
                                .wire
                                .flush_with(visit.ctx, visit.cork, Chunk::Owned(bytes))?;
                        }
                        self.machine.body_frame_end(visit.cork);
                    }
                }
                Pull::End => {
                    if self.machine.end(visit.cork).is_err() {
                        // Less than the handler announced.
                        return Self::cut_off(visit);
                    }
                    if matches!(&self.incoming, Incoming::Stream(sender) if sender.is_disconnected())
                    {
                        // Nobody reads the rest of the request.
                        self.machine.close_after_this();
                    }
                    return Ok(());
                }
                Pull::Truncated => return Self::cut_off(visit),
                Pull::Wait => break,
            }
        }
        self.outgoing = Outgoing::Body(reader);
        Ok(())
    }

    /// Half an answer must not look like a whole one: the connection ends behind what there is of it.
    fn cut_off(visit: &mut Visit<'_, '_>) -> io::Result<()> {
        visit.flush()?;
        Err(ErrorKind::ConnectionAborted.into())
    }

    /// The peer broke a rule or a limit: say so, if nothing was said yet, and end it.
    fn refused(&mut self, visit: &mut Visit<'_, '_>, error: PeerError) -> io::Result<Progress> {
        if !matches!(error, PeerError::TooSlow | PeerError::BodyTooLarge) {
            // Those two have counters of their own.
            Hits::count(&visit.shared.hits.refused_requests);
        }
        // A handler that waits for the rest of this request waits in vain.
        self.incoming = Incoming::Done;
        self.leave(visit.ctx, visit.shared);
        visit.input.clear();
        if self.machine.owes_response() {
            if let (None, Some(meters)) = (self.begun, visit.shared.meters()) {
                // Its head never was complete.
                meters.count(None, error.status(), Duration::ZERO);
            }
            let text = format!(
                "{} {}: {error}\n",
                error.status(),
                http1::reason(error.status())
            );
            self.respond(visit, Response::text(text).with_status(error.status()))?;
        }
        Ok(Progress::Turn(Turn::Over { linger: true }))
    }

    /// Answer the handshake. From here on the connection speaks WebSocket, or the request is answered as any other.
    fn upgrade(&mut self, visit: &mut Visit<'_, '_>, accept: Accept) -> io::Result<Option<Turn>> {
        let accepted = match self.request.websocket_handshake() {
            Ok(_) if visit.shared.is_draining() => Err(Response::of_status(503)),
            judged => judged,
        };
        let accepted = match accepted {
            Ok(accepted) => accepted,
            Err(refusal) => {
                self.respond(visit, refusal)?;
                return Ok(None);
            }
        };
        let Accept {
            socket,
            subprotocol,
        } = accept;
        let mut fields = Fields::new();
        let pushed = fields
            .push("Upgrade", "websocket")
            .and_then(|()| fields.push("Sec-WebSocket-Accept", accepted.accept_str()))
            .and_then(|()| {
                subprotocol
                    .as_deref()
                    .map_or(Ok(()), |name| fields.push("Sec-WebSocket-Protocol", name))
            });
        #[cfg(feature = "deflate")]
        let (pushed, deflate) = match self.agree_on_deflate(visit.shared) {
            Ok(None) => (pushed, None),
            Ok(Some((agreement, deflate))) => {
                let response = agreement.response();
                let push = |()| fields.push("Sec-WebSocket-Extensions", &response);
                (pushed.and_then(push), Some(deflate))
            }
            Err(error) => {
                let response = Response::text(format!("{error}\n")).with_status(400);
                self.respond(visit, response)?;
                return Ok(None);
            }
        };
        if let Err(error) = pushed {
            return Err(io::Error::new(ErrorKind::InvalidData, error));
        }
        let date = *visit.shared.preamble(visit.ctx).date();
        let head = ResponseHead {
            status: 101,
            fields: &fields,
            content_type: None,
            length: BodyLength::Known(0),
            date: &date,
        };
        self.machine.respond(&head, visit.cork).map_err(misuse)?;
        self.status = head.status;
        self.count_exchange(visit);
        let origin = self.origin(visit);
        let rules = visit.shared.websocket_rules(
            self.request.route(),
            origin,
            #[cfg(feature = "deflate")]
            deflate,
        );
        Ok(Some(Turn::Upgrade { socket, rules }))
    }

    /// What the route and the client agree on about compression.
    #[cfg(feature = "deflate")]
    fn agree_on_deflate(
        &self,
        shared: &Shared,
    ) -> Result<Option<(Agreement, Deflate)>, BadExtensions> {
        let settings = shared.service.websocket(self.request.route());
        let Some(options) = settings.and_then(|settings| settings.deflate.as_ref()) else {
            return Ok(None);
        };
        // Several lines are one list (RFC 9110, 5.3).
        let lines = self
            .request
            .head
            .headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Sec-WebSocket-Extensions"));
        let lines: Vec<_> = lines
            .map(|(_, value)| String::from_utf8_lossy(value))
            .collect();
        let agreement = options.choose(&lines.join(","))?;
        Ok(agreement.map(|agreement| {
            let deflate = Deflate::new(&agreement, ws::Role::Server, options);
            (agreement, deflate)
        }))
    }

    /// The peer will send no more.
    pub(super) fn ended(&mut self) {
        // A request that was cut off is refused at the next step.
        let _ = self.machine.eof();
    }

    /// The peer has ended its half while an answer is being made. Whether that is the connection's end; those who stay,
    /// and want to know, are told.
    pub(super) fn peer_ended(&self) -> bool {
        match &self.outgoing {
            Outgoing::Handler(running) => running.peer_ended(),
            Outgoing::Body(_) => !self.stays,
            Outgoing::Nowhere | Outgoing::GivenUp => false,
        }
    }

    /// The connection's part in the answer at hand is over.
    pub(super) fn leave(&mut self, ctx: &Ctx<'_>, shared: &Rc<Shared>) {
        let outgoing = std::mem::replace(&mut self.outgoing, Outgoing::Nowhere);
        if let Outgoing::Handler(running) = outgoing {
            running.connection_closed(ctx.handle(), shared);
        }
    }

    /// Say 503 instead of an answer that takes too long or too much. `false` when one has begun: it can only be cut.
    pub(super) fn give_up(&mut self) -> bool {
        if !self.machine.owes_response() {
            return false;
        }
        self.incoming = Incoming::Discard;
        self.outgoing = Outgoing::GivenUp;
        true
    }

    /// Bytes that were read and not taken by the handler, and those it made that were not sent. While the peer takes
    /// nothing there is no visit for those it makes, so that all it may make are counted before.
    pub(super) fn bytes_held(&self, is_blocked: bool) -> usize {
        let incoming = match &self.incoming {
            Incoming::Stream(sender) => sender.bytes(),
            Incoming::Done | Incoming::Whole { .. } | Incoming::Discard => 0,
        };
        let outgoing = match &self.outgoing {
            Outgoing::Body(reader) => reader.bytes(is_blocked),
            Outgoing::Nowhere | Outgoing::Handler(_) | Outgoing::GivenUp => 0,
        };
        self.spill.capacity() + self.request.body_bytes() + incoming + outgoing
    }

    /// Drop what has come of the body that is being put together.
    pub(super) fn forget_body(&mut self) {
        self.request.body = Body::Empty;
    }

    /// How long the handler that is at work may take.
    pub(super) fn handler_timeout(&self, shared: &Shared) -> Option<Duration> {
        match &self.outgoing {
            Outgoing::Handler(running) => Some(running.timeout(shared)),
            _ => None,
        }
    }

    /// The answer is complete, the connection is to close, and nobody waits for what is left of the request's body.
    fn is_done_before_its_body(&mut self) -> bool {
        let is_wanted = match &self.incoming {
            Incoming::Done | Incoming::Whole { .. } => true,
            Incoming::Stream(sender) => !sender.is_disconnected(),
            Incoming::Discard => false,
        };
        !is_wanted && self.machine.is_reading_body() && self.machine.after() == After::Close
    }

    /// The header or body deadline has come. Whether there is something to say: a peer that never began gets no answer.
    pub(super) fn too_slow(&mut self) -> bool {
        let says_so = !self.machine.is_idle();
        self.machine.refuse(PeerError::TooSlow);
        says_so
    }

    /// Whether the body has been coming for long enough to be judged, and comes too slowly.
    fn is_too_slow(&mut self, visit: &Visit<'_, '_>) -> bool {
        let limits = &visit.shared.limits;
        let now = visit.ctx.tick();
        let elapsed_ms = now.saturating_sub(*self.body_since.get_or_insert(now));
        u128::from(elapsed_ms) > limits.body_timeout.as_millis()
            && self.body_bytes * 1000 < limits.body_rate_min * elapsed_ms
    }

    /// Without input there is nothing to do.
    pub(super) fn only_reads(&self) -> bool {
        matches!(self.outgoing, Outgoing::Nowhere) && self.machine.is_idle()
    }

    /// Nothing of a request is here, and nothing of an answer is left.
    pub(super) fn is_between_requests(&self) -> bool {
        self.machine.is_idle()
    }

    pub(super) fn awaits_head(&self) -> bool {
        self.machine.has_begun()
    }

    /// The peer is to send more of the body, and it is not us who are behind.
    pub(super) fn awaits_body(&self) -> bool {
        self.machine.is_reading_body()
            && !matches!(&self.incoming, Incoming::Stream(sender) if sender.is_over_full())
    }

    pub(super) fn awaits_input(&self) -> bool {
        self.is_between_requests() || self.awaits_head() || self.awaits_body()
    }

    /// Begin anew, and keep the allocations.
    pub(super) fn renew(&mut self) {
        self.machine = http1::Server::new();
        self.request.body = Body::Empty;
        self.spill.clear();
        self.incoming = Incoming::Done;
        self.outgoing = Outgoing::Nowhere;
        self.lingers = false;
    }

    /// The path of the request's route, as long as the request is here.
    pub(super) fn route(&self, shared: &Shared) -> Option<Arc<str>> {
        if !self.request.has_route() || self.is_between_requests() {
            return None;
        }
        let (_, path) = shared.service.route_name(self.request.route())?;
        Some(path)
    }

    /// What a handler at work waits on, with the rest of a connection's description still to come.
    pub(super) fn inspect(&self) -> Inspection {
        match &self.outgoing {
            Outgoing::Handler(running) => running.inspect(),
            _ => Inspection {
                state: self.state(),
                ..Inspection::default()
            },
        }
    }

    fn state(&self) -> &'static str {
        match (&self.outgoing, &self.incoming) {
            (Outgoing::Handler(_), _) => "in its handler",
            (Outgoing::Body(_), _) => "sending a body",
            (Outgoing::GivenUp, _) => "giving up",
            (Outgoing::Nowhere, Incoming::Done) if self.machine.has_begun() => "reading a head",
            (Outgoing::Nowhere, Incoming::Done) => "idle",
            (Outgoing::Nowhere, _) => "reading a body",
        }
    }
}

/// The bytes of a body that is being put together.
fn owned(body: &mut Body) -> &mut Vec<u8> {
    if !matches!(body, Body::Owned(_)) {
        *body = Body::Owned(Vec::new());
    }
    match body {
        Body::Owned(bytes) => bytes,
        _ => unreachable!("made one just above"),
    }
}

/// Make room for `more` bytes, by doubling, but never for more than `bytes_max` in all.
fn grow(bytes: &mut Vec<u8>, more: usize, bytes_max: usize) {
    if bytes.capacity() - bytes.len() < more {
        let doubled = bytes.len().max(more);
        bytes.reserve_exact(doubled.min(bytes_max - bytes.len()));
    }
}

fn by_reference(body: Body) -> Option<Chunk> {
    match body {
        Body::Static(bytes) => Some(Chunk::Static(bytes)),
        Body::Owned(bytes) => Some(Chunk::Owned(bytes)),
        Body::Shared(bytes) => Some(Chunk::Shared(bytes)),
        Body::Empty | Body::Stream { .. } => None,
    }
}
