//! What a user is told of a job that waits or stands still: why, until when, and what would
//! help. Worked out by hand, and a case for each reason there is.

mod codes;
mod expected;
mod in_time;
mod nodes;
mod reasons;
mod stopped;
