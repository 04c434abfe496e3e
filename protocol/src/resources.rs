//! What a task asks for and a node has.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An amount of each resource that the scheduler counts.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Resources {
    /// CPU in thousandths of a core.
    pub cpu_milli: u32,
    /// Memory in bytes: the guest's linear memories and tables and what the host holds for it.
    pub memory: u64,
    /// Scratch disk in bytes.
    pub scratch: u64,
    /// Places in the sandbox's pool of instances; a batch task takes one.
    pub slots: u32,
}

impl Resources {
    /// Whether `self` holds at least `wanted` of every resource.
    pub fn covers(&self, wanted: &Self) -> bool {
        self.cpu_milli >= wanted.cpu_milli
            && self.memory >= wanted.memory
            && self.scratch >= wanted.scratch
            && self.slots >= wanted.slots
    }

    /// The sum, or `None` where it does not fit the type.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_add(other.cpu_milli)?,
            memory: self.memory.checked_add(other.memory)?,
            scratch: self.scratch.checked_add(other.scratch)?,
            slots: self.slots.checked_add(other.slots)?,
        })
    }

    /// What is left after taking `other`, or `None` where `self` does not cover it.
    pub fn checked_sub(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cpu_milli: self.cpu_milli.checked_sub(other.cpu_milli)?,
            memory: self.memory.checked_sub(other.memory)?,
            scratch: self.scratch.checked_sub(other.scratch)?,
            slots: self.slots.checked_sub(other.slots)?,
        })
    }

    /// How many times `each` fits into `self`. A resource `each` asks none of does not bound it.
    pub fn times(&self, each: &Self) -> u32 {
        let of = |have: u64, want: u64| have.checked_div(want).unwrap_or(u64::MAX);
        let fits = of(self.cpu_milli.into(), each.cpu_milli.into())
            .min(of(self.memory, each.memory))
            .min(of(self.scratch, each.scratch))
            .min(of(self.slots.into(), each.slots.into()));
        u32::try_from(fits).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.cpu_milli / 1000, self.cpu_milli % 1000);
        write!(f, "{whole}")?;
        if rest > 0 {
            let digits = format!("{rest:03}");
            write!(f, ".{}", digits.trim_end_matches('0'))?;
        }
        write!(f, " CPU, {} memory", Bytes(self.memory))?;
        if self.scratch > 0 {
            write!(f, ", {} scratch", Bytes(self.scratch))?;
        }
        Ok(())
    }
}

/// A number of bytes, printed in the largest binary unit that keeps it exact to a tenth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
        let mut value = self.0 as f64;
        let mut unit = "B";
        for larger in units {
            unit = larger;
            if value < 1024.0 || larger == "PiB" {
                break;
            }
            value /= 1024.0;
        }
        if value.fract() < 0.05 || unit == "B" {
            write!(f, "{value:.0} {unit}")
        } else {
            write!(f, "{value:.1} {unit}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NODE: Resources = Resources { cpu_milli: 2000, memory: 1 << 30, scratch: 0, slots: 100 };

    #[test]
    fn the_scarcest_resource_bounds_how_often_a_request_fits() {
        let each = Resources { cpu_milli: 100, memory: 1 << 28, scratch: 0, slots: 1 };
        assert_eq!(NODE.times(&each), 4);
        assert_eq!(NODE.times(&Resources::default()), u32::MAX);
    }

    #[test]
    fn taking_more_than_there_is_gives_none() {
        let too_much = Resources { scratch: 1, ..Resources::default() };
        assert!(!NODE.covers(&too_much));
        assert_eq!(NODE.checked_sub(&too_much), None);
    }

    #[test]
    fn prints_for_people() {
        let request = Resources { cpu_milli: 1500, memory: 192 << 20, scratch: 1 << 30, slots: 1 };
        assert_eq!(request.to_string(), "1.5 CPU, 192 MiB memory, 1 GiB scratch");
        assert_eq!(Bytes(1_600_000).to_string(), "1.5 MiB");
        assert_eq!(Bytes(1023).to_string(), "1023 B");
        assert_eq!(Bytes(u64::MAX).to_string(), "16384 PiB");
    }
}
