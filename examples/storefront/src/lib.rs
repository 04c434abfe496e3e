//! A service that calls another by name: a page with the prices of the example `shop`.
//!
//! ```text
//! wrun deploy shop.wasm --name shop
//! wrun deploy storefront.wasm --name storefront --route / --allow-host shop.wrun.internal
//! curl http://GATEWAY/
//! ```

use serde::Deserialize;
use wrun_sdk::http::{Error, Read, get};

#[derive(Deserialize)]
struct Item {
    name: String,
    cents: u64,
}

#[wrun_sdk::http]
async fn storefront() -> Result<String, Error> {
    let items: Vec<Item> = get("http://shop.wrun.internal/items").await?.json().await?;
    let line =
        |item: &Item| format!("{:>8} {:>3}.{:02}\n", item.name, item.cents / 100, item.cents % 100);
    Ok(items.iter().map(line).collect())
}

#[cfg(test)]
mod tests {
    use wrun_sdk::http::{Response, testing};

    use super::*;

    #[test]
    fn prices_are_those_of_the_shop() {
        testing::answer_requests(|request| {
            assert_eq!(request.uri(), "http://shop.wrun.internal/items");
            Response::new(r#"[{"name": "tea", "cents": 310}]"#.into())
        });
        assert_eq!(testing::block_on(storefront()).unwrap(), "     tea   3.10\n");
    }
}
