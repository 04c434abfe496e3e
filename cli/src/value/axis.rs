//! `TENSOR=AXIS`: by which axis of a tensor the items of a batch are told apart.

use std::str::FromStr;

use super::BadValue;

/// A tensor by its name, and one of its axes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    pub(crate) tensor: String,
    pub(crate) axis: u32,
}

impl FromStr for Axis {
    type Err = BadValue;

    /// Names of tensors may hold a `=`: the last one splits.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let parts = text.rsplit_once('=').filter(|(tensor, _)| !tensor.is_empty());
        let parsed = parts.and_then(|(tensor, axis)| Some((tensor, axis.parse().ok()?)));
        match parsed {
            Some((tensor, axis)) => Ok(Self { tensor: tensor.to_owned(), axis }),
            None => Err(BadValue(format!("`{text}`: write TENSOR=AXIS, like input=0"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_equals_sign_splits() {
        let axis: Axis = "a=b=1".parse().unwrap();
        assert_eq!((axis.tensor.as_str(), axis.axis), ("a=b", 1));
        for text in ["", "a", "=1", "a=", "a=-1", "a=x"] {
            assert!(text.parse::<Axis>().is_err(), "{text}");
        }
    }
}
