//! `NAME=AMOUNT` or `NAME`, for resources and pools by name.

use std::str::FromStr;

use super::BadValue;

/// An amount of something with a name; 1 where none is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) name: String,
    pub(crate) amount: u64,
}

impl Amount {
    /// The amount as slots of a pool, as many as there can be where it is larger.
    pub(crate) fn slots(&self) -> u32 {
        u32::try_from(self.amount).unwrap_or(u32::MAX)
    }
}

impl FromStr for Amount {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (name, amount) = text.split_once('=').unwrap_or((text, "1"));
        match amount.trim().parse() {
            Ok(amount) if amount > 0 && !name.is_empty() => {
                Ok(Self { name: name.to_owned(), amount })
            }
            _ => Err(BadValue(format!(
                "`{text}`: write NAME or NAME=AMOUNT, a whole number above zero"
            ))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_one_unless_written() {
        let parse = |text: &str| text.parse::<Amount>().map(|a| (a.name, a.amount));
        assert_eq!(parse("fpga"), Ok(("fpga".into(), 1)));
        assert_eq!(parse("fpga=3"), Ok(("fpga".into(), 3)));
        for text in ["", "=3", "fpga=", "fpga=0", "fpga=-1", "fpga=x"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
