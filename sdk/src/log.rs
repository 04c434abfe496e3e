//! Lines in the task's log.

use std::fmt;

use crate::platform;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// What helps to find a fault.
    Debug,
    /// What happens.
    Info,
    /// What should not be, and does not stop the task.
    Warn,
    /// What should not be.
    Error,
}

/// Writes a line to the task's log; the macros [`info!`](crate::info) and its likes are
/// shorter.
pub fn log(level: Level, line: fmt::Arguments<'_>) {
    match line.as_str() {
        Some(text) => platform::log(level, text),
        None => platform::log(level, &line.to_string()),
    }
}

/// Writes a line at [`Level::Trace`], with the arguments of [`format!`].
#[macro_export]
macro_rules! trace {
    ($($line:tt)+) => { $crate::log($crate::Level::Trace, ::core::format_args!($($line)+)) };
}

/// Writes a line at [`Level::Debug`], with the arguments of [`format!`].
#[macro_export]
macro_rules! debug {
    ($($line:tt)+) => { $crate::log($crate::Level::Debug, ::core::format_args!($($line)+)) };
}

/// Writes a line at [`Level::Info`], with the arguments of [`format!`].
///
/// ```
/// wrun_sdk::info!("{} rows", 12);
/// ```
#[macro_export]
macro_rules! info {
    ($($line:tt)+) => { $crate::log($crate::Level::Info, ::core::format_args!($($line)+)) };
}

/// Writes a line at [`Level::Warn`], with the arguments of [`format!`].
#[macro_export]
macro_rules! warn {
    ($($line:tt)+) => { $crate::log($crate::Level::Warn, ::core::format_args!($($line)+)) };
}

/// Writes a line at [`Level::Error`], with the arguments of [`format!`].
#[macro_export]
macro_rules! error {
    ($($line:tt)+) => { $crate::log($crate::Level::Error, ::core::format_args!($($line)+)) };
}
