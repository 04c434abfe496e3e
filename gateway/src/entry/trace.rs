//! W3C Trace Context (recommendation of 23 November 2021). A gateway takes no part in a
//! trace: it passes on what is well formed as it is. What is not well formed may not be
//! passed on (3.2.2.3, 4.3): it is dropped, and the service begins a trace of its own. Making
//! one up here would name a parent that nobody has recorded.

use http::HeaderMap;
use http::header::HeaderName;

const PARENT: HeaderName = HeaderName::from_static("traceparent");
const STATE: HeaderName = HeaderName::from_static("tracestate");

/// Drops the trace context if it is malformed.
pub(super) fn check(fields: &mut HeaderMap) {
    let mut parents = fields.get_all(PARENT).iter();
    let parent = parents.next();
    let is_one = parents.next().is_none();
    if !is_one || !parent.is_some_and(|parent| is_parent(parent.as_bytes())) {
        fields.remove(PARENT);
        fields.remove(STATE);
    }
}

/// `version-trace_id-parent_id-flags`, in lower-case hexadecimal digits; a later version may
/// have more behind it.
fn is_parent(text: &[u8]) -> bool {
    let part = |from: usize, to: usize| text.get(from..to).unwrap_or_default();
    let hex = |part: &[u8], length: usize| {
        part.len() == length && part.iter().all(|it| matches!(it, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |part: &[u8]| part.iter().any(|digit| *digit != b'0');
    let dashes = [2, 35, 52].iter().all(|at| text.get(*at) == Some(&b'-'));
    let (version, trace, parent) = (part(0, 2), part(3, 35), part(36, 52));
    let ids = hex(trace, 32) && some(trace) && hex(parent, 16) && some(parent);
    let end = match version {
        b"00" => text.len() == 55,
        b"ff" => false,
        _ => text.len() == 55 || text.get(55) == Some(&b'-'),
    };
    hex(version, 2) && dashes && ids && hex(part(53, 55), 2) && end
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_well_formed_passes_and_nothing_else() {
        assert!(is_parent(GOOD.as_bytes()));
        let later = GOOD.replacen("00", "01", 1);
        assert!(is_parent(later.as_bytes()) && is_parent(format!("{later}-more").as_bytes()));
        let bad = [
            String::new(),
            format!("{GOOD}-more"),
            format!("{later}more"),
            GOOD.to_uppercase(),
            GOOD.replacen("00", "ff", 1),
            GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            GOOD.replace("00f067aa0ba902b7", &"0".repeat(16)),
            GOOD.replace('-', "_"),
            GOOD[..54].to_owned(),
        ];
        bad.iter().for_each(|bad| assert!(!is_parent(bad.as_bytes()), "{bad}"));
    }

    #[test]
    fn a_state_goes_with_its_parent() {
        let with = |parents: &[&str]| {
            let mut fields = HeaderMap::new();
            fields.insert(STATE, HeaderValue::from_static("a=1"));
            for parent in parents {
                fields.append(PARENT, HeaderValue::from_str(parent).unwrap());
            }
            check(&mut fields);
            fields.len()
        };
        assert_eq!(with(&[GOOD]), 2);
        assert_eq!((with(&[]), with(&["x"]), with(&[GOOD, GOOD])), (0, 0, 0));
    }
}
