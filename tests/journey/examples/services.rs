//! The examples that are services, asked over HTTP.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

use harness::http;
use serde_json::{Value, json};

use crate::Desk;
use crate::desk::{guest, stderr};
use crate::services::served;
use crate::until;

fn deploy(desk: &Desk, name: &str, flags: &[&str]) {
    desk.says(&[&["deploy", &guest(name), "--name", name], flags].concat());
}

#[test]
fn the_shop_takes_json_and_gives_json() {
    let (desk, gateway) = served();
    deploy(&desk, "shop", &["--route", "/shop"]);
    let items = http::get(gateway, "/shop/items").unwrap();
    assert!(items.head.to_lowercase().contains("content-type: application/json"), "{}", items.head);
    let items: Value = serde_json::from_slice(&items.body).unwrap();
    assert_eq!(items[1], json!({ "name": "tea", "cents": 310 }));
    let quote = |body: &str| {
        let answer = http::post(gateway, "/shop/quote", body).unwrap();
        (answer.status, answer.text())
    };
    assert_eq!(quote(r#"{"item": "tea", "pieces": 2}"#), (200, r#"{"cents":620}"#.to_owned()));
    assert_eq!(quote(r#"{"item": "gold", "pieces": 1}"#), (404, "no `gold` here\n".to_owned()));
    for bad in [
        "",
        r#"{"item": "tea"}"#,
        r#"{"item": "tea", "pieces": -1}"#,
        r#"{"item": "tea", "pieces": 1, "gift": true}"#,
    ] {
        let (status, text) = quote(bad);
        assert_eq!(status, 400, "{bad}: {text}");
    }
    assert_eq!(http::get(gateway, "/shop/quote").unwrap().status, 405);
    assert_eq!(http::get(gateway, "/shop/cellar").unwrap().status, 404);
}

/// Each side waits for what the other sent before it sends more: whoever held a body back
/// until it is whole would hold both for ever.
#[test]
fn the_relay_passes_bodies_on_as_they_come() {
    let (desk, gateway) = served();
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = upstream.local_addr().unwrap();
    let variable = format!("UPSTREAM=http://{address}/base");
    let grant = address.to_string();
    deploy(&desk, "relay", &["--route", "/relay", "--env", &variable, "--allow-host", &grant]);
    let mut client = http::open(
        gateway,
        "POST /relay/x?y=1 HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n\
         5\r\nfirst\r\n",
    )
    .unwrap();
    let (mut server, _) = upstream.accept().unwrap();
    server.set_read_timeout(Some(harness::process::PATIENCE)).unwrap();
    let head = http::read_until(&mut server, "\r\n\r\n");
    assert!(head.starts_with("POST /base/x?y=1 HTTP/1.1\r\n"), "{head}");
    http::read_until(&mut server, "first");
    client.write_all(b"6\r\nsecond\r\n").unwrap();
    http::read_until(&mut server, "second");
    client.write_all(b"0\r\n\r\n").unwrap();
    http::read_until(&mut server, "0\r\n\r\n");
    server
        .write_all(b"HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        .unwrap();
    let head = http::read_until(&mut client, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 201 Created\r\n"), "{head}");
    http::read_until(&mut client, "half");
    server.write_all(b"4\r\nrest\r\n0\r\n\r\n").unwrap();
    http::read_until(&mut client, "rest");
    http::read_until(&mut client, "0\r\n\r\n");
}

/// With one request at once, the next client is served when the one before has gone: its
/// guest, which would count for ever, has been ended.
#[test]
fn the_ticker_counts_until_its_client_goes() {
    let (desk, gateway) = served();
    let file = format!(
        "component = {:?}\nname = \"ticker\"\n[http]\nroutes = [\"/ticker\"]\nconcurrency = 1\n\
         wait = \"1m\"\n",
        guest("ticker")
    );
    desk.write("ticker.toml", file);
    desk.says(&["deploy", "ticker.toml"]);
    let listen = || {
        let request = "GET /ticker?ms=20 HTTP/1.1\r\nhost: localhost\r\n\r\n";
        http::open(gateway, request).unwrap()
    };
    let mut first = listen();
    let head = http::read_until(&mut first, "\r\n\r\n").to_lowercase();
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    for number in 1..=5 {
        http::read_until(&mut first, &format!("id: {number}\ndata: {number}\n\n"));
    }
    let mut second = listen();
    second.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert!(second.read(&mut [0]).is_err(), "the first one has the only place");
    http::read_until(&mut first, "id: 6\n");
    drop(first);
    second.set_read_timeout(Some(harness::process::PATIENCE)).unwrap();
    http::read_until(&mut second, "id: 1\ndata: 1\n\n");
    http::read_until(&mut second, "id: 3\ndata: 3\n\n");
    drop(second);
    assert_eq!(http::get(gateway, "/ticker?ms=soon").map(|answer| answer.status), Ok(400));
}

#[test]
fn the_storefront_calls_the_shop_by_name_if_it_may() {
    let (desk, gateway) = served();
    deploy(&desk, "shop", &[]);
    deploy(&desk, "storefront", &["--route", "/"]);
    let refused = http::get(gateway, "/").unwrap();
    assert_eq!(refused.status, 500, "{}", refused.text());
    until("its log says why", || {
        let logs = stderr(&desk.wrun(&["logs", "storefront"]));
        logs.contains("the host was not granted").then_some(())
    });
    deploy(&desk, "storefront", &["--route", "/", "--allow-host", "shop.wrun.internal"]);
    let page = http::get(gateway, "/").unwrap();
    let prices = "  coffee   4.20\n     tea   3.10\n   water   0.90\n";
    assert_eq!((page.status, page.text().as_str()), (200, prices));
    assert_eq!(http::get(gateway, "/items").unwrap().text(), prices, "the shop has no route");
}
