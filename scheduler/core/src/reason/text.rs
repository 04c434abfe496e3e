//! What is said of each reason. Instants are in UTC, so that the text reads the same
//! wherever it is read.

use std::fmt;

use wrun_protocol::Timestamp;
use wrun_protocol::resources::Bytes;

use super::{Amount, Bound, LimitReached, Nodes, Notice, PendingReason, Scope, Taking};

impl fmt::Display for PendingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNodes => f.write_str("no node has joined the cluster yet"),
            Self::NoNodeReady { suitable: 1 } => {
                f.write_str("the one node that could run it is not connected or takes no tasks")
            }
            Self::NoNodeReady { suitable } => write!(
                f,
                "none of the {suitable} nodes that could run it is connected and takes tasks"
            ),
            Self::NoNodeFits { wanted } => {
                write!(f, "no node of the cluster has the labels it wants and {wanted}")
            }
            Self::WaitsForCapacity { wanted, jobs_ahead } => {
                write!(f, "every node that could run it is full; a task takes {wanted}")?;
                match jobs_ahead {
                    0 => Ok(()),
                    1 => f.write_str("; 1 older job like it waits too"),
                    n => write!(f, "; {n} older jobs like it wait too"),
                }
            }
            Self::BackOff { until } => {
                write!(f, "it failed and runs again at {}", Clock(*until))
            }
            Self::Limit(limit) => limit.fmt(f),
            Self::BeyondLimit { limit, takes, gang } => {
                match gang {
                    0 => f.write_str("a task")?,
                    gang => write!(f, "a gang of {gang} tasks")?,
                }
                let (takes, most) = (limit.bound.of(*takes), limit.bound.of(limit.most));
                write!(f, " takes {takes}, and {} may never have more than {most}", limit.scope)
            }
            Self::GangBeyondNodes { gang, places } => write!(
                f,
                "it is a gang of {gang} tasks, and the nodes that are ready hold {places} at once"
            ),
            Self::Held => f.write_str("it is held: release it to let it be placed"),
            Self::Results => f.write_str("whether its results are remembered is being looked up"),
            Self::Begin { at } => write!(f, "it is not to start before {}", Clock(*at)),
            Self::Deadline { deadline } => write!(
                f,
                "by its time limit it could not end before its deadline at {}, when it is cancelled",
                Clock(*deadline)
            ),
            Self::Dependency { on } => write!(f, "it waits for {on}"),
            Self::MaxRunning { most: 1 } => {
                f.write_str("a task of the job is placed, and it allows one at a time")
            }
            Self::MaxRunning { most } => {
                write!(f, "{most} tasks of the job are placed, as many as it allows at once")
            }
            Self::Gang { places, of } => {
                write!(f, "its {of} tasks start together, and there is room for {places}")
            }
            Self::Pool { name, wanted, left } => {
                write!(f, "a task takes {wanted} slots of the pool `{name}`, and {left} are left")
            }
            Self::Window { name, start: Some(start) } => {
                write!(f, "the window of reservation `{name}` begins at {}", Clock(*start))
            }
            Self::Window { name, start: None } => {
                write!(f, "reservation `{name}`, in which it runs, is over or was given up")
            }
            Self::TooLong { takes_ms, by, free_ms } => {
                let (takes, free) = (Lasting(*takes_ms), Lasting(*free_ms));
                write!(
                    f,
                    "it may take {takes} ({by}), and what it needs is free for {free} at most"
                )
            }
            Self::Headroom { cpu_milli } => write!(
                f,
                "tasks that run as long leave {} CPU free for short ones",
                thousandths(*cpu_milli)
            ),
            Self::FillDepth { depth } => {
                write!(f, "{depth} others are looked at before it, as many as the policy's depth")
            }
            Self::MakingRoom { tasks: 1 } => {
                f.write_str("room is made for it: 1 task was told to stop")
            }
            Self::MakingRoom { tasks } => {
                write!(f, "room is made for it: {tasks} tasks were told to stop")
            }
            Self::Behind { job } => write!(f, "job {job} is considered first"),
            Self::BehindMany { counted } => {
                write!(f, "more than {counted} jobs are considered before it")
            }
            Self::NotLookedInto => f.write_str("nodes have room; `wrun explain` says why it waits"),
            Self::Frozen { tasks, since, by } => {
                let are = if *tasks == 1 { "task is" } else { "tasks are" };
                write!(f, "{tasks} {are} frozen since {}", Clock(*since))?;
                by.map_or(Ok(()), |job| write!(f, " for job {job}"))
            }
            Self::Noticed { tasks, until, why } => {
                let are = if *tasks == 1 { "task is" } else { "tasks are" };
                write!(f, "{tasks} {are} stopped by {} and put back, {why}", Clock(*until))
            }
            Self::Placing => f.write_str("it is being placed"),
            _ => self.fmt_nodes(f),
        }
    }
}

impl PendingReason {
    /// A reason that holds on nodes.
    fn fmt_nodes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutsidePartition { partition: Some(name), nodes } => {
                write!(f, "{} not in partition `{name}`", Are(nodes))
            }
            Self::OutsidePartition { partition: None, nodes } => {
                write!(f, "{} not in the default partition", Are(nodes))
            }
            Self::OutsideReservation { name, nodes } => {
                write!(f, "{} not in reservation `{name}`", Are(nodes))
            }
            Self::LacksLabel { label, value, nodes } => {
                write!(f, "{} without the label {label}={value}", Are(nodes))
            }
            Self::RefusedLabel { label, value, nodes } => {
                write!(f, "{} of the label {label}={value}, which it refuses", Are(nodes))
            }
            Self::TooSmall { amount, nodes } => {
                write!(f, "{} too small: not enough {amount}", Are(nodes))
            }
            Self::NotSuited { nodes } => {
                write!(f, "{} without the devices or named resources it wants", Are(nodes))
            }
            Self::NotReady { nodes } => {
                write!(f, "{} not connected, drained or lost", Are(nodes))
            }
            Self::Full { amount, nodes } => {
                write!(f, "{} full: not enough {amount} left", Are(nodes))
            }
            Self::DevicesTaken { nodes } => {
                write!(f, "{} full: the devices or named resources it wants are in use", Are(nodes))
            }
            Self::OthersFirst { nodes } => {
                write!(f, "{} where other tasks wait first", Are(nodes))
            }
            Self::Arranged { nodes } => {
                write!(f, "{} ruled out by how its tasks are to be arranged", Are(nodes))
            }
            Self::Cleared { job, nodes } => {
                write!(f, "{} being cleared for job {job}", Are(nodes))
            }
            Self::FrozenFirst { nodes } => {
                write!(f, "{} where frozen tasks go on first", Are(nodes))
            }
            Self::Promised { job, start, end, nodes } => {
                match nodes.count {
                    0 => f.write_str("slots of a pool that a task takes are")?,
                    _ => write!(f, "{}", Are(nodes))?,
                }
                write!(f, " promised to job {job} from {}", Clock(*start))?;
                if end.0 == u64::MAX { Ok(()) } else { write!(f, " until {}", Clock(*end)) }
            }
            Self::Reserved { name, start, end, nodes } => write!(
                f,
                "{} reserved as `{name}` from {} until {}",
                Are(nodes),
                Clock(*start),
                Clock(*end)
            ),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cpu => "CPU",
            Self::Memory => "memory",
            Self::Scratch => "scratch disk",
            Self::Slots => "places for tasks",
        })
    }
}

impl fmt::Display for Taking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Limit => "its time limit",
            Self::Earlier => "as earlier tasks did; it has no time limit",
            Self::Default => "the policy's default time; it has no time limit and no history",
        })
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::For(job) => write!(f, "for job {job}"),
            Self::Reservation(name) => write!(f, "for reservation `{name}`"),
            Self::User => f.write_str("as a user wants"),
            Self::Gang => f.write_str("since its gang starts anew"),
            Self::Other => f.write_str("to make room"),
        }
    }
}

/// So many nodes, and some of their names.
struct Are<'a>(&'a Nodes);

impl fmt::Display for Are<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Nodes { count, names } = self.0;
        write!(f, "{count} {}", if *count == 1 { "node" } else { "nodes" })?;
        if !names.is_empty() {
            let more = if (names.len() as u64) < u64::from(*count) { ", ..." } else { "" };
            write!(f, " ({}{more})", names.join(", "))?;
        }
        f.write_str(if *count == 1 { " is" } else { " are" })
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Partition(name) => write!(f, "partition `{name}`"),
            Self::Qos(name) => write!(f, "QoS `{name}`"),
            Self::QosTenant(qos, tenant) => write!(f, "tenant {tenant} in QoS `{qos}`"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
        }
    }
}

impl Bound {
    /// So much of what it bounds, for people.
    fn of(self, amount: u64) -> String {
        match self {
            Self::Queued => format!("{amount} tasks that have not ended"),
            Self::Running => format!("{amount} tasks placed"),
            Self::Cpu => format!("{} CPU", thousandths(amount)),
            Self::Memory => format!("{} memory", Bytes(amount)),
            Self::Gpu => format!("{} GPU", thousandths(amount)),
        }
    }
}

impl fmt::Display for LimitReached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.scope.fmt(f)?;
        let (used, most) = (self.used, self.most);
        match self.bound {
            Bound::Queued => write!(f, " has {used} tasks that have not ended, of at most {most}"),
            Bound::Running => write!(f, " has {used} tasks placed, of at most {most}"),
            Bound::Cpu => {
                write!(f, " has {} CPU, of at most {}", thousandths(used), thousandths(most))
            }
            Bound::Memory => {
                write!(f, " has {} memory, of at most {}", Bytes(used), Bytes(most))
            }
            Bound::Gpu => {
                write!(f, " has {} GPU, of at most {}", thousandths(used), thousandths(most))
            }
        }
    }
}

/// An amount that is kept in thousandths.
pub(crate) fn thousandths(amount: u64) -> f64 {
    amount as f64 / 1000.0
}

/// A time in milliseconds as `--time-limit` reads it too: two units at most, rounded down.
pub(crate) struct Lasting(pub(crate) u64);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
        let place = units.iter().position(|(_, ms)| self.0 >= *ms);
        let Some(place) = place else { return f.write_str("0s") };
        let mut left = self.0;
        for (number, (unit, ms)) in units.iter().skip(place).take(2).enumerate() {
            let count = left / ms;
            // Beside seconds, thousandths of them say nothing.
            if count > 0 && (number == 0 || *unit != "ms") {
                write!(f, "{count}{unit}")?;
            }
            left %= ms;
        }
        Ok(())
    }
}

/// An instant for people.
pub(crate) struct Clock(pub(crate) Timestamp);

impl fmt::Display for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.0 / 86_400_000, self.0.0 / 1000 % 86_400);
        let (year, month, day) = date(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
    }
}

/// Year, month and day of so many days after 1970-01-01, in the Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    // Counted in years that begin in March, so that the leap day is the last of them.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (era * 400 + year + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_said_by_day_and_second() {
        let said = |ms: u64| Clock(Timestamp(ms)).to_string();
        assert_eq!(said(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(said(951_827_696_000), "2000-02-29 12:34:56 UTC");
        assert_eq!(said(1_772_323_199_999), "2026-02-28 23:59:59 UTC");
        assert_eq!(said(1_772_323_200_000), "2026-03-01 00:00:00 UTC");
    }

    #[test]
    fn a_time_is_said_in_two_units_at_most_as_a_time_limit_is_written() {
        let said = |ms: u64| Lasting(ms).to_string();
        let spoken = [0, 7, 1500, 60_000, 5_400_000, 90_061_000].map(said);
        assert_eq!(spoken, ["0s", "7ms", "1s", "1m", "1h30m", "1d1h"]);
    }
}
