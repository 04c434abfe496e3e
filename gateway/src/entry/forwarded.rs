//! What a request says of where it came from.

use http::HeaderMap;
use http::header::{self, HeaderName, HeaderValue};

use super::Client;

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Said by proxies besides those that are set here.
const OTHERS: [HeaderName; 3] = [
    header::FORWARDED,
    HeaderName::from_static("x-forwarded-port"),
    HeaderName::from_static("x-real-ip"),
];

/// Says where the request came from. What a client says itself is kept if it is a proxy that
/// is trusted, else replaced.
pub(super) fn set(fields: &mut HeaderMap, client: &Client, host: Option<HeaderValue>) {
    if !client.is_trusted {
        OTHERS.iter().for_each(|name| drop(fields.remove(name)));
        fields.insert(FOR, client.value.clone());
        fields.insert(PROTO, proto(client));
        match host {
            Some(host) => drop(fields.insert(HOST, host)),
            None => drop(fields.remove(HOST)),
        }
        return;
    }
    let before = fields.get_all(FOR).iter().map(HeaderValue::as_bytes);
    let all: Vec<&[u8]> = before.chain([client.value.as_bytes()]).collect();
    let all = HeaderValue::from_bytes(&all.join(&b", "[..]));
    fields.insert(FOR, all.unwrap_or_else(|_| client.value.clone()));
    if !fields.contains_key(PROTO) {
        fields.insert(PROTO, proto(client));
    }
    if let Some(host) = host.filter(|_| !fields.contains_key(HOST)) {
        fields.insert(HOST, host);
    }
}

fn proto(client: &Client) -> HeaderValue {
    HeaderValue::from_static(if client.is_tls { "https" } else { "http" })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(is_trusted: bool) -> HeaderMap {
        let client = Client {
            address: ([192, 0, 2, 7], 1).into(),
            value: HeaderValue::from_static("192.0.2.7"),
            local: ([192, 0, 2, 1], 80).into(),
            is_tls: true,
            is_trusted,
        };
        let mut fields = HeaderMap::new();
        fields.append(FOR, HeaderValue::from_static("10.1.1.1"));
        fields.append(FOR, HeaderValue::from_static("10.2.2.2"));
        fields.append(PROTO, HeaderValue::from_static("http"));
        fields.append("forwarded", HeaderValue::from_static("for=10.1.1.1"));
        fields.append("x-real-ip", HeaderValue::from_static("10.1.1.1"));
        set(&mut fields, &client, Some(HeaderValue::from_static("shop.example")));
        fields
    }

    #[test]
    fn what_a_client_says_of_itself_is_replaced() {
        let fields = told(false);
        assert_eq!(fields[FOR], "192.0.2.7");
        assert_eq!(fields[PROTO], "https");
        assert_eq!(fields[HOST], "shop.example");
        assert!(!fields.contains_key("forwarded") && !fields.contains_key("x-real-ip"));
        assert_eq!(fields.len(), 3);
    }

    #[test]
    fn what_a_trusted_proxy_says_is_kept_and_the_proxy_added() {
        let fields = told(true);
        assert_eq!(fields[FOR], "10.1.1.1, 10.2.2.2, 192.0.2.7");
        assert_eq!(fields[PROTO], "http");
        assert_eq!(fields[HOST], "shop.example");
        assert_eq!(fields["forwarded"], "for=10.1.1.1");
    }
}
