//! Values that people write, on the command line and in files: sizes, durations, CPU,
//! whole numbers with bounds. Each has one spelling for both, and says in its error
//! what is wrong and what to write. Nothing here knows what a value is for.

pub(crate) mod amount;
pub(crate) mod axis;
pub(crate) mod cpu;
pub(crate) mod gpu;
pub(crate) mod indices;
pub(crate) mod inference;
pub(crate) mod number;
pub(crate) mod pair;
pub(crate) mod part;
pub(crate) mod size;
pub(crate) mod span;
pub(crate) mod when;

pub(crate) use amount::Amount;
pub(crate) use axis::Axis;
pub(crate) use cpu::Cpu;
pub(crate) use gpu::{Cards, WantedGpu};
pub(crate) use indices::Indices;
pub(crate) use inference::{BackEnd, ProviderName};
pub(crate) use number::{Priority, Whole};
pub(crate) use pair::Pair;
pub(crate) use part::Part;
pub(crate) use size::Size;
pub(crate) use span::Span;
pub(crate) use when::When;

/// A value that cannot be, in words for the person who wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadValue(pub(crate) String);

impl std::fmt::Display for BadValue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadValue {}

/// Splits `text` where its leading number ends: digits with at most one point.
fn split_number(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    text.split_at(end)
}

/// `digits` times `unit`, exactly where it can be; `None` for what is no number or too large.
fn scaled(digits: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    if whole.is_empty() || fraction.contains('.') || (digits.contains('.') && fraction.is_empty()) {
        return None;
    }
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    let kept = fraction.get(..fraction.len().min(9))?;
    let part = match kept {
        "" => 0,
        kept => {
            let ten = 10u128.checked_pow(u32::try_from(kept.len()).ok()?)?;
            u64::try_from(kept.parse::<u128>().ok()?.checked_mul(u128::from(unit))? / ten).ok()?
        }
    };
    whole.checked_add(part)
}
