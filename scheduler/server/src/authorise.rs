//! Who may do what: the one place where a peer's role and tenant meet its request.
//!
//! A user's tenant comes from its certificate and from nowhere else. Work of another
//! tenant is never "denied" but "not found": to deny would tell that it exists.

use wrun_net::Peer;
use wrun_protocol::wire::model::ModelFilter;
use wrun_protocol::wire::schedule::ScheduleFilter;
use wrun_protocol::wire::user::{ErrorCode, JobFilter, Request, RequestError};
use wrun_protocol::{JobId, NodeId, Role, TenantName};

/// A user whose certificate was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Whose work it submits.
    pub(crate) tenant: TenantName,
    /// What it may do.
    pub(crate) role: Role,
}

/// What a connection may be used for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// The requests of a user.
    User(Caller),
    /// The session and blobs of a node.
    Node(NodeId),
    /// A join request, nothing else.
    Join,
    /// Nothing.
    None,
}

impl Access {
    /// What `peer` may use its connection for.
    pub(crate) fn of(peer: &Peer) -> Self {
        match peer {
            Peer::User { tenant, role } => {
                Self::User(Caller { tenant: tenant.clone(), role: *role })
            }
            Peer::Node(node) => Self::Node(*node),
            Peer::Anonymous => Self::Join,
            Peer::Server => Self::None,
        }
    }
}

impl Caller {
    /// Whether the caller may make this kind of request at all. Requests about one job
    /// must besides pass [`Self::may_see`] once the job's tenant is known.
    pub(crate) fn may_ask(&self, request: &Request) -> Result<(), RequestError> {
        let wanted = match request {
            Request::Drain { .. } => "drain nodes",
            Request::RemoveNode(_) => "remove nodes",
            Request::CreateToken { .. } => "create join tokens",
            Request::CreateUser { .. } => "create users",
            Request::Jobs(JobFilter { all_tenants: true, .. }) => "list the jobs of every tenant",
            Request::Schedules(ScheduleFilter { all_tenants: true, .. }) => {
                "list the schedules of every tenant"
            }
            Request::Services { all_tenants: true, .. } => "list the services of every tenant",
            Request::Models(ModelFilter { all_tenants: true, .. }) => {
                "list the models of every tenant"
            }
            Request::SetPolicy(_) => "set the policy",
            Request::Reserve(_) => "reserve resources",
            Request::Unreserve(_) => "give up reservations",
            Request::Hello
            | Request::Submit(_)
            | Request::MissingBlobs(_)
            | Request::PutBlob { .. }
            | Request::GetBlob(_)
            | Request::Jobs(_)
            | Request::Job(_)
            | Request::Tasks { .. }
            | Request::Watch(_)
            | Request::Logs { .. }
            | Request::Output { .. }
            | Request::Attach(_)
            | Request::Cancel(_)
            | Request::Nodes
            | Request::Policy
            | Request::Change { .. }
            | Request::CancelTasks { .. }
            | Request::Requeue { .. }
            | Request::Retry { .. }
            | Request::Priority(_)
            | Request::Shares
            | Request::Queue { .. }
            | Request::Explain(_)
            | Request::Reservations
            | Request::NodeDetails
            | Request::AddSchedule(_)
            | Request::RemoveSchedule(_)
            | Request::PauseSchedule { .. }
            | Request::Schedules(_)
            | Request::SubmitWorkflow { .. }
            | Request::Workflow(_)
            | Request::Rerun { .. }
            | Request::JobKinds(_)
            | Request::Remembered { .. }
            | Request::Why(_)
            | Request::ReservationRows
            | Request::Deploy { .. }
            | Request::Services { all_tenants: false, .. }
            | Request::Service(_)
            | Request::Scale { .. }
            | Request::Rollout { .. }
            | Request::Undeploy(_)
            | Request::Gateways
            | Request::NodeInference { .. }
            | Request::NodeCards { .. }
            | Request::PushModel { .. }
            | Request::Models(_)
            | Request::Model(_)
            | Request::RemoveModel { .. }
            | Request::ShareModel { .. }
            | Request::UnshareModel { .. }
            | Request::ResolveModels(_) => return Ok(()),
        };
        match self.role {
            Role::Admin => Ok(()),
            Role::User => Err(RequestError::new(
                ErrorCode::Denied,
                format!("only an admin may {wanted}; your credential has the role `user`"),
            )),
        }
    }

    /// Whether the caller may lower a job's priority by so many points, or raise it.
    pub(crate) fn may_be_nice(&self, points: i32) -> Result<(), RequestError> {
        if points >= 0 || self.role == Role::Admin {
            return Ok(());
        }
        Err(RequestError::new(
            ErrorCode::Denied,
            format!(
                "nice: {points} raises a job's priority, which only an admin may; use 0 or more"
            ),
        ))
    }

    /// Whether the caller may see and steer work of `tenant`.
    pub(crate) fn may_see(&self, tenant: &TenantName) -> bool {
        self.role == Role::Admin || self.tenant == *tenant
    }

    /// Whether the caller is told what nodes are called, hold and carry beyond its own
    /// work. Tenants see the nodes and their capacity, not how much others use of them.
    pub(crate) fn may_see_load(&self) -> bool {
        self.role == Role::Admin
    }
}

/// The one answer for a job that is not there and for one that is not the caller's.
pub(crate) fn no_such_job(job: JobId) -> RequestError {
    RequestError::new(
        ErrorCode::NotFound,
        format!("there is no job {job}; `wrun jobs` lists those you can see"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(role: Role) -> Caller {
        Caller { tenant: "lab".parse().unwrap(), role }
    }

    #[test]
    fn a_user_may_not_run_the_cluster() {
        let requests = [
            Request::Drain { node: "n1".into(), drain: true },
            Request::RemoveNode("n1".into()),
            Request::CreateToken { ttl_ms: 1 },
            Request::CreateUser {
                tenant: "lab".parse().unwrap(),
                role: Role::Admin,
                csr: Vec::new(),
                ttl_ms: 1,
            },
            Request::Jobs(JobFilter { all_tenants: true, ..JobFilter::default() }),
            Request::Schedules(ScheduleFilter { all_tenants: true, ..ScheduleFilter::default() }),
            Request::Models(ModelFilter { all_tenants: true, after: None }),
        ];
        for request in requests {
            let refused = caller(Role::User).may_ask(&request).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Denied, "{request:?}");
            assert_eq!(caller(Role::Admin).may_ask(&request), Ok(()));
        }
    }

    #[test]
    fn a_tenant_sees_its_own_work_only() {
        let other = "other".parse().unwrap();
        assert!(caller(Role::User).may_see(&"lab".parse().unwrap()));
        assert!(!caller(Role::User).may_see(&other));
        assert!(caller(Role::Admin).may_see(&other));
    }

    #[test]
    fn the_server_itself_is_no_client() {
        assert_eq!(Access::of(&Peer::Server), Access::None);
    }
}
