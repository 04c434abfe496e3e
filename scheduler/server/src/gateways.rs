//! What the gateways of the workers are told: which replicas answer for a service, and where
//! nodes listen for each other. Nothing here is recorded, and only the newest state counts: a
//! worker that is slow is told the latest of each service, however often it has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use wrun_core::Core;
use wrun_protocol::NodeId;
use wrun_protocol::limits::MAX_FRAME;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::Endpoints;
use wrun_protocol::wire::worker::ToWorker;

/// About what the services in one message take together: well below a frame, so that the
/// estimate may be wrong.
const MESSAGE: usize = MAX_FRAME / 4;

/// Nodes in one message: well below a frame.
const NODES_AT_ONCE: usize = 4096;

/// What a service is to gateways; `None`: there is no such service.
type State = Option<Arc<Endpoints>>;

/// The services as gateways were told of last. All sessions share one copy of each.
#[derive(Debug, Default)]
pub(crate) struct Gateways {
    told: BTreeMap<ServiceId, Arc<Endpoints>>,
    /// Changed since.
    dirty: BTreeSet<ServiceId>,
}

impl Gateways {
    /// As the core knows them after a start.
    pub(crate) fn of(core: &Core) -> Self {
        let told = core.all_endpoints().into_iter().map(|of| (of.id.clone(), Arc::new(of)));
        Self { told: told.collect(), dirty: BTreeSet::new() }
    }

    /// The core says that a service has changed.
    pub(crate) fn on_changed(&mut self, id: ServiceId) {
        self.dirty.insert(id);
    }

    /// What is to be told of each service that has changed.
    pub(crate) fn changes(&mut self, core: &Core) -> Vec<(ServiceId, State)> {
        let dirty = std::mem::take(&mut self.dirty);
        let mut changes = Vec::with_capacity(dirty.len());
        for id in dirty {
            let state = core.endpoints(&id).map(Arc::new);
            let before = match &state {
                Some(of) => self.told.insert(id.clone(), Arc::clone(of)),
                None => self.told.remove(&id),
            };
            if before != state {
                changes.push((id, state));
            }
        }
        changes
    }

    /// What a worker is told that has just connected.
    pub(crate) fn news(&self, listening: impl Iterator<Item = (NodeId, SocketAddr)>) -> News {
        let services = self.told.iter().map(|(id, of)| (id.clone(), Some(Arc::clone(of))));
        News {
            whole: true,
            services: services.collect(),
            nodes: listening.map(|(node, address)| (node, Some(address))).collect(),
        }
    }
}

/// What one worker's gateway is to be told next.
#[derive(Debug, Default)]
pub(crate) struct News {
    /// Whether it is to forget what it was told before.
    whole: bool,
    services: BTreeMap<ServiceId, State>,
    nodes: BTreeMap<NodeId, Option<SocketAddr>>,
}

impl News {
    /// In place of what waits to be told of the service.
    pub(crate) fn service(&mut self, id: &ServiceId, state: &State) {
        self.services.insert(id.clone(), state.clone());
    }

    /// In place of what waits to be told of the node.
    pub(crate) fn node(&mut self, node: NodeId, listens: Option<SocketAddr>) {
        self.nodes.insert(node, listens);
    }

    /// How much waits.
    pub(crate) fn len(&self) -> usize {
        self.services.len() + self.nodes.len() + usize::from(self.whole)
    }

    /// Where nodes are comes first, so that a gateway can reach what it hears of.
    pub(crate) fn into_messages(self) -> Vec<ToWorker> {
        let Self { mut whole, services, nodes } = self;
        let nodes: Vec<_> = nodes.into_iter().collect();
        let mut messages: Vec<ToWorker> =
            nodes.chunks(NODES_AT_ONCE).map(|part| ToWorker::Nodes(part.to_vec())).collect();
        let (mut gone, mut known, mut size) = (Vec::new(), Vec::new(), 0);
        for (id, state) in services {
            let Some(endpoints) = state else {
                gone.push(id);
                continue;
            };
            if size > MESSAGE {
                let services = std::mem::take(&mut known);
                messages.push(ToWorker::Services { whole: std::mem::take(&mut whole), services });
                size = 0;
            }
            size += weight(&endpoints);
            known.push(Endpoints::clone(&endpoints));
        }
        // Whoever is to forget everything need not hear of what is gone.
        if !gone.is_empty() && !whole {
            messages.push(ToWorker::ServicesGone(gone));
        }
        if whole || !known.is_empty() {
            messages.push(ToWorker::Services { whole, services: known });
        }
        messages
    }
}

/// About what it takes on the wire.
fn weight(of: &Endpoints) -> usize {
    let text = |host: &Option<String>| host.as_ref().map_or(0, String::len);
    let routes: usize =
        of.http.routes.iter().map(|route| text(&route.host) + route.prefix.len() + 8).sum();
    let replicas: usize = of.revisions.iter().map(|revision| revision.replicas.len()).sum();
    512 + routes + of.http.callers.len() * 64 + of.revisions.len() * 512 + replicas * 20
}

#[cfg(test)]
mod tests {
    use wrun_protocol::service::HttpService;

    use super::*;

    fn id(name: &str) -> ServiceId {
        ServiceId { tenant: "lab".parse().unwrap(), name: name.parse().unwrap() }
    }

    fn endpoints(name: &str, retries: u32) -> Endpoints {
        let http = HttpService { retries, ..HttpService::default() };
        Endpoints { id: id(name), http, revisions: Vec::new() }
    }

    #[test]
    fn only_the_newest_state_of_a_service_is_told() {
        let mut news = News::default();
        news.service(&id("a"), &Some(Arc::new(endpoints("a", 1))));
        news.service(&id("b"), &Some(Arc::new(endpoints("b", 1))));
        news.service(&id("a"), &Some(Arc::new(endpoints("a", 2))));
        news.service(&id("b"), &None);
        let services = vec![endpoints("a", 2)];
        assert_eq!(
            news.into_messages(),
            [ToWorker::ServicesGone(vec![id("b")]), ToWorker::Services { whole: false, services }]
        );
    }

    #[test]
    fn who_connects_is_told_everything_and_forgets_the_rest() {
        let mut gateways = Gateways::default();
        let listening = ("127.0.0.1:7000".parse().unwrap(), NodeId(3));
        let news = gateways.news(std::iter::once((listening.1, listening.0)));
        assert_eq!(
            news.into_messages(),
            [
                ToWorker::Nodes(vec![(NodeId(3), Some(listening.0))]),
                ToWorker::Services { whole: true, services: Vec::new() }
            ]
        );
        gateways.told.insert(id("a"), Arc::new(endpoints("a", 1)));
        let mut news = gateways.news(std::iter::empty());
        news.service(&id("a"), &None);
        let nothing = ToWorker::Services { whole: true, services: Vec::new() };
        assert_eq!(news.into_messages(), [nothing]);
    }

    #[test]
    fn many_services_are_told_in_messages_that_fit_frames() {
        let mut news = News { whole: true, ..News::default() };
        for number in 0..2000 {
            let name = format!("s{number}");
            news.service(&id(&name), &Some(Arc::new(endpoints(&name, 1))));
        }
        let messages = news.into_messages();
        assert!(messages.len() > 2, "{}", messages.len());
        let mut told = 0;
        for (number, message) in messages.iter().enumerate() {
            let ToWorker::Services { whole, services } = message else { panic!("{message:?}") };
            assert_eq!(*whole, number == 0, "the rest adds to the first");
            told += services.len();
            let mut frame = Vec::new();
            wrun_protocol::codec::append_frame(&mut frame, message).unwrap();
        }
        assert_eq!(told, 2000);
    }
}
