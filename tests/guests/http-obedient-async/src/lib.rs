//! An HTTP service of WASI 0.3 that does what the path says, most of it hostile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wasip3::clocks::monotonic_clock;
use wasip3::exports::http::handler::Guest;
use wasip3::http::types::{ErrorCode, Fields, Request, Response, Scheme};
use wasip3::wit_bindgen::{FutureWriter, StreamWriter};
use wasip3::{wit_future, wit_stream};

/// Requests that this instance has had, and those that it has now.
static COUNT: AtomicU32 = AtomicU32::new(0);
static NOW: AtomicU32 = AtomicU32::new(0);

struct Obedient;

wasip3::http::service::export!(Obedient);

impl Guest for Obedient {
    async fn handle(request: Request) -> Result<Response, ErrorCode> {
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.get_path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = || query.parse::<u64>().unwrap_or_default();
        NOW.fetch_add(1, Ordering::Relaxed);
        let answer = match path {
            "/hello" => Ok(text("hello".to_owned())),
            "/count" => Ok(text(count.to_string())),
            "/now" => {
                let seen = NOW.load(Ordering::Relaxed);
                sleep(number()).await;
                Ok(text(seen.max(NOW.load(Ordering::Relaxed)).to_string()))
            }
            "/echo" => Ok(echo(request)),
            "/size" => {
                let (_, done) = wit_future::new(|| Ok(()));
                let (body, _) = Request::consume_body(request, done);
                Ok(text(body.collect().await.len().to_string()))
            }
            "/big" => Ok(big(number())),
            "/sleep" => {
                sleep(number()).await;
                Ok(text("slept".to_owned()))
            }
            "/half" => Ok(half(number())),
            "/fetch" => Ok(text(fetch(query).await)),
            "/fetch-plain" => Ok(text(fetch_plain(query))),
            "/fetch-late" => {
                let late = query.to_owned();
                wasip3::spawn_local(async move {
                    fetch(&late).await;
                });
                Ok(text("answered".to_owned()))
            }
            "/trap" => std::process::abort(),
            "/spin" => loop {
                std::hint::black_box(());
            },
            "/memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                }
            }
            "/refuse" => Err(ErrorCode::InternalError(Some("asked".to_owned()))),
            "/short" => Ok(announced(100)),
            "/long" => Ok(announced(3)),
            _ => {
                let response = text(String::new());
                response.set_status_code(404).unwrap();
                Ok(response)
            }
        };
        NOW.fetch_sub(1, Ordering::Relaxed);
        answer
    }
}

async fn sleep(ms: u64) {
    monotonic_clock::wait_for(Duration::from_millis(ms).as_nanos() as u64).await;
}

type Trailers = FutureWriter<Result<Option<Fields>, ErrorCode>>;

fn begin(length: Option<u64>) -> (Response, StreamWriter<u8>, Trailers) {
    let fields = Fields::new();
    if let Some(length) = length {
        fields.set("content-length", &[length.to_string().into_bytes()]).unwrap();
    }
    let (writer, body) = wit_stream::new();
    let (end, trailers) = wit_future::new(|| Ok(None));
    let (response, _) = Response::new(fields, Some(body), trailers);
    (response, writer, end)
}

fn text(text: String) -> Response {
    let (response, mut writer, _) = begin(None);
    wasip3::spawn_local(async move {
        writer.write_all(text.into_bytes()).await;
    });
    response
}

fn echo(request: Request) -> Response {
    let (response, mut writer, end) = begin(None);
    let (_, done) = wit_future::new(|| Ok(()));
    let (mut body, trailers) = Request::consume_body(request, done);
    wasip3::spawn_local(async move {
        loop {
            let (status, bytes) = body.read(Vec::with_capacity(1 << 14)).await;
            if !writer.write_all(bytes).await.is_empty() {
                return;
            }
            if status == wasip3::wit_bindgen::StreamResult::Dropped {
                break;
            }
        }
        drop(writer);
        let trailers = trailers.await;
        let _ = end.write(trailers).await;
    });
    response
}

fn big(size: u64) -> Response {
    let (response, mut writer, _) = begin(Some(size));
    wasip3::spawn_local(async move {
        let mut left = size;
        while left > 0 {
            let now = left.min(1 << 14);
            if !writer.write_all(vec![b'x'; now as usize]).await.is_empty() {
                return;
            }
            left -= now;
        }
    });
    response
}

/// Half of a body, and the rest so much later.
fn half(ms: u64) -> Response {
    let (response, mut writer, _) = begin(None);
    wasip3::spawn_local(async move {
        writer.write_all(b"half".to_vec()).await;
        sleep(ms).await;
        writer.write_all(b"rest".to_vec()).await;
    });
    response
}

fn announced(length: u64) -> Response {
    let (response, mut writer, _) = begin(Some(length));
    wasip3::spawn_local(async move {
        writer.write_all(b"some bytes".to_vec()).await;
    });
    response
}

/// GET of `http://` and the rest, with a lie about how far it has come; what came of it, as
/// text.
async fn fetch(rest: &str) -> String {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (_, trailers) = wit_future::new(|| Ok(None));
    let fields = Fields::new();
    fields.set("wrun-hops", &[b"7".to_vec()]).unwrap();
    let (request, _) = Request::new(fields, None, trailers, None);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let response = match wasip3::http::client::send(request).await {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    let status = response.get_status_code();
    let (_, done) = wit_future::new(|| Ok(()));
    let (body, _) = Response::consume_body(response, done);
    format!("{status} {}", String::from_utf8_lossy(&body.collect().await))
}

/// The same by the interface of WASI 0.2, without what was answered.
fn fetch_plain(rest: &str) -> String {
    use wasip2::http::{outgoing_handler, types};
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = types::OutgoingRequest::new(types::Fields::new());
    request.set_scheme(Some(&types::Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let answer = outgoing_handler::handle(request, None).unwrap();
    answer.subscribe().block();
    match answer.get().unwrap().unwrap() {
        Ok(response) => response.status().to_string(),
        Err(error) => format!("{error:?}"),
    }
}
