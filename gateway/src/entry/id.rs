//! The id of a request, which its answer, its line in the access log and the guest have in
//! common.

use std::fmt::Write as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::HeaderValue;

use super::REQUEST_ID;

/// Longest id that a client may give.
const LONGEST: usize = 128;

/// The id that the client gave, where it can be one; a new one else.
pub(super) fn of(fields: &mut HeaderMap) -> HeaderValue {
    let mut given = fields.get_all(REQUEST_ID).iter();
    match (given.next(), given.next()) {
        (Some(id), None) if is_sane(id.as_bytes()) => id.clone(),
        _ => new(),
    }
}

/// What can stand in a log and a header without being anything else there.
fn is_sane(id: &[u8]) -> bool {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=@~".contains(byte);
    (1..=LONGEST).contains(&id.len()) && id.iter().all(plain)
}

/// Unique, not secret: a number that this process drew, and how many it has given.
fn new() -> HeaderValue {
    static DRAWN: LazyLock<u64> = LazyLock::new(|| fastrand::u64(..));
    static GIVEN: AtomicU64 = AtomicU64::new(0);
    let mut text = String::with_capacity(32);
    let given = GIVEN.fetch_add(1, Ordering::Relaxed);
    let written = write!(text, "{:016x}{given:016x}", *DRAWN);
    let value = written.ok().and_then(|()| HeaderValue::try_from(text).ok());
    value.unwrap_or_else(|| HeaderValue::from_static("unknown"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_if_it_is_sane_and_made_if_not() {
        let given = |ids: &[&str]| {
            let mut fields = HeaderMap::new();
            ids.iter().for_each(|id| {
                fields.append(REQUEST_ID, id.parse().unwrap());
            });
            of(&mut fields)
        };
        assert_eq!(given(&["Root=1-67891233/a:b"]), "Root=1-67891233/a:b");
        let long = "a".repeat(LONGEST + 1);
        for ids in [&[][..], &["two words"], &["a\"b"], &[long.as_str()], &[""], &["a", "b"]] {
            let made = given(ids);
            assert_eq!(made.len(), 32, "{ids:?}");
            assert_ne!(made, given(ids));
        }
    }
}
