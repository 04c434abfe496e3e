//! An HTTP service of WASI 0.2 that says hello.

use wasip2::exports::http::incoming_handler::Guest;
use wasip2::http::types::{
    Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam,
};

struct Hello;

wasip2::http::proxy::export!(Hello);

impl Guest for Hello {
    fn handle(_: IncomingRequest, out: ResponseOutparam) {
        let response = OutgoingResponse::new(Fields::new());
        let body = response.body().expect("the body");
        ResponseOutparam::set(out, Ok(response));
        let stream = body.write().expect("the stream");
        stream.blocking_write_and_flush(b"Hello, world!\n").expect("room for it");
        drop(stream);
        OutgoingBody::finish(body, None).expect("the end");
    }
}
