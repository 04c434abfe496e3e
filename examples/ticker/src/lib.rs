//! Server-sent events: counts, one number at a time, for as long as somebody listens.
//!
//! ```text
//! wrun deploy ticker.wasm --name ticker --route /ticker
//! curl -N 'http://GATEWAY/ticker?ms=250'
//! ```

use std::time::Duration;

use wrun_sdk::http::{Error, Event, Request, Response, StatusCode, events, sleep};

#[wrun_sdk::http]
async fn ticker(request: Request) -> Result<Response, Error> {
    let pause = pause(request.uri().query())?;
    Ok(events(async move |mut events| {
        for number in 1_u64.. {
            let event = Event { id: Some(number.to_string()), ..Event::new(number.to_string()) };
            events.send(&event).await?;
            sleep(pause).await;
        }
        Ok(())
    }))
}

/// Between two numbers: `ms=` of the query, else a second.
fn pause(query: Option<&str>) -> Result<Duration, Error> {
    let Some(ms) = query.and_then(|query| query.strip_prefix("ms=")) else {
        return Ok(Duration::from_secs(1));
    };
    match ms.parse() {
        Ok(ms @ 1..) => Ok(Duration::from_millis(ms)),
        _ => Err(Error::new(StatusCode::BAD_REQUEST, "give `ms` as a number above 0")),
    }
}

#[cfg(test)]
mod tests {
    use wrun_sdk::http::testing;

    use super::*;

    #[test]
    fn numbers_come_one_by_one() {
        let request = wrun_sdk::http::request().uri("/ticker?ms=5").body(().into()).unwrap();
        let mut body = testing::block_on(ticker(request)).unwrap().into_body();
        let first = testing::block_on(body.chunk()).unwrap().unwrap();
        assert_eq!(first, "id: 1\ndata: 1\n\n");
    }

    #[test]
    fn a_pause_is_a_number() {
        assert_eq!(pause(None).unwrap(), Duration::from_secs(1));
        assert_eq!(pause(Some("ms=0")).unwrap_err().status(), 400);
    }
}
