//! Listens on the port of its argument, answers one connection with what it is sent, and
//! ends. Says why if it cannot.

use std::io::{Read, Write};
use std::net::TcpListener;

fn main() {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let listener = match TcpListener::bind(("0.0.0.0", port.expect("a port"))) {
        Ok(listener) => listener,
        Err(error) => {
            eprintln!("{:?}", error.kind());
            std::process::exit(1);
        }
    };
    let (mut stream, _) = listener.accept().expect("a connection");
    let mut said = [0; 64];
    let size = stream.read(&mut said).expect("something said");
    stream.write_all(&said[..size]).expect("somebody who listens");
}
