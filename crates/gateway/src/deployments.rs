//! `/v1/deployments`

use axum::{
    Json,
    extract::{Multipart, Path, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use serde::Serialize;
use stride_agents::Refusal;
use stride_ids::{Code, Failure, Name};
use stride_runtime::Purity;

use crate::{control::Deployment, problem::Problem, request, routes::Shared};

/// The largest deployment, manifest and component together, in bytes.
pub(crate) const DEPLOYMENT_LEN_MAX: usize = 64 << 20;

#[derive(Serialize)]
pub(crate) struct DeploymentList {
    deployments: Vec<Listed>,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    #[serde(flatten)]
    deployment: Deployment,
    /// Whether its functions are pure, and why not.
    pure: bool,
    impure_because: Option<String>,
    refused: Option<Refused>,
}

/// Agents that stay with the version before.
#[derive(Serialize)]
struct Refused {
    agents: u64,
    example: String,
    cause: Failure,
}

pub(crate) async fn list(State(gateway): State<Shared>, headers: HeaderMap) -> Result<Json<DeploymentList>, Problem> {
    let tenant = request::tenant(&headers)?;
    let deployments =
        gateway.control.deployments(&tenant).into_iter().map(|one| listed(&gateway, &tenant, one)).collect();
    Ok(Json(DeploymentList { deployments }))
}

/// A deployment with what is known of it beside what is kept.
fn listed(gateway: &Shared, tenant: &Name, deployment: Deployment) -> Listed {
    let refusal = gateway.engine.refusal(tenant, &deployment.component, &deployment.version);
    let refused = refusal.map(|Refusal { agents, example, cause }| {
        let example = format!("{}/{}", example.kind, example.key);
        Refused { agents, example, cause }
    });
    let impure_because = match gateway.functions.purity(tenant, &deployment.component) {
        Ok(Purity::Pure) => None,
        Ok(Purity::Impure(cause)) => Some(cause.to_string()),
        // What is not there any more is not called any more.
        Err(failure) => Some(failure.message),
    };
    Listed { deployment, pure: impure_because.is_none(), impure_because, refused }
}

pub(crate) async fn rollback(
    State(gateway): State<Shared>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<(StatusCode, Json<Listed>), Problem> {
    let tenant = request::tenant(&headers)?;
    let deployment = gateway.control.roll_back(tenant.clone(), id).await?;
    settle_triggers(&gateway, &tenant, &deployment).await;
    Ok((StatusCode::CREATED, Json(listed(&gateway, &tenant, deployment))))
}

pub(crate) async fn create(
    State(gateway): State<Shared>,
    headers: HeaderMap,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<(StatusCode, Json<Listed>), Problem> {
    let tenant = request::tenant(&headers)?;
    let invalid = |message: String| Failure::new(Code::InvalidRequest, message);
    let form = form.map_err(|_| invalid("send multipart/form-data with the fields manifest and component".into()))?;
    let (manifest, component) = fields(form).await?;
    let manifest = manifest.ok_or_else(|| invalid("the field manifest is missing".into()))?;
    let manifest = String::from_utf8(manifest.into()).map_err(|_| invalid("the manifest is not UTF-8".into()))?;
    let component = component.ok_or_else(|| invalid("the field component is missing".into()))?;
    let deployment = gateway.control.deploy(tenant.clone(), manifest, component).await?;
    settle_triggers(&gateway, &tenant, &deployment).await;
    Ok((StatusCode::CREATED, Json(listed(&gateway, &tenant, deployment))))
}

/// What is published after the answer is heard by the triggers of the deployment. It is in force whatever becomes of them.
async fn settle_triggers(gateway: &Shared, tenant: &Name, deployment: &Deployment) {
    if let Err(failure) = gateway.triggers.settle(tenant, &deployment.component).await {
        let component = &deployment.component;
        tracing::warn!(%component, %failure, "the triggers of a deployment are not set yet; it is tried again");
    }
}

async fn fields(mut form: Multipart) -> Result<(Option<Bytes>, Option<Bytes>), Failure> {
    let unreadable = |e: axum::extract::multipart::MultipartError| match e.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let message = format!("the deployment is over the limit of {DEPLOYMENT_LEN_MAX} bytes");
            Failure::new(Code::PayloadTooLarge, message)
        }
        _ => Failure::new(Code::InvalidRequest, format!("the form could not be read: {}", e.body_text())),
    };
    let (mut manifest, mut component) = (None, None);
    while let Some(field) = form.next_field().await.map_err(unreadable)? {
        match field.name() {
            Some("manifest") => manifest = Some(field.bytes().await.map_err(unreadable)?),
            Some("component") => component = Some(field.bytes().await.map_err(unreadable)?),
            other => {
                let message = format!("unknown field `{}`; use manifest and component", other.unwrap_or_default());
                return Err(Failure::new(Code::InvalidRequest, message));
            }
        }
    }
    Ok((manifest, component))
}
