//! Things that are written as one text, on the command line and in job files: where
//! files come from, which hosts may be reached, which failures run again.

use std::borrow::Cow;
use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{self, Deserialize, Deserializer};
use wrun_protocol::TenantName;
use wrun_protocol::job::{HostGrant, RetryOn};
use wrun_protocol::model::{ModelRef, is_guest_name};
use wrun_protocol::scheduling::{Dependency, DependsOn};
use wrun_protocol::service::Route;

use crate::value::BadValue;

/// A file or folder here, and where the guest sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MountSource {
    /// The path on this machine.
    pub(crate) host: PathBuf,
    /// An absolute path in the guest; not checked yet.
    pub(crate) guest: String,
}

impl MountSource {
    /// The same, with a relative path seen from `folder`.
    pub(crate) fn under(&self, folder: &Path) -> Self {
        Self { host: folder.join(&self.host), guest: self.guest.clone() }
    }
}

impl FromStr for MountSource {
    type Err = BadValue;

    /// The last `:` that a `/` follows splits; so a host path may hold other colons.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused = |why: &str| BadValue(format!("`{text}`: {why}; write HOST or HOST:/GUEST"));
        if let Some(at) = text.rfind(":/") {
            let (host, guest) = text.split_at(at);
            let guest = guest.get(1..).unwrap_or_default();
            let guest = if guest.len() > 1 { guest.trim_end_matches('/') } else { guest };
            if host.is_empty() {
                return Err(refused("the path on this machine is empty"));
            }
            return Ok(Self { host: host.into(), guest: guest.to_owned() });
        }
        let host = Path::new(text);
        if text.contains(':') && !host.exists() {
            return Err(refused("the path in the guest is not absolute"));
        }
        let name = host.file_name().and_then(|name| name.to_str());
        match name {
            Some(name) => Ok(Self { host: host.to_owned(), guest: format!("/{name}") }),
            None => Err(refused("it has no file name that could be its path in the guest")),
        }
    }
}

/// `--input`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum InputSource {
    /// `-`
    Stdin,
    /// A file.
    File(PathBuf),
}

impl FromStr for InputSource {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(if text == "-" { Self::Stdin } else { Self::File(text.into()) })
    }
}

/// `HOST` or `HOST:PORT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostSource(pub(crate) HostGrant);

impl FromStr for HostSource {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let refused =
            || BadValue(format!("`{text}`: write HOST or HOST:PORT, an IPv6 address in brackets"));
        let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((host, "")) => (host, None),
            Some((host, rest)) => (host, Some(rest.strip_prefix(':').ok_or_else(refused)?)),
            None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
        };
        let port = port.map(|port| port.parse().map_err(|_| refused())).transpose()?;
        if host.is_empty() || host.contains(['/', '[', ']', ' ']) || port == Some(0) {
            return Err(refused());
        }
        Ok(Self(HostGrant { host: host.to_owned(), port }))
    }
}

/// A kind of failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RetryOnSource(pub(crate) RetryOn);

impl FromStr for RetryOnSource {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let exit = text.strip_prefix("exit:").map(str::parse);
        Ok(Self(match (text, exit) {
            (_, Some(Ok(code))) => RetryOn::Exit(code),
            ("trap", _) => RetryOn::Trap,
            ("handler", _) => RetryOn::Handler,
            ("limit", _) => RetryOn::Limit,
            ("setup", _) => RetryOn::Setup,
            _ => {
                let write = "write exit:CODE, trap, handler, limit or setup";
                return Err(BadValue(format!("`{text}`: {write}")));
            }
        }))
    }
}

/// A job to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DependencySource(pub(crate) Dependency);

impl FromStr for DependencySource {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (on, id) = text.split_once(':').unwrap_or(("success", text));
        let on = match on {
            "start" => DependsOn::Start,
            "success" => DependsOn::Success,
            "failure" => DependsOn::Failure,
            "end" => DependsOn::End,
            "each-success" => DependsOn::EachSuccess,
            _ => {
                return Err(BadValue(format!(
                    "`{text}`: write a job's id, or start:ID, success:ID, failure:ID, end:ID or each-success:ID"
                )));
            }
        };
        let job = id.parse().map_err(|error| BadValue(format!("`{text}`: {error}")))?;
        Ok(Self(Dependency { job, on }))
    }
}

/// `HOST`, `/PREFIX` or `HOST/PREFIX`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RouteSource(pub(crate) Route);

impl FromStr for RouteSource {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.parse::<Route>().map(Self).map_err(|error| BadValue(error.to_string()))
    }
}

/// A tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CallerSource(pub(crate) TenantName);

impl FromStr for CallerSource {
    type Err = BadValue;

    fn from_str(text: &str) -> Result<Self, BadValue> {
        text.parse::<TenantName>().map(Self).map_err(|error| BadValue(error.to_string()))
    }
}

/// `[GUESTNAME=][TENANT/]NAME[:TAG]`: a model, and what the guest calls it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ModelSource {
    /// What the guest says to load it; the model's own name unless said.
    pub(crate) name: String,
    /// Which.
    pub(crate) model: ModelRef,
}

impl FromStr for ModelSource {
    type Err = BadValue;

    /// A guest may call a model anything: the last `=` splits, which no reference holds.
    fn from_str(text: &str) -> Result<Self, BadValue> {
        let (name, of) = match text.rsplit_once('=') {
            Some((name, of)) => (Some(name), of),
            None => (None, text),
        };
        let model: ModelRef = of.parse().map_err(|error| BadValue(format!("`{text}`: {error}")))?;
        let name = name.map_or_else(|| model.name.to_string(), str::to_owned);
        if !is_guest_name(&name) {
            let write = "write [GUESTNAME=]MODEL, a name of 1 to 128 bytes";
            return Err(BadValue(format!("`{text}`: {write}")));
        }
        Ok(Self { name, model })
    }
}

/// Deserialisation and schema of what is one text.
macro_rules! one_text {
    ($type:ty, $name:literal, $description:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({"type": "string", "description": $description})
            }
        }
    };
}

one_text!(MountSource, "Mount", "HOST:/GUEST, or HOST for /NAME of its last part");
one_text!(HostSource, "Host", "HOST or HOST:PORT, an IPv6 address in brackets");
one_text!(
    DependencySource,
    "Dependency",
    "a job's id, or start:ID, success:ID, failure:ID, end:ID or each-success:ID"
);
one_text!(RouteSource, "Route", "HOST, /PREFIX or HOST/PREFIX");
one_text!(ModelSource, "ModelGrant", "[GUESTNAME=][TENANT/]NAME[:TAG]");
one_text!(CallerSource, "Caller", "the name of a tenant");
one_text!(RetryOnSource, "RetryOn", "exit:CODE, trap, handler, limit or setup");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_splits_at_the_last_colon_before_a_slash() {
        for (text, host, guest) in [
            ("data", "data", "/data"),
            ("a/b/words.txt", "a/b/words.txt", "/words.txt"),
            ("data:/in", "data", "/in"),
            ("data/:/in/", "data/", "/in"),
            ("c:/x:/y/z", "c:/x", "/y/z"),
        ] {
            let mount: MountSource = text.parse().unwrap();
            assert_eq!((mount.host.to_str().unwrap(), mount.guest.as_str()), (host, guest));
        }
        for text in ["", ":/x", "a:b", "..", "/"] {
            assert!(text.parse::<MountSource>().is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_may_have_a_port() {
        let grant = |text: &str| text.parse::<HostSource>().map(|host| (host.0.host, host.0.port));
        assert_eq!(grant("a.org"), Ok(("a.org".into(), None)));
        assert_eq!(grant("a.org:443"), Ok(("a.org".into(), Some(443))));
        assert_eq!(grant("[::1]:80"), Ok(("::1".into(), Some(80))));
        for text in ["", ":80", "a:x", "a:0", "a:99999", "http://a", "[::1]80"] {
            assert!(grant(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_dependency_is_on_success_unless_it_says_otherwise() {
        let parse = |text: &str| text.parse::<DependencySource>().map(|source| source.0);
        let job = wrun_protocol::JobId(7);
        assert_eq!(parse("7"), Ok(Dependency { job, on: DependsOn::Success }));
        assert_eq!(parse("each-success:7"), Ok(Dependency { job, on: DependsOn::EachSuccess }));
        for text in ["", "x", "0", "later:7", "end:"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_model_is_called_by_its_name_unless_the_guest_calls_it_otherwise() {
        let parse = |text: &str| {
            let source = text.parse::<ModelSource>()?;
            Ok::<_, BadValue>((source.name, source.model.to_string()))
        };
        let of = |name: &str, model: &str| Ok((name.to_owned(), model.to_owned()));
        assert_eq!(parse("magika"), of("magika", "magika:latest"));
        assert_eq!(parse("lab/magika:v2"), of("magika", "lab/magika:v2"));
        assert_eq!(parse("a=b c=lab/x"), of("a=b c", "lab/x:latest"));
        for text in ["", "=magika", "a=", "a=b/c/d", "a:b:c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn failures_have_names() {
        assert_eq!("exit:75".parse(), Ok(RetryOnSource(RetryOn::Exit(75))));
        assert!("exit:x".parse::<RetryOnSource>().is_err());
        assert!("crash".parse::<RetryOnSource>().is_err());
    }
}
