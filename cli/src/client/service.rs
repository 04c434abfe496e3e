//! What commands ask about services.

use wrun_protocol::wire::service::{GatewayRow, ServiceDetail, ServiceRef, ServiceRow};
use wrun_protocol::wire::user::{Request, Response};

use super::{Client, unexpected};
use crate::error::Error;

/// One service.
pub(crate) async fn detail(client: &Client, service: &ServiceRef) -> Result<ServiceDetail, Error> {
    match client.ask(&Request::Service(service.clone())).await? {
        Response::Service(detail) => Ok(*detail),
        other => Err(unexpected(&other)),
    }
}

/// Where services are reached.
pub(crate) async fn gateways(client: &Client) -> Result<Vec<GatewayRow>, Error> {
    match client.ask(&Request::Gateways).await? {
        Response::Gateways(rows) => Ok(rows),
        other => Err(unexpected(&other)),
    }
}

/// All services, of one tenant or of all.
pub(crate) async fn list(client: &Client, all_tenants: bool) -> Result<Vec<ServiceRow>, Error> {
    let mut rows: Vec<ServiceRow> = Vec::new();
    loop {
        let after = rows.last().map(|row| row.id.clone());
        let page = match client.ask(&Request::Services { all_tenants, after }).await? {
            Response::Services(page) => page,
            other => return Err(unexpected(&other)),
        };
        // A page is as long as a frame allows.
        if page.is_empty() {
            return Ok(rows);
        }
        rows.extend(page);
    }
}
