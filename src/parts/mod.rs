//! The parts that know nothing of the rest: the timer wheel, the generational slab, people in line, the output queue,
//! and when tables shrink.

pub mod high_water;
pub mod line;
pub mod output;
pub mod slab;
pub mod wheel;

#[cfg(test)]
mod tests;
