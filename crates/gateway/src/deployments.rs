//! `/v1/deployments`

use axum::{
    Json,
    extract::{Multipart, State},
    http::{HeaderMap, StatusCode},
};
use bytes::Bytes;
use serde::Serialize;
use stride_ids::{Code, Failure};

use crate::{control::Deployment, problem::Problem, request, routes::Shared};

/// The largest deployment, manifest and component together, in bytes.
pub(crate) const DEPLOYMENT_LEN_MAX: usize = 64 << 20;

#[derive(Serialize)]
pub(crate) struct DeploymentList {
    deployments: Vec<Deployment>,
}

pub(crate) async fn list(State(gateway): State<Shared>, headers: HeaderMap) -> Result<Json<DeploymentList>, Problem> {
    let tenant = request::tenant(&headers)?;
    Ok(Json(DeploymentList { deployments: gateway.control.deployments(&tenant) }))
}

pub(crate) async fn create(
    State(gateway): State<Shared>,
    headers: HeaderMap,
    form: Result<Multipart, axum::extract::multipart::MultipartRejection>,
) -> Result<(StatusCode, Json<Deployment>), Problem> {
    let tenant = request::tenant(&headers)?;
    let invalid = |message: String| Failure::new(Code::InvalidRequest, message);
    let form = form.map_err(|_| invalid("send multipart/form-data with the fields manifest and component".into()))?;
    let (manifest, component) = fields(form).await?;
    let manifest = manifest.ok_or_else(|| invalid("the field manifest is missing".into()))?;
    let manifest = String::from_utf8(manifest.into()).map_err(|_| invalid("the manifest is not UTF-8".into()))?;
    let component = component.ok_or_else(|| invalid("the field component is missing".into()))?;
    let deployment = gateway.control.deploy(tenant, manifest, component).await?;
    Ok((StatusCode::CREATED, Json(deployment)))
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
