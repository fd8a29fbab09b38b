//! The timer wheel alone: where timers come out, and when its owner is woken for a cascade.

use std::io;

use tourbillon::parts::wheel::Wheel;

pub(crate) fn main() -> io::Result<()> {
    let mut wheel = Wheel::new();
    // The hand is brought to 197, as in the picture.
    assert_eq!(wheel.pop_due(197), None);

    wheel.insert(200, "A");
    let b = wheel.insert(900, "B");
    wheel.insert(10_000, "C");
    println!("cancelled: {:?}", wheel.cancel(b));

    // The owner sleeps as long as it may, and looks what is due.
    while let Some(tick) = wheel.next_expiry() {
        match wheel.pop_due(tick) {
            Some((due, name)) => println!("woken at {tick:6}: {name}, due at {due}"),
            None => println!("woken at {tick:6}: a cascade"),
        }
    }
    Ok(())
}
