//! nginx as a proxy before one server of HTTP, over connections that stay.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use harness::process::Process;

/// A proxy, until it is dropped.
pub(super) struct Nginx {
    pub(super) address: SocketAddr,
    process: Process,
}

/// What nginx says of its version.
pub(super) fn version() -> Result<String> {
    let output = Command::new("nginx").arg("-v").output();
    let output = output.context("nginx is missing: install Debian's package `nginx-light`")?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    Ok(said.rsplit('/').next().unwrap_or_default().trim().to_owned())
}

impl Nginx {
    pub(super) fn start(behind: SocketAddr, folder: &Path) -> Result<Self> {
        // nginx takes no port from the system: one that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let path = folder.join("nginx.conf");
        std::fs::write(&path, settings(address, behind, folder))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(folder).arg("-c").arg(&path);
        let process = Process::start(command, folder, "nginx");
        let begun = Instant::now();
        while TcpStream::connect(address).is_err() {
            ensure!(begun.elapsed() < Duration::from_secs(10), "nginx: {}", process.logged());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { address, process })
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Told, so that it takes its workers with it.
        self.process.terminate();
        self.process.wait();
    }
}

fn settings(address: SocketAddr, behind: SocketAddr, folder: &Path) -> String {
    let folder = folder.display();
    format!(
        "daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  scgi_temp_path {folder}/scgi;
  uwsgi_temp_path {folder}/uwsgi;
  client_body_buffer_size 128k;
  proxy_buffers 16 16k;
  keepalive_requests 1000000;
  upstream behind {{ server {behind}; keepalive 64; keepalive_requests 1000000; }}
  server {{
    listen {address};
    location / {{
      proxy_pass http://behind;
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $host;
    }}
  }}
}}
"
    )
}
