//! Services: deployed, scaled, rolled out and taken down.

use wrun_protocol::job::EncodedSpec;
use wrun_protocol::service::ServiceId;
use wrun_protocol::wire::service::{Deployed, RolloutAction, ScaleTo, ServiceLoad};
use wrun_protocol::wire::user::{ErrorCode, RequestError};
use wrun_protocol::wire::worker::ComponentKind;
use wrun_protocol::{NodeId, SubmitId, TenantName};

use crate::core::Core;
use crate::effect::Answer;

impl Core {
    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "not yet")]
    pub(crate) fn on_deploy(
        &mut self,
        _tenant: TenantName,
        _id: SubmitId,
        _kind: ComponentKind,
        _spec: EncodedSpec,
    ) -> Result<Deployed, RequestError> {
        Err(RequestError::new(ErrorCode::Unavailable, "services are not here yet".to_owned()))
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "not yet")]
    pub(crate) fn on_undeploy(&mut self, id: &ServiceId) -> Result<Answer, RequestError> {
        Err(no_service(id))
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "not yet")]
    pub(crate) fn on_scale(
        &mut self,
        id: &ServiceId,
        _to: ScaleTo,
    ) -> Result<Answer, RequestError> {
        Err(no_service(id))
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "not yet")]
    pub(crate) fn on_rollout(
        &mut self,
        id: &ServiceId,
        _action: RolloutAction,
    ) -> Result<Answer, RequestError> {
        Err(no_service(id))
    }

    #[expect(clippy::unused_self, clippy::needless_pass_by_ref_mut, reason = "not yet")]
    pub(crate) fn on_load(&mut self, _node: NodeId, _loads: Vec<ServiceLoad>) {}
}

fn no_service(id: &ServiceId) -> RequestError {
    RequestError::new(
        ErrorCode::NotFound,
        format!("there is no service `{}`; `wrun services` lists those there are", id.name),
    )
}
