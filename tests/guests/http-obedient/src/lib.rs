//! An HTTP service of WASI 0.2 that does what the path says, most of it hostile.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use wasip2::clocks::monotonic_clock;
use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, FutureIncomingResponse, IncomingBody, IncomingRequest, Method, OutgoingBody,
    OutgoingRequest, OutgoingResponse, ResponseOutparam, Scheme,
};
use wasip2::io::streams::StreamError;

/// Requests that this instance has had.
static COUNT: AtomicU32 = AtomicU32::new(0);

struct Obedient;

wasip2::http::proxy::export!(Obedient);

impl Guest for Obedient {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        let target = request.path_with_query().unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((&target, ""));
        let number = || query.parse::<u64>().unwrap_or_default();
        match path {
            "/hello" => text(out, "hello"),
            "/count" => text(out, &count.to_string()),
            "/seen" => text(out, &seen(&request)),
            "/status" => {
                let response = OutgoingResponse::new(Fields::new());
                response.set_status_code(number() as u16).unwrap();
                ResponseOutparam::set(out, Ok(response));
            }
            "/echo" => echo(request, out),
            "/early" => early(request, out),
            "/size" => text(out, &drain(&request).to_string()),
            "/big" => big(out, number()),
            "/sleep" => {
                sleep(number());
                text(out, "slept");
            }
            "/after" => {
                text(out, "answered");
                sleep(number());
                eprintln!("and went on");
            }
            "/log" => {
                eprintln!("a line");
                text(out, "logged");
            }
            "/file" => {
                std::fs::write("/scratch/file", b"content").expect("a scratch directory");
                text(out, "written");
            }
            "/fetch" => text(out, &fetch(query)),
            "/post" => text(out, &post(query)),
            "/trap" => std::process::abort(),
            "/trap-late" => {
                let body = begin(out, None);
                write(&body, b"half").unwrap();
                sleep(30);
                std::process::abort();
            }
            "/exit" => std::process::exit(3),
            "/spin" => spin(),
            "/spin-late" => {
                let body = begin(out, None);
                write(&body, b"half").unwrap();
                spin();
            }
            "/memory" => {
                let mut all = Vec::new();
                loop {
                    all.push(vec![1_u8; 1 << 20]);
                }
            }
            "/flood" => loop {
                eprintln!("a line of many, each as dull as the one before it");
            },
            "/nothing" => drop(out),
            "/refuse" => {
                ResponseOutparam::set(out, Err(ErrorCode::InternalError(Some("asked".into()))));
            }
            "/short" => {
                let body = begin(out, Some(100));
                write(&body, b"half").unwrap();
                let _ = OutgoingBody::finish(body, None);
            }
            "/long" => {
                let body = begin(out, Some(3));
                let _ = write(&body, b"more than three");
                let _ = OutgoingBody::finish(body, None);
            }
            "/half" => {
                let body = begin(out, None);
                write(&body, b"half").unwrap();
                // Neither finished nor dropped.
                std::mem::forget(body);
            }
            "/dropped" => {
                let body = begin(out, None);
                write(&body, b"half").unwrap();
            }
            _ => {
                let response = OutgoingResponse::new(Fields::new());
                response.set_status_code(404).unwrap();
                ResponseOutparam::set(out, Ok(response));
            }
        }
    }
}

fn sleep(ms: u64) {
    let nanos = Duration::from_millis(ms).as_nanos() as u64;
    monotonic_clock::subscribe_duration(nanos).block();
}

fn spin() -> ! {
    loop {
        std::hint::black_box(());
    }
}

fn begin(out: ResponseOutparam, length: Option<u64>) -> OutgoingBody {
    let fields = Fields::new();
    if let Some(length) = length {
        fields.set("content-length", &[length.to_string().into_bytes()]).unwrap();
    }
    let response = OutgoingResponse::new(fields);
    let body = response.body().unwrap();
    ResponseOutparam::set(out, Ok(response));
    body
}

fn write(body: &OutgoingBody, bytes: &[u8]) -> Result<(), StreamError> {
    let stream = body.write().unwrap();
    bytes.chunks(4096).try_for_each(|chunk| stream.blocking_write_and_flush(chunk))
}

fn text(out: ResponseOutparam, text: &str) {
    let body = begin(out, None);
    write(&body, text.as_bytes()).unwrap();
    OutgoingBody::finish(body, None).unwrap();
}

fn seen(request: &IncomingRequest) -> String {
    let method = match request.method() {
        Method::Other(method) => method,
        method => format!("{method:?}"),
    };
    let scheme = request.scheme();
    let target = request.path_with_query().unwrap_or_default();
    let authority = request.authority().unwrap_or_default();
    let mut lines = vec![format!("{method} {scheme:?} {authority} {target}")];
    for (name, value) in request.headers().entries() {
        lines.push(format!("{name}: {}", String::from_utf8_lossy(&value)));
    }
    lines.join("\n")
}

/// Reads all of the body, and counts.
fn drain(request: &IncomingRequest) -> u64 {
    let body = request.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut size = 0;
    while let Ok(bytes) = stream.blocking_read(1 << 16) {
        size += bytes.len() as u64;
    }
    size
}

/// Every piece as it comes, then the trailers.
fn echo(request: IncomingRequest, out: ResponseOutparam) {
    let answer = begin(out, None);
    let body = request.consume().unwrap();
    let stream = body.stream().unwrap();
    let sink = answer.write().unwrap();
    while let Ok(bytes) = stream.blocking_read(1 << 16) {
        for chunk in bytes.chunks(4096) {
            if sink.blocking_write_and_flush(chunk).is_err() {
                return;
            }
        }
    }
    drop((stream, sink));
    let trailers = IncomingBody::finish(body);
    trailers.subscribe().block();
    let trailers = trailers.get().and_then(|told| told.ok()).and_then(|told| told.ok()).flatten();
    let trailers = trailers.map(|trailers| trailers.clone());
    OutgoingBody::finish(answer, trailers).unwrap();
}

/// Answers at once and counts the body after that.
fn early(request: IncomingRequest, out: ResponseOutparam) {
    let answer = begin(out, None);
    let sink = answer.write().unwrap();
    sink.blocking_write_and_flush(b"early ").unwrap();
    let size = drain(&request);
    sink.blocking_write_and_flush(size.to_string().as_bytes()).unwrap();
    drop(sink);
    OutgoingBody::finish(answer, None).unwrap();
}

fn big(out: ResponseOutparam, size: u64) {
    let answer = begin(out, Some(size));
    let sink = answer.write().unwrap();
    let piece = vec![b'x'; 4096];
    let mut left = size;
    while left > 0 {
        let now = left.min(4096);
        if sink.blocking_write_and_flush(&piece[..now as usize]).is_err() {
            return;
        }
        left -= now;
    }
    drop(sink);
    OutgoingBody::finish(answer, None).unwrap();
}

/// GET of `http://` and the rest, with a lie about how far it has come; what came of it, as
/// text.
fn fetch(rest: &str) -> String {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let fields = Fields::new();
    fields.set("wrun-hops", &[b"7".to_vec()]).unwrap();
    let request = OutgoingRequest::new(fields);
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let answer = match outgoing_handler::handle(request, None) {
        Ok(answer) => answer,
        Err(error) => return format!("{error:?}"),
    };
    received(answer)
}

/// The same with a body of 1 MiB, all of which is written before the answer is looked at.
fn post(rest: &str) -> String {
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let request = OutgoingRequest::new(Fields::new());
    request.set_method(&Method::Post).unwrap();
    request.set_scheme(Some(&Scheme::Http)).unwrap();
    request.set_authority(Some(authority)).unwrap();
    request.set_path_with_query(Some(&format!("/{path}"))).unwrap();
    let body = request.body().unwrap();
    let answer = outgoing_handler::handle(request, None).unwrap();
    let sink = body.write().unwrap();
    for _ in 0..256 {
        if let Err(error) = sink.blocking_write_and_flush(&[b'x'; 4096]) {
            return format!("the body was not read: {error:?}");
        }
    }
    drop(sink);
    OutgoingBody::finish(body, None).unwrap();
    received(answer)
}

fn received(answer: FutureIncomingResponse) -> String {
    answer.subscribe().block();
    let response = match answer.get().unwrap().unwrap() {
        Ok(response) => response,
        Err(error) => return format!("{error:?}"),
    };
    let body = response.consume().unwrap();
    let stream = body.stream().unwrap();
    let mut all = Vec::new();
    while let Ok(bytes) = stream.blocking_read(1 << 16) {
        all.extend_from_slice(&bytes);
    }
    format!("{} {}", response.status(), String::from_utf8_lossy(&all))
}
