//! A JSON API: `GET /items` lists what there is, `POST /quote` tells a price.
//!
//! ```text
//! wrun deploy shop.wasm --name shop --route /shop
//! curl http://GATEWAY/shop/items
//! curl http://GATEWAY/shop/quote -d '{"item": "tea", "pieces": 2}'
//! ```

use serde::{Deserialize, Serialize};
use wrun_sdk::http::{Error, IntoResponse, Json, Method, Read, Request, Response, StatusCode};

const ITEMS: [Item; 3] = [
    Item { name: "coffee", cents: 420 },
    Item { name: "tea", cents: 310 },
    Item { name: "water", cents: 90 },
];

#[derive(Clone, Copy, Serialize)]
struct Item {
    name: &'static str,
    cents: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    item: String,
    pieces: u32,
}

#[derive(Debug, PartialEq, Eq, Serialize)]
struct Quote {
    cents: u64,
}

#[wrun_sdk::http]
async fn shop(request: Request) -> Result<Response, Error> {
    // A gateway passes the whole path on, that of the route included.
    let path = request.uri().path().trim_end_matches('/');
    let page = path.rsplit('/').next().unwrap_or_default();
    match (request.method().clone(), page) {
        (Method::GET, "items") => Ok(Json(ITEMS).into_response()),
        (Method::POST, "quote") => Ok(Json(quote(&request.json().await?)?).into_response()),
        (_, "items" | "quote") => Ok(StatusCode::METHOD_NOT_ALLOWED.into_response()),
        _ => Err(Error::new(StatusCode::NOT_FOUND, "there are `items` and `quote`")),
    }
}

fn quote(order: &Order) -> Result<Quote, Error> {
    let known = ITEMS.iter().find(|item| item.name == order.item);
    let unknown = || Error::new(StatusCode::NOT_FOUND, format!("no `{}` here", order.item));
    Ok(Quote { cents: known.ok_or_else(unknown)?.cents * u64::from(order.pieces) })
}

#[cfg(test)]
mod tests {
    use wrun_sdk::http::testing;

    use super::*;

    #[test]
    fn a_price_is_that_of_all_pieces() {
        let order = Order { item: "tea".to_owned(), pieces: 2 };
        assert_eq!(quote(&order).unwrap(), Quote { cents: 620 });
    }

    #[test]
    fn what_is_not_sold_is_not_found() {
        let body = r#"{"item": "gold", "pieces": 1}"#.into();
        let request =
            wrun_sdk::http::request().method("POST").uri("/shop/quote").body(body).unwrap();
        assert_eq!(testing::block_on(shop(request)).unwrap_err().status(), 404);
    }
}
