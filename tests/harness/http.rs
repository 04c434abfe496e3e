//! A client of HTTP/1.1 that counts on nothing: one request a connection, every answer told,
//! so that a test can count those that were lost.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::process::PATIENCE;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    /// Without the status line.
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// GET `path`; an error says at which point the connection was of no use.
pub fn get(gateway: SocketAddr, path: &str) -> Result<Answer, String> {
    get_of(gateway, "localhost", path, "")
}

/// The same of a host, with further lines of the head, each of which ends with CR LF.
pub fn get_of(gateway: SocketAddr, host: &str, path: &str, more: &str) -> Result<Answer, String> {
    let head = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n{more}\r\n");
    exchange(gateway, &head)
}

/// POST `body` to `path`.
pub fn post(gateway: SocketAddr, path: &str, body: &str) -> Result<Answer, String> {
    let length = body.len();
    exchange(
        gateway,
        &format!(
            "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ),
    )
}

/// A connection on which that much has been sent, to be read and written on by the test.
pub fn open(gateway: SocketAddr, sent: &str) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(gateway).map_err(|error| format!("connect: {error}"))?;
    let prepared = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true));
    prepared.and_then(|()| stream.write_all(sent.as_bytes())).map_err(|e| format!("send: {e}"))?;
    Ok(stream)
}

/// Reads until `end` has come, and no further.
pub fn read_until(stream: &mut impl Read, end: &str) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(end.as_bytes()) {
        let read = stream.read(&mut byte).unwrap();
        assert_eq!(read, 1, "it ended after {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend(byte);
    }
    String::from_utf8(bytes).unwrap()
}

fn exchange(gateway: SocketAddr, sent: &str) -> Result<Answer, String> {
    let mut stream = open(gateway, sent)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(|error| format!("receive: {error}"))?;
    parse(&bytes).ok_or_else(|| format!("broken off: {:?}", String::from_utf8_lossy(&bytes)))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|part| part == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&bytes[..end]).ok()?;
    let (line, head) = head.split_once("\r\n").unwrap_or((head, ""));
    let status = line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let field = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(':'));
        lines.find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    };
    let rest = &bytes[end + 4..];
    let body = match (field("transfer-encoding"), field("content-length")) {
        (Some(_), _) => unchunked(rest)?,
        (None, Some(length)) if length.parse() == Ok(rest.len()) => rest.to_vec(),
        (None, Some(_)) => return None,
        (None, None) => rest.to_vec(),
    };
    Some(Answer { status, head: head.to_owned(), body })
}

fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|part| part == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        let chunk = rest.get(end + 2..end + 2 + size)?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunk);
        rest = rest.get(end + 2 + size + 2..)?;
    }
}

/// Requests, one after the other in several threads, until it is told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Vec<Result<Answer, String>>>>,
}

impl Load {
    /// Asks for `path` in `threads` threads, each with a pause between requests.
    pub fn start(gateway: SocketAddr, path: &str, threads: usize, pause: Duration) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let threads = (0..threads).map(|_| {
            let (stop, path) = (Arc::clone(&stop), path.to_owned());
            std::thread::spawn(move || {
                let mut answers = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(get(gateway, &path));
                    std::thread::sleep(pause);
                }
                answers
            })
        });
        Self { threads: threads.collect(), stop }
    }

    /// Every answer, and every request that had none.
    pub fn stop(self) -> Vec<Result<Answer, String>> {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

/// Fails unless each of them was answered with 200; how many there were.
pub fn all_answered(answers: &[Result<Answer, String>]) -> usize {
    for answer in answers {
        match answer {
            Ok(answer) => assert_eq!(answer.status, 200, "{}", answer.text()),
            Err(lost) => panic!("a request was lost: {lost}"),
        }
    }
    answers.len()
}
