//! Fields that are for one connection only, and go no further (RFC 9110, 7.6.1).

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

const FOR_ONE: [HeaderName; 9] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    KEEP_ALIVE,
    PROXY_CONNECTION,
    HTTP2_SETTINGS,
    header::PROXY_AUTHORIZATION,
    header::PROXY_AUTHENTICATE,
];

/// Takes out what is for one connection only, and what `Connection` names besides.
pub(crate) fn strip(fields: &mut HeaderMap) {
    if let header::Entry::Occupied(connection) = fields.entry(header::CONNECTION) {
        let (_, values) = connection.remove_entry_mult();
        let named: Vec<HeaderName> = values.flat_map(|value| names(&value)).collect();
        named.iter().filter(|name| may_name(name)).for_each(|name| {
            fields.remove(name);
        });
    }
    for name in &FOR_ONE {
        fields.remove(name);
    }
}

fn names(value: &HeaderValue) -> Vec<HeaderName> {
    let tokens = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
    tokens.filter_map(|token| HeaderName::from_bytes(token).ok()).collect()
}

/// `Connection` is a client's to write: it must not take out what the gateway relies on.
fn may_name(name: &HeaderName) -> bool {
    ![header::HOST, header::CONTENT_LENGTH].contains(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_one_connection_goes_no_further() {
        let mut fields = HeaderMap::new();
        let sent = [
            ("connection", "close, X-Own"),
            ("connection", "content-length"),
            ("x-own", "1"),
            ("x-other", "1"),
            ("te", "trailers"),
            ("keep-alive", "timeout=5"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAA"),
            ("proxy-authorization", "Basic eA=="),
            ("content-length", "3"),
        ];
        for (name, value) in sent {
            fields.append(name, HeaderValue::from_static(value));
        }
        strip(&mut fields);
        let mut left: Vec<&str> = fields.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["content-length", "x-other"]);
    }
}
