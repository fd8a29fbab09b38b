//! The semaphore and the queue against models that do the same with plain lists: random operations, futures polled and
//! dropped in any order.

use std::collections::VecDeque;

use super::*;
use crate::sim::Rng;
use crate::sync::{Acquire, Closed, Get, Permit, Put, Queue, Semaphore, SendError, TrySendError};

const SEEDS: u64 = 300;
const STEPS: usize = 300;

fn below(rng: &mut Rng, end: usize) -> usize {
    rng.range(0..=end as u64 - 1) as usize
}

/// An index into `len` things, or `None` when there are none.
fn index(rng: &mut Rng, len: usize) -> Option<usize> {
    (len > 0).then(|| below(rng, len))
}

/// Those who wait, in the order in which they came: who wants how many, and has been granted them.
#[derive(Default)]
struct Line(Vec<(usize, usize, bool)>);

impl Line {
    fn waiting(&self) -> usize {
        self.0.iter().filter(|(_, _, granted)| !granted).count()
    }

    /// From the front, as long as `free` lasts.
    fn serve(&mut self, free: &mut usize) {
        for (_, wanted, granted) in self.0.iter_mut().filter(|(_, _, granted)| !granted) {
            if *wanted > *free {
                break;
            }
            *free -= *wanted;
            *granted = true;
        }
    }

    /// Who has this number leaves. Whether it had been granted what it wants.
    fn leave(&mut self, number: usize) -> bool {
        let at = self.0.iter().position(|&(of, ..)| of == number);
        self.0.remove(at.expect("it waits")).2
    }
}

#[test]
fn the_semaphore_agrees_with_a_list_of_those_who_wait() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let mut free = below(&mut rng, 5);
        let semaphore = Semaphore::new(free);
        let mut line = Line::default();
        let mut waiting: Vec<(usize, Acquire)> = Vec::new();
        let mut permits: Vec<Permit> = Vec::new();
        for number in 0..STEPS {
            let wanted = below(&mut rng, 4);
            match (below(&mut rng, 6), index(&mut rng, waiting.len())) {
                (0, _) => {
                    let can = line.waiting() == 0 && wanted <= free;
                    let permit = semaphore.try_acquire_many(wanted);
                    assert_eq!(permit.is_some(), can);
                    if can {
                        free -= wanted;
                    }
                    permits.extend(permit);
                }
                (1, _) => {
                    let can = line.waiting() == 0 && wanted <= free;
                    let mut acquire = semaphore.acquire_many(wanted);
                    match poll_once(&mut acquire) {
                        Poll::Ready(permit) => {
                            assert!(can);
                            free -= wanted;
                            permits.push(permit);
                        }
                        Poll::Pending => {
                            assert!(!can);
                            line.0.push((number, wanted, false));
                            waiting.push((number, acquire));
                        }
                    }
                }
                (2, Some(at)) => {
                    let (of, acquire) = &mut waiting[at];
                    let granted = line
                        .0
                        .iter()
                        .any(|&(number, _, granted)| number == *of && granted);
                    match poll_once(acquire) {
                        Poll::Ready(permit) => {
                            assert!(granted);
                            line.leave(*of);
                            permits.push(permit);
                            drop(waiting.remove(at));
                        }
                        Poll::Pending => assert!(!granted),
                    }
                }
                (3, Some(at)) => {
                    let (of, acquire) = waiting.remove(at);
                    let wanted = line
                        .0
                        .iter()
                        .find(|&&(number, ..)| number == of)
                        .expect("it waits")
                        .1;
                    drop(acquire);
                    if line.leave(of) {
                        free += wanted;
                    }
                }
                (4, _) => {
                    if let Some(at) = index(&mut rng, permits.len()) {
                        free += permits.remove(at).permits();
                    }
                }
                _ if below(&mut rng, 8) == 0 => {
                    semaphore.add_permits(1);
                    free += 1;
                }
                _ => {}
            }
            line.serve(&mut free);
            assert_eq!(semaphore.available(), free);
            assert_eq!(semaphore.waiting(), line.waiting());
            assert_eq!(semaphore.holders().len(), permits.len());
        }
    }
}

/// A queue as its documentation describes it.
struct Model {
    capacity: Option<usize>,
    items: VecDeque<usize>,
    putters: Line,
    getters: Line,
    is_shut_down: bool,
    unfinished: usize,
}

impl Model {
    /// Places that nobody was promised.
    fn room(&self) -> usize {
        let promised = self.putters.0.len() - self.putters.waiting();
        self.capacity.map_or(usize::MAX, |capacity| {
            capacity.saturating_sub(self.items.len() + promised)
        })
    }

    /// Items that nobody was promised.
    fn filled(&self) -> usize {
        let promised = self.getters.0.len() - self.getters.waiting();
        self.items.len().saturating_sub(promised)
    }

    fn can_put(&self) -> bool {
        !self.is_shut_down && self.putters.waiting() == 0 && self.room() > 0
    }

    /// Once it was shut down nobody waits, and what is there is for whoever comes.
    fn can_get(&self) -> bool {
        (self.is_shut_down || self.getters.waiting() == 0) && self.filled() > 0
    }

    fn put<E>(&mut self, item: usize) -> Result<(), E> {
        self.items.push_back(item);
        self.unfinished += 1;
        Ok(())
    }

    /// What one who was promised an item, or need not wait, gets.
    fn get(&mut self) -> Result<usize, Closed> {
        self.items.pop_front().ok_or(Closed)
    }

    fn serve(&mut self) {
        if self.is_shut_down {
            // Nobody waits: who polls is told so.
            return;
        }
        self.putters.serve(&mut self.room());
        self.getters.serve(&mut self.filled());
    }
}

#[test]
fn the_queue_agrees_with_its_description_over_random_operations() {
    for seed in 0..SEEDS {
        let mut rng = Rng::new(seed);
        let capacity = match below(&mut rng, 4) {
            0 => None,
            capacity => Some(capacity),
        };
        let queue = capacity.map_or_else(Queue::unbounded, Queue::bounded);
        let mut model = Model {
            capacity,
            items: VecDeque::new(),
            putters: Line::default(),
            getters: Line::default(),
            is_shut_down: false,
            unfinished: 0,
        };
        let mut putters: Vec<(usize, Put<usize>)> = Vec::new();
        let mut getters: Vec<(usize, Get<usize>)> = Vec::new();
        for number in 0..STEPS {
            match (
                below(&mut rng, 11),
                index(&mut rng, putters.len()),
                index(&mut rng, getters.len()),
            ) {
                (0, ..) => {
                    let expected = match model.can_put() {
                        true => model.put(number),
                        false if model.is_shut_down => Err(TrySendError::Closed(number)),
                        false => Err(TrySendError::Full(number)),
                    };
                    assert_eq!(queue.try_put(number), expected);
                }
                (1, ..) => {
                    let expected = match model.can_get() {
                        true => model.get().map(Some),
                        false if model.is_shut_down && model.items.is_empty() => Err(Closed),
                        false => Ok(None),
                    };
                    assert_eq!(queue.try_get(), expected);
                }
                (2 | 3, ..) => {
                    let mut put = queue.put(number);
                    let expected = match model.can_put() {
                        true => Poll::Ready(model.put(number)),
                        false if model.is_shut_down => Poll::Ready(Err(SendError(number))),
                        false => Poll::Pending,
                    };
                    assert_eq!(poll_once(&mut put), expected);
                    if expected.is_pending() {
                        model.putters.0.push((number, 1, false));
                        putters.push((number, put));
                    }
                }
                (4 | 5, ..) => {
                    let mut get = queue.get();
                    let expected = match model.can_get() {
                        true => Poll::Ready(model.get()),
                        false if model.is_shut_down => Poll::Ready(Err(Closed)),
                        false => Poll::Pending,
                    };
                    assert_eq!(poll_once(&mut get), expected);
                    if expected.is_pending() {
                        model.getters.0.push((number, 1, false));
                        getters.push((number, get));
                    }
                }
                (6, Some(at), _) => {
                    let (of, mut put) = putters.remove(at);
                    let polled = poll_once(&mut put);
                    if polled.is_pending() {
                        assert!(
                            !model
                                .putters
                                .0
                                .iter()
                                .any(|&(number, _, granted)| number == of && granted)
                        );
                        assert!(!model.is_shut_down);
                        putters.insert(at, (of, put));
                    } else if model.is_shut_down {
                        model.putters.leave(of);
                        assert_eq!(polled, Poll::Ready(Err(SendError(of))));
                    } else {
                        assert!(model.putters.leave(of), "it was promised room");
                        assert_eq!(polled, Poll::Ready(model.put(of)));
                    }
                }
                (7, _, Some(at)) => {
                    let (of, mut get) = getters.remove(at);
                    let polled = poll_once(&mut get);
                    if polled.is_pending() {
                        assert!(
                            !model
                                .getters
                                .0
                                .iter()
                                .any(|&(number, _, granted)| number == of && granted)
                        );
                        assert!(!model.is_shut_down);
                        getters.insert(at, (of, get));
                    } else {
                        let expected = match model.getters.leave(of) || model.can_get() {
                            true => model.get(),
                            false => Err(Closed),
                        };
                        assert!(expected.is_ok() || model.is_shut_down);
                        assert_eq!(polled, Poll::Ready(expected));
                    }
                }
                (8, Some(at), _) => {
                    let (of, put) = putters.remove(at);
                    drop(put);
                    model.putters.leave(of);
                }
                (9, _, Some(at)) => {
                    let (of, get) = getters.remove(at);
                    drop(get);
                    model.getters.leave(of);
                }
                _ if model.unfinished > 0 && below(&mut rng, 2) == 0 => {
                    queue.task_done();
                    model.unfinished -= 1;
                }
                // Late, so that there is something to shut down.
                _ if number > STEPS / 2 && below(&mut rng, 20) == 0 => {
                    if below(&mut rng, 2) == 0 {
                        queue.shutdown();
                    } else {
                        queue.shutdown_now();
                        model.unfinished -= model.items.len().min(model.unfinished);
                        model.items.clear();
                    }
                    model.is_shut_down = true;
                }
                _ => {}
            }
            model.serve();
            assert_eq!(queue.len(), model.items.len());
            assert_eq!(queue.is_shut_down(), model.is_shut_down);
            assert_eq!(
                poll_once(&mut queue.join()).is_ready(),
                model.unfinished == 0
            );
            if !model.is_shut_down {
                assert_eq!(queue.getters(), model.getters.waiting());
                assert_eq!(queue.putters(), model.putters.waiting());
            }
        }
    }
}
