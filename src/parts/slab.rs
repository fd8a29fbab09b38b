//! The generational slab.
