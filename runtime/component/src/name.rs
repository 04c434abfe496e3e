//! Names of interfaces with their versions, as imports and exports carry them.

/// A name such as `wasi:cli/run@0.2.6`, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InterfaceName<'a> {
    /// Everything before the version: `wasi:cli/run`.
    pub(crate) path: &'a str,
    /// Which versions it is compatible with.
    pub(crate) track: Track<'a>,
}

/// Versions that can stand for each other: releases of one minor version below 1.0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Track<'a> {
    /// A release 0.minor.patch, compatible with every other patch of it.
    Zero(u64),
    /// A pre-release, compatible with itself alone.
    Pre(&'a str),
    /// A version from 1.0 on, 0.0.x or none: only itself, and nodes give none of these.
    Other,
}

impl<'a> InterfaceName<'a> {
    pub(crate) fn parse(name: &'a str) -> Self {
        match name.split_once('@') {
            None => Self { path: name, track: Track::Other },
            Some((path, version)) => Self { path, track: Track::of(version) },
        }
    }
}

impl<'a> Track<'a> {
    pub(crate) fn of(version: &'a str) -> Self {
        if version.starts_with("0.") && version.contains('-') {
            return Self::Pre(version);
        }
        let release = version.split_once('+').map_or(version, |(release, _)| release);
        let mut parts = release.split('.');
        let numbers = (parts.next(), parts.next(), parts.next(), parts.next());
        let (Some("0"), Some(minor), Some(patch), None) = numbers else {
            return Self::Other;
        };
        match (minor.parse(), patch.parse::<u64>()) {
            (Ok(minor), Ok(_)) if minor > 0 => Self::Zero(minor),
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_of_one_minor_version_share_a_track() {
        for name in ["a:b/c@0.2.0", "a:b/c@0.2.12", "a:b/c@0.2.3+build"] {
            let parsed = InterfaceName { path: "a:b/c", track: Track::Zero(2) };
            assert_eq!(InterfaceName::parse(name), parsed);
        }
    }

    #[test]
    fn pre_releases_and_everything_unusual_stand_alone() {
        assert_eq!(Track::of("0.3.0-rc-2025-09-16"), Track::Pre("0.3.0-rc-2025-09-16"));
        for version in ["1.0.0-rc-1", "1.2.3", "0.0.4", "0.2", "0.2.1.1", "", "0.x.1"] {
            assert_eq!(Track::of(version), Track::Other, "{version}");
        }
        assert_eq!(InterfaceName::parse("env").track, Track::Other);
    }
}
