//! Routes: which requests go to a service.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Requests for a host whose path begins with a prefix, segment by segment: `/api` takes
/// `/api` and `/api/x`, and not `/apix`. Of several that take a request, the one with a host
/// goes before those without, an exact host before a wildcard, then the longest prefix.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// In lower case and without a port; `*.example.com` takes every host one or more labels
    /// below. `None` takes any.
    pub host: Option<String>,
    /// Begins with `/`; has no `/` at its end but for `/` itself.
    pub prefix: String,
}

/// The text is not a route.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a route: {problem}; write `/prefix`, `host` or `host/prefix`")]
pub struct ParseRouteError {
    text: String,
    problem: &'static str,
}

/// Longest host name (RFC 1035, 2.3.4).
const MAX_HOST: usize = 253;

/// Longest prefix.
const MAX_PREFIX: usize = 1024;

impl Route {
    /// Checks a route that came over the wire; says what is wrong.
    pub fn check(&self) -> Result<(), ParseRouteError> {
        let parsed: Self = self.to_string().parse()?;
        let problem = "it is not in its plain form";
        if parsed == *self {
            Ok(())
        } else {
            Err(ParseRouteError { text: self.to_string(), problem })
        }
    }
}

impl FromStr for Route {
    type Err = ParseRouteError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |problem| ParseRouteError { text: text.to_owned(), problem };
        let (host, path) = text.find('/').map_or((text, "/"), |at| text.split_at(at));
        if !host.is_empty() {
            check_host(host).map_err(refused)?;
        }
        check_prefix(path).map_err(refused)?;
        let prefix = match path.trim_end_matches('/') {
            "" => "/",
            prefix => prefix,
        };
        let host = (!host.is_empty()).then(|| host.to_ascii_lowercase());
        if host.is_none() && text.is_empty() {
            return Err(refused("it is empty"));
        }
        Ok(Self { host, prefix: prefix.to_owned() })
    }
}

fn check_host(host: &str) -> Result<(), &'static str> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let label = |label: &str| {
        let bytes = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let edge = label.starts_with('-') || label.ends_with('-');
        bytes && !edge && (1..=63).contains(&label.len())
    };
    if name.len() <= MAX_HOST && name.split('.').all(label) {
        return Ok(());
    }
    Err("its host is not a host name, without a port, or `*.` and one")
}

fn check_prefix(path: &str) -> Result<(), &'static str> {
    if path.len() > MAX_PREFIX {
        return Err("its path is too long");
    }
    // What a path may hold (RFC 3986, 3.3), without escapes: they have more than one form.
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(&byte);
    if !path.bytes().all(allowed) {
        return Err("its path holds a character that a path cannot have here");
    }
    let inner = path.trim_end_matches('/');
    let plain = inner.split('/').skip(1).all(|part| !matches!(part, "" | "." | ".."));
    if plain { Ok(()) } else { Err("its path has an empty part, `.` or `..`") }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.prefix.as_str()) {
            (Some(host), "/") => f.write_str(host),
            (Some(host), prefix) => write!(f, "{host}{prefix}"),
            (None, prefix) => f.write_str(prefix),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(text: &str) -> Route {
        text.parse().unwrap()
    }

    #[test]
    fn a_route_is_a_host_a_prefix_or_both() {
        assert_eq!(route("/api/"), Route { host: None, prefix: "/api".to_owned() });
        let host = Some("shop.example".to_owned());
        assert_eq!(route("Shop.example"), Route { host: host.clone(), prefix: "/".to_owned() });
        assert_eq!(route("shop.example/a/b"), Route { host, prefix: "/a/b".to_owned() });
        for text in ["/", "/api", "shop.example", "*.shop.example/x"] {
            assert_eq!(route(text).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_route_is_refused_with_what_one_is() {
        let cases = ["", "a b", "host:80/x", "-a.b", "a..b", "/a//b", "/a/../b", "/%41", "/ü", "*"];
        for text in cases {
            let error = text.parse::<Route>().unwrap_err().to_string();
            assert!(error.contains("write `/prefix`"), "{text}: {error}");
        }
        let not_plain = Route { host: Some("A".to_owned()), prefix: "/".to_owned() };
        assert!(not_plain.check().is_err());
    }
}
