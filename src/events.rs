//! What the library tells a program's log: one macro, with one line for each event where it happens.
//!
//! With the feature `log` or `tracing` (or both) it goes to that facade, under the target `tourbillon`; without them
//! nothing of it is compiled in, its arguments neither. The library brings no logger: what is done with the events is
//! the program's choice.
//!
//! | level | what |
//! | --- | --- |
//! | error | panics |
//! | warn | slow turns, findings, limits that were hit (a line a second for each, with how often) |
//! | info | servers begin to listen, with their limits; graceful shutdowns begin and end; what operators do |
//! | debug | connections come and go, with the reason |

#[cfg(any(feature = "log", feature = "tracing"))]
use std::sync::atomic::{AtomicU8, Ordering};

/// How much the library tells, see [`set_log_level`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Panics.
    Error,
    /// And what is slow, and limits that were hit.
    Warn,
    /// And what servers begin and end. The default.
    Info,
    /// And every connection.
    Debug,
}

impl std::str::FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(format!(
                "{text:?} is no level: off, error, warn, info or debug"
            )),
        }
    }
}

#[cfg(any(feature = "log", feature = "tracing"))]
static LEVEL: AtomicU8 = AtomicU8::new(LogLevel::Info as u8);

/// Tell so much from now on, in the whole process. With the feature `log`, `log`'s own maximum is raised too if it is
/// lower; a subscriber of `tracing` has to be told apart. Without both features there is nothing to tell, and this does
/// nothing.
pub fn set_log_level(level: LogLevel) {
    #[cfg(any(feature = "log", feature = "tracing"))]
    LEVEL.store(level as u8, Ordering::Relaxed);
    #[cfg(feature = "log")]
    {
        let wanted = match level {
            LogLevel::Off => log::LevelFilter::Off,
            LogLevel::Error => log::LevelFilter::Error,
            LogLevel::Warn => log::LevelFilter::Warn,
            LogLevel::Info => log::LevelFilter::Info,
            LogLevel::Debug => log::LevelFilter::Debug,
        };
        log::set_max_level(log::max_level().max(wanted));
    }
    #[cfg(not(any(feature = "log", feature = "tracing")))]
    let _ = level;
}

/// Whether events of `level` are told.
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) fn is_told(level: LogLevel) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Tell the log: `event!(warn, "{number} were refused")`.
macro_rules! event {
    (error, $($text:tt)+) => { $crate::event!(@ Error error $($text)+) };
    (warn, $($text:tt)+) => { $crate::event!(@ Warn warn $($text)+) };
    (info, $($text:tt)+) => { $crate::event!(@ Info info $($text)+) };
    (debug, $($text:tt)+) => { $crate::event!(@ Debug debug $($text)+) };
    (@ $level:ident $name:ident $($text:tt)+) => {{
        #[cfg(any(feature = "log", feature = "tracing"))]
        if $crate::events::is_told($crate::events::LogLevel::$level) {
            #[cfg(feature = "log")]
            ::log::$name!(target: "tourbillon", $($text)+);
            #[cfg(feature = "tracing")]
            ::tracing::$name!(target: "tourbillon", $($text)+);
        }
        #[cfg(not(any(feature = "log", feature = "tracing")))]
        if false {
            let _ = format_args!($($text)+);
        }
    }};
}
pub(crate) use event;
