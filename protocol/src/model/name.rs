//! Names and tags of models, and how people write both together.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::TenantName;
use crate::limits::MAX_MODEL_NAME;

/// The name of a model, unique within its tenant: 1 to [`MAX_MODEL_NAME`] letters, digits, `-`,
/// `_` and `.`, beginning with a letter or digit, as names of schedules are. Copies share the
/// text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelName(Arc<str>);

/// What tells versions of a model apart, spelled as its name is; `latest` where none is given.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ModelTag(Arc<str>);

/// A model of the cluster, with all its tags.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelId {
    /// Whose it is.
    pub tenant: TenantName,
    /// Unique among its tenant's.
    pub name: ModelName,
}

/// A tag of a model, as a user names it: `[TENANT/]NAME[:TAG]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Whose; `None`: the caller's own.
    pub tenant: Option<TenantName>,
    /// The model.
    pub name: ModelName,
    /// Which of its tags.
    pub tag: ModelTag,
}

/// The text names no model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is not a model's {what}: use 1 to {MAX_MODEL_NAME} letters, digits, `-`, `_` and `.`, beginning with a letter or digit"
)]
pub struct ParseModelError {
    /// As it was written.
    text: String,
    /// `name` or `tag`.
    what: &'static str,
}

impl ModelName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl ModelTag {
    /// The tag as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for ModelTag {
    fn default() -> Self {
        Self(Arc::from("latest"))
    }
}

impl ModelRef {
    /// Which model is meant by a user of `caller`.
    pub fn id(&self, caller: &TenantName) -> ModelId {
        let tenant = self.tenant.clone().unwrap_or_else(|| caller.clone());
        ModelId { tenant, name: self.name.clone() }
    }
}

fn is_word(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    text.len() <= MAX_MODEL_NAME
        && text.bytes().all(allowed)
        && text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric())
}

/// What is one word of that alphabet.
macro_rules! word {
    ($type:ident, $what:literal) => {
        impl TryFrom<String> for $type {
            type Error = ParseModelError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                if is_word(&text) {
                    return Ok(Self(text.into()));
                }
                Err(ParseModelError { text, what: $what })
            }
        }

        impl FromStr for $type {
            type Err = ParseModelError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.to_owned().try_into()
            }
        }

        impl From<$type> for String {
            fn from(word: $type) -> Self {
                word.0.as_ref().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

word!(ModelName, "name");
word!(ModelTag, "tag");

impl FromStr for ModelRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (tenant, rest) = match text.split_once('/') {
            Some((tenant, rest)) => {
                let tenant = tenant.parse::<TenantName>();
                (Some(tenant.map_err(|error| error.to_string())?), rest)
            }
            None => (None, text),
        };
        let (name, tag) = match rest.split_once(':') {
            Some((name, tag)) => {
                (name, tag.parse().map_err(|error: ParseModelError| error.to_string())?)
            }
            None => (rest, ModelTag::default()),
        };
        let name = name.parse().map_err(|error: ParseModelError| error.to_string())?;
        Ok(Self { tenant, name, tag })
    }
}

impl fmt::Display for ModelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.name)
    }
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(tenant) = &self.tenant {
            write!(f, "{tenant}/")?;
        }
        write!(f, "{}:{}", self.name, self.tag)
    }
}
