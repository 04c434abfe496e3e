//! Which service takes a request: a lookup that never changes and is made anew when routes
//! do.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use wrun_protocol::service::Route;

/// Routes to `T`. What takes a request goes in the order that [`Route`] says: a host before
/// none, an exact one before a wildcard (of those the longest), then the longest prefix.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    exact: HashMap<Box<str>, Prefixes<T>>,
    /// By what follows `*.`.
    wildcard: HashMap<Box<str>, Prefixes<T>>,
    any: Prefixes<T>,
}

#[derive(Debug)]
struct Prefixes<T> {
    of: HashMap<Box<str>, T>,
    /// Lengths that occur, the longest first: only those are looked up.
    lengths: Vec<usize>,
}

impl<T: Clone> Routes<T> {
    /// Of routes that are the same the first counts.
    pub(crate) fn new<'a>(routes: impl Iterator<Item = (&'a Route, T)>) -> Self {
        let mut made = Self::default();
        for (route, target) in routes {
            let prefixes = match route.host.as_deref().map(|host| (host, host.strip_prefix("*."))) {
                None => &mut made.any,
                Some((_, Some(parent))) => made.wildcard.entry(parent.into()).or_default(),
                Some((host, None)) => made.exact.entry(host.into()).or_default(),
            };
            prefixes.insert(&route.prefix, target);
        }
        made
    }

    /// What takes a request for this host (without a port; `None`: it named none) and path.
    /// The path is taken as it was sent: escapes and dots mean nothing here.
    pub(crate) fn find(&self, host: Option<&str>, path: &str) -> Option<&T> {
        let by_host = host.and_then(|host| self.find_host(host, path));
        by_host.or_else(|| self.any.find(path))
    }

    fn find_host(&self, host: &str, path: &str) -> Option<&T> {
        if self.exact.is_empty() && self.wildcard.is_empty() {
            return None;
        }
        let host = host.strip_suffix('.').unwrap_or(host);
        let host = match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            true => Cow::Owned(host.to_ascii_lowercase()),
            false => Cow::Borrowed(host),
        };
        let exact = self.exact.get(host.as_ref()).and_then(|prefixes| prefixes.find(path));
        exact.or_else(|| self.find_wildcard(&host, path))
    }

    fn find_wildcard(&self, host: &str, path: &str) -> Option<&T> {
        if self.wildcard.is_empty() {
            return None;
        }
        let mut parent = host;
        while let Some((_, rest)) = parent.split_once('.') {
            parent = rest;
            let found = self.wildcard.get(parent).and_then(|prefixes| prefixes.find(path));
            if found.is_some() {
                return found;
            }
        }
        None
    }
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new(), any: Prefixes::default() }
    }
}

impl<T> Prefixes<T> {
    fn insert(&mut self, prefix: &str, target: T) {
        self.of.entry(prefix.into()).or_insert(target);
        if let Err(at) =
            self.lengths.binary_search_by_key(&Reverse(prefix.len()), |it| Reverse(*it))
        {
            self.lengths.insert(at, prefix.len());
        }
    }

    fn find(&self, path: &str) -> Option<&T> {
        self.lengths.iter().find_map(|&length| {
            let ends = length == 1 || matches!(path.as_bytes().get(length), None | Some(b'/'));
            let prefix = path.get(..length).filter(|_| ends)?;
            self.of.get(prefix)
        })
    }
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { of: HashMap::new(), lengths: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn routes(texts: &[&str]) -> (Vec<Route>, Routes<usize>) {
        let parsed: Vec<Route> = texts.iter().map(|text| text.parse().unwrap()).collect();
        let made = Routes::new(parsed.iter().zip(0..));
        (parsed, made)
    }

    #[test]
    fn a_prefix_takes_whole_segments() {
        let (_, routes) = routes(&["/api", "/"]);
        for (path, index) in [("/api", 0), ("/api/", 0), ("/api/x", 0), ("/apix", 1), ("/", 1)] {
            assert_eq!(routes.find(None, path), Some(&index), "{path}");
        }
    }

    #[test]
    fn an_exact_host_goes_before_a_wildcard_and_that_before_any() {
        let texts = ["a.example", "*.example/x", "*.b.example", "/x/y", "/"];
        let (_, routes) = routes(&texts);
        let cases = [
            ("a.example", "/x/y", 0),
            ("A.EXAMPLE.", "/", 0),
            ("c.example", "/x/y", 1),
            ("c.example", "/z", 4),
            ("a.b.example", "/x", 2),
            ("b.example", "/x", 1),
            ("example", "/x/y", 3),
        ];
        for (host, path, index) in cases {
            assert_eq!(routes.find(Some(host), path), Some(&index), "{host}{path}");
        }
    }

    #[test]
    fn paths_are_taken_as_they_were_sent() {
        let (_, routes) = routes(&["/api/private", "/api"]);
        assert_eq!(routes.find(None, "/api/%70rivate"), Some(&1));
        assert_eq!(routes.find(None, "/api/private%2fx"), Some(&1));
        assert_eq!(routes.find(None, "/x/../api"), None);
        assert_eq!(routes.find(None, "//api"), None);
    }

    /// Whether a route takes a request, told by the words of its documentation.
    fn takes(route: &Route, host: &str, path: &str) -> bool {
        let host_fits = match route.host.as_deref() {
            None => true,
            Some(wanted) => match wanted.strip_prefix("*.") {
                Some(parent) => host.ends_with(&format!(".{parent}")),
                None => wanted == host,
            },
        };
        let prefix = &route.prefix;
        let below = || prefix == "/" || path.starts_with(&format!("{prefix}/"));
        host_fits && (path == prefix || below())
    }

    /// Best first.
    fn rank(route: &Route) -> (bool, bool, Reverse<usize>, Reverse<usize>) {
        let wildcard = route.host.as_deref().is_some_and(|host| host.starts_with("*."));
        let host = route.host.as_ref().map_or(0, String::len);
        (route.host.is_none(), wildcard, Reverse(host), Reverse(route.prefix.len()))
    }

    proptest! {
        #[test]
        fn the_lookup_finds_what_a_search_through_all_routes_finds(
            texts in proptest::collection::vec("((\\*\\.)?[ab](\\.[ab]){0,2})?(/[xy]){1,3}", 1..12),
            host in "[ab](\\.[ab]){0,3}",
            path in "(/[xyz]{1,2}){1,4}/?",
        ) {
            let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
            let (parsed, made) = routes(&texts);
            let fitting = parsed.iter().enumerate().filter(|(_, it)| takes(it, &host, &path));
            let best = fitting.min_by_key(|(_, route)| rank(route)).map(|(index, _)| index);
            prop_assert_eq!(made.find(Some(&host), &path).copied(), best);
        }
    }
}
