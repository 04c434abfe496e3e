//! Prints what it can reach, a line for each thing: `env NAME=VALUE`, `arg VALUE`,
//! `file PATH SIZE`, `open PATH RESULT`, `write PATH RESULT`, `connect ADDRESS RESULT`,
//! `resolve NAME RESULT`, `bind ADDRESS RESULT`. Arguments such as `connect=HOST:PORT`,
//! `open=PATH` and `write=PATH` name more to try.

use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::path::Path;
use std::{env, fs};

fn main() {
    for (name, value) in env::vars() {
        println!("env {name}={value}");
    }
    for argument in env::args().skip(1) {
        println!("arg {argument}");
    }
    println!("cwd {}", said(env::current_dir().map(|path| path.display().to_string())));
    for root in ["/", ".", "/scratch"] {
        list(Path::new(root), 0);
    }
    for path in
        ["/etc/passwd", "../../../../etc/passwd", "/scratch/../../etc/passwd", "/proc/self/environ"]
    {
        open(path);
    }
    for path in ["/written", "/scratch/written", "/scratch/../escaped"] {
        write(path);
    }
    for address in ["127.0.0.1:22", "[::1]:22", "169.254.169.254:80", "10.0.0.1:80", "1.1.1.1:53"] {
        connect(address);
    }
    resolve("localhost:80");
    resolve("example.com:80");
    println!("bind tcp {}", said(TcpListener::bind("127.0.0.1:0").map(|_| "yes")));
    println!("bind udp {}", said(UdpSocket::bind("0.0.0.0:0").map(|_| "yes")));
    for argument in env::args().skip(1) {
        match argument.split_once('=') {
            Some(("connect", address)) => connect(address),
            Some(("open", path)) => open(path),
            Some(("write", path)) => write(path),
            Some(("resolve", name)) => resolve(name),
            _ => {}
        }
    }
}

fn said<T: ToString>(result: std::io::Result<T>) -> String {
    match result {
        Ok(value) => value.to_string(),
        Err(error) => format!("refused: {error}"),
    }
}

fn list(folder: &Path, depth: u32) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let size = entry.metadata().map(|found| found.len()).unwrap_or(0);
        println!("file {} {size}", path.display());
        if depth < 4 && path.is_dir() {
            list(&path, depth + 1);
        }
    }
}

fn open(path: &str) {
    println!("open {path} {}", said(fs::read(path).map(|bytes| format!("{} bytes", bytes.len()))));
}

fn write(path: &str) {
    println!("write {path} {}", said(fs::write(path, "x").map(|()| "yes")));
}

fn connect(address: &str) {
    println!("connect {address} {}", said(TcpStream::connect(address).map(|_| "yes")));
}

fn resolve(name: &str) {
    let found = name.to_socket_addrs().map(|addresses| format!("{} addresses", addresses.count()));
    println!("resolve {name} {}", said(found));
}
