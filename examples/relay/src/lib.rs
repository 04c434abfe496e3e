//! A proxy: sends what it is sent to the host that `UPSTREAM` names, and the answer back.
//! Neither body is ever held as a whole.
//!
//! ```text
//! wrun deploy relay.wasm --name relay --route /relay \
//!     --env UPSTREAM=http://shop.wrun.internal --allow-host shop.wrun.internal
//! curl http://GATEWAY/relay/shop/items
//! ```

use wrun_sdk::http::{Error, Request, Response, StatusCode, Uri, header, send};

/// The path below which this service is reached.
const HERE: &str = "/relay";

#[wrun_sdk::http]
async fn relay(mut request: Request) -> Result<Response, Error> {
    let upstream = std::env::var("UPSTREAM").map_err(|_| unset())?;
    *request.uri_mut() = target(request.uri(), &upstream)?;
    // It names the host of this service.
    request.headers_mut().remove(header::HOST);
    Ok(send(request).await?)
}

fn target(uri: &Uri, upstream: &str) -> Result<Uri, Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let path = path.strip_prefix(HERE).unwrap_or(path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{}{slash}{path}", upstream.trim_end_matches('/')).parse()?)
}

fn unset() -> Error {
    Error::new(StatusCode::INTERNAL_SERVER_ERROR, "UPSTREAM is not set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_below_the_route_is_kept_with_its_query() {
        let target = |uri: &str| target(&uri.parse().unwrap(), "http://a.example/").unwrap();
        assert_eq!(target("/relay/x/y?z=1"), "http://a.example/x/y?z=1");
        assert_eq!(target("/relay"), "http://a.example/");
    }
}
