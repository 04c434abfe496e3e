//! What can be seen of services, by users and by gateways.

use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{Endpoints, ServiceDetail, ServiceRow};
use wrun_protocol::{JobId, TenantName};

use crate::core::Core;

impl Core {
    /// Services in order of tenant and name; of one tenant, or all. At most
    /// [`wrun_protocol::limits::MAX_PAGE`], from the first after `after`.
    #[expect(clippy::unused_self, reason = "not yet")]
    pub fn services(
        &self,
        _tenant: Option<&TenantName>,
        _after: Option<&ServiceId>,
    ) -> Vec<ServiceRow> {
        Vec::new()
    }

    /// One service in full.
    #[expect(clippy::unused_self, reason = "not yet")]
    pub fn service(&self, _id: &ServiceId) -> Option<ServiceDetail> {
        None
    }

    /// What gateways need to know of a service now. `None` for a program, and where there
    /// is no such service: gateways are to forget it.
    #[expect(clippy::unused_self, reason = "not yet")]
    pub fn endpoints(&self, _id: &ServiceId) -> Option<Endpoints> {
        None
    }

    /// The same of every service that gateways send requests to, in order of tenant and
    /// name: for a worker that connects.
    #[expect(clippy::unused_self, reason = "not yet")]
    pub fn all_endpoints(&self) -> Vec<Endpoints> {
        Vec::new()
    }

    /// Of which service a live job is a revision, and which.
    #[expect(clippy::unused_self, reason = "not yet")]
    pub fn revision_of(&self, _job: JobId) -> Option<(ServiceId, u32)> {
        None
    }
}
