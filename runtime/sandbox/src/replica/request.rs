//! What of a request a guest is given.

use http::header::{self, HeaderName};
use http::{HeaderMap, Request};

use crate::{Body, CallError};

/// Fields that are for one connection only, besides those that `connection` names
/// (RFC 9110, section 7.6.1).
const OF_CONNECTION: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// The request as a guest may have it.
pub(super) fn checked(mut request: Request<Body>) -> Result<Request<Body>, CallError> {
    let problem = |problem: &str| Err(CallError::Request { problem: problem.to_owned() });
    if request.uri().scheme().is_none() || request.uri().authority().is_none() {
        return problem("its URI is not absolute");
    }
    if request.method() == http::Method::CONNECT {
        return problem("it asks for a tunnel");
    }
    remove_of_connection(request.headers_mut());
    Ok(request)
}

fn remove_of_connection(headers: &mut HeaderMap) {
    if let Some(named) = headers.get(header::CONNECTION) {
        let named = named.to_str().unwrap_or_default().to_owned();
        for name in named.split(',') {
            if let Ok(name) = HeaderName::try_from(name.trim()) {
                headers.remove(name);
            }
        }
    }
    for name in OF_CONNECTION {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn request(uri: &str) -> http::request::Builder {
        Request::builder().uri(uri)
    }

    fn empty() -> Body {
        http_body_util::Empty::new().map_err(|never| match never {}).boxed_unsync()
    }

    #[test]
    fn fields_of_the_connection_stay_behind() {
        let request = request("http://a/")
            .header("connection", "x-mine, keep-alive")
            .header("x-mine", "1")
            .header("te", "trailers")
            .header("accept", "*/*");
        let left = checked(request.body(empty()).unwrap()).unwrap();
        assert_eq!(left.headers().keys().collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn a_request_without_a_host_is_refused() {
        let refused = checked(request("/path").body(empty()).unwrap());
        assert!(matches!(refused, Err(CallError::Request { .. })));
    }
}
