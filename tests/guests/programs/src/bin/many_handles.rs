//! Opens handles and keeps them: timers, or `files`, `sockets`, `streams`, as its first
//! argument says; so many as its second does, or without end.

use wasip2::cli::stdout;
use wasip2::clocks::monotonic_clock;
use wasip2::sockets::{network::IpAddressFamily, tcp_create_socket};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let kind = arguments.next().unwrap_or_default();
    let most = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(u64::MAX);
    for number in 1..=most {
        match kind.as_str() {
            "files" => std::mem::forget(std::fs::File::create("/scratch/same")?),
            "sockets" => match tcp_create_socket::create_tcp_socket(IpAddressFamily::Ipv4) {
                Ok(socket) => std::mem::forget(socket),
                Err(error) => return Err(std::io::Error::other(format!("{error:?}"))),
            },
            "streams" => std::mem::forget(stdout::get_stdout()),
            _ => std::mem::forget(monotonic_clock::subscribe_duration(u64::MAX / 2)),
        }
        if number.is_multiple_of(1000) {
            println!("{number} handles");
        }
    }
    println!("has all of them");
    Ok(())
}
