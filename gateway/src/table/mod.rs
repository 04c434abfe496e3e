//! What a gateway knows of all services. Requests read it without a lock; who is told of
//! services changes it, one at a time.

mod routes;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::Endpoints;
use wrun_protocol::{NodeId, TenantName};

use crate::clock::Clock;
use crate::service::Service;
use routes::Routes;

/// All services.
#[derive(Debug)]
pub(crate) struct Table {
    node: NodeId,
    clock: Clock,
    known: ArcSwap<Known>,
    /// Held by who changes it. Requests under way of each tenant outlive its services.
    tenants: Mutex<HashMap<TenantName, Arc<AtomicU32>>>,
}

/// The services at one time.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// In order of their names, which decides between two that want the same route.
    pub(crate) services: BTreeMap<ServiceId, Arc<Service>>,
    pub(crate) routes: Routes<Arc<Service>>,
}

impl Table {
    pub(crate) fn new(node: NodeId, clock: Clock) -> Self {
        Self { node, clock, known: ArcSwap::default(), tenants: Mutex::default() }
    }

    pub(crate) fn known(&self) -> Guard<Arc<Known>> {
        self.known.load()
    }

    pub(crate) fn on_services(&self, whole: bool, told: Vec<Endpoints>) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load_full();
        let named: BTreeSet<ServiceId> = match whole {
            true => told.iter().map(|told| told.id.clone()).collect(),
            false => BTreeSet::new(),
        };
        let goes = |id: &ServiceId| whole && !named.contains(id);
        let mut is_new = before.services.keys().any(goes);
        let mut new = Vec::new();
        for told in told {
            match before.services.get(&told.id) {
                Some(service) => {
                    is_new |= service.shape().http.routes != told.http.routes;
                    service.on_told(told, self.node);
                }
                None => {
                    let counter = tenants.entry(told.id.tenant.clone()).or_default();
                    let counter = Arc::clone(counter);
                    new.push(Arc::new(Service::new(told, self.node, self.clock, counter)));
                }
            }
        }
        if is_new || !new.is_empty() {
            let mut services = before.services.clone();
            services.retain(|id, _| !goes(id));
            services.extend(new.into_iter().map(|service| (service.id.clone(), service)));
            self.replace(&before, services, &mut tenants);
        }
    }

    pub(crate) fn on_gone(&self, gone: &[ServiceId]) {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.known.load_full();
        let mut services = before.services.clone();
        gone.iter().for_each(|id| drop(services.remove(id)));
        if services.len() != before.services.len() {
            self.replace(&before, services, &mut tenants);
        }
    }

    fn replace(
        &self,
        before: &Known,
        services: BTreeMap<ServiceId, Arc<Service>>,
        tenants: &mut HashMap<TenantName, Arc<AtomicU32>>,
    ) {
        let shapes: Vec<_> = services.values().map(|service| (service, service.shape())).collect();
        let routes = shapes.iter().flat_map(|(service, shape)| {
            shape.http.routes.iter().map(|route| (route, Arc::clone(service)))
        });
        let routes = Routes::new(routes);
        let known = Arc::new(Known { routes, services });
        self.known.store(Arc::clone(&known));
        for (id, service) in &before.services {
            if !known.services.contains_key(id) {
                service.on_gone();
            }
        }
        tenants.retain(|_, counter| Arc::strong_count(counter) > 1);
    }
}
