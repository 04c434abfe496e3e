//! Server-sent events, as the HTML standard has them (section 9.2, "Server-sent events").

use std::fmt::Write;
use std::future::Future;
use std::time::Duration;

use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};

use super::{Body, BodyError, BodyWriter, Response};

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// What it says; may have several lines.
    pub data: String,
    /// Its type; `None`: `message`.
    pub name: Option<String>,
    /// What the client says it has seen last, when it comes back (`Last-Event-ID`).
    pub id: Option<String>,
    /// How long the client is to wait before it comes back.
    pub retry: Option<Duration>,
}

impl Event {
    /// An event that says this.
    pub fn new(data: impl Into<String>) -> Self {
        Self { data: data.into(), ..Self::default() }
    }

    /// The event as it is sent. A field that would end its line is cut there: none of its
    /// text becomes a field of its own.
    fn lines(&self) -> String {
        let mut text = String::new();
        let one_line =
            |value: &str| value.split(['\r', '\n', '\0']).next().unwrap_or("").to_owned();
        for (field, value) in [("event", &self.name), ("id", &self.id)] {
            if let Some(value) = value {
                let _ = writeln!(text, "{field}: {}", one_line(value));
            }
        }
        if let Some(retry) = self.retry {
            let _ = writeln!(text, "retry: {}", retry.as_millis());
        }
        for line in self.data.replace("\r\n", "\n").split(['\r', '\n']) {
            let _ = writeln!(text, "data: {line}");
        }
        text.push('\n');
        text
    }
}

/// Where a function of [`events`] writes.
#[derive(Debug)]
pub struct EventWriter(BodyWriter);

impl EventWriter {
    /// Sends an event; returns when it has been taken.
    ///
    /// # Errors
    /// As [`BodyWriter::write`].
    pub async fn send(&mut self, event: &Event) -> Result<(), BodyError> {
        self.0.write(event.lines()).await
    }
}

/// A response of events, which `write` sends for as long as it runs.
///
/// ```
/// use std::time::Duration;
/// use wrun_sdk::http::{Event, Response, events, sleep};
///
/// #[wrun_sdk::http]
/// async fn clock() -> Response {
///     events(async |mut events| {
///         for second in 0..10 {
///             events.send(&Event::new(second.to_string())).await?;
///             sleep(Duration::from_secs(1)).await;
///         }
///         Ok(())
///     })
/// }
/// ```
pub fn events<F>(write: impl FnOnce(EventWriter) -> F) -> Response
where
    F: Future<Output = Result<(), BodyError>> + Send + 'static,
{
    let mut response = Response::new(Body::stream(|body| write(EventWriter(body))));
    let fields = response.headers_mut();
    fields.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    fields.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_its_fields_line_by_line() {
        assert_eq!(Event::new("a\nb\r\nc").lines(), "data: a\ndata: b\ndata: c\n\n");
        let event = Event {
            data: String::new(),
            name: Some("tick".to_owned()),
            id: Some("7\ndata: forged".to_owned()),
            retry: Some(Duration::from_secs(2)),
        };
        assert_eq!(event.lines(), "event: tick\nid: 7\nretry: 2000\ndata: \n\n");
    }
}
