//! What a request is for: one host and one path, or it is refused. Whatever two readers could
//! understand in two ways is refused, since one of them may stand before this gateway.

use http::header::{self, HeaderValue};
use http::request::Parts;
use http::uri::{self, Authority, PathAndQuery, Scheme, Uri};
use http::{Method, Version};

use super::Client;
use super::refusal::Refusal;

/// The absolute URI of a request; its scheme is that of the connection.
pub(super) fn of(parts: &Parts, client: &Client) -> Result<Uri, Refusal> {
    if parts.method == Method::CONNECT {
        return Err(Refusal::Method);
    }
    let scheme = match parts.uri.scheme_str() {
        None | Some("http" | "https") if client.is_tls => Scheme::HTTPS,
        None | Some("http" | "https") => Scheme::HTTP,
        Some(_) => return Err(Refusal::Malformed("its scheme is neither http nor https")),
    };
    let authority = authority(parts, client)?;
    let path = match parts.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.clone(),
        None if parts.uri.authority().is_some() => PathAndQuery::from_static("/"),
        _ => return Err(Refusal::Malformed("its target is no path")),
    };
    let mut built = uri::Parts::default();
    built.scheme = Some(scheme);
    built.authority = Some(authority);
    built.path_and_query = Some(path);
    Uri::from_parts(built).map_err(|_| Refusal::Malformed("its target is no URI"))
}

/// The host of a URI, as a field's value.
pub(super) fn host_of(uri: &Uri) -> Option<HeaderValue> {
    HeaderValue::from_str(uri.authority()?.as_str()).ok()
}

fn authority(parts: &Parts, client: &Client) -> Result<Authority, Refusal> {
    let mut hosts = parts.headers.get_all(header::HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err(Refusal::Malformed("it names its host more than once"));
    }
    let authority = match (parts.uri.authority(), host) {
        (Some(target), Some(host)) => {
            if !host.as_bytes().eq_ignore_ascii_case(target.as_str().as_bytes()) {
                return Err(Refusal::Malformed("its target and its `Host` differ"));
            }
            target.clone()
        }
        (Some(target), None) if parts.version >= Version::HTTP_2 => target.clone(),
        (None, Some(host)) => Authority::try_from(host.as_bytes())
            .map_err(|_| Refusal::Malformed("its `Host` is no host"))?,
        (_, None) if parts.version < Version::HTTP_11 => {
            Authority::try_from(client.local.to_string())
                .map_err(|_| Refusal::Malformed("it names no host"))?
        }
        (_, None) => return Err(Refusal::Malformed("it names no host")),
    };
    if authority.host().is_empty() || authority.as_str().contains('@') {
        return Err(Refusal::Malformed("its host is no host"));
    }
    Ok(authority)
}
