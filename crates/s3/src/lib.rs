//! The S3 front: a node's objects, as S3 clients ask for them. The protocol (XML, headers, signatures) is the crate `s3s`;
//! this one says what each operation means for objects.
//!
//! ```text
//! front      one method per operation: names in, answer out     accounts   whose access key it is
//! get        reading                                            describe   headers that are kept, conditions, times
//! put        storing, copying, deleting                         checksum   what arrives is what was sent
//! listing    keys to pages with common prefixes                 error      what went wrong, with S3's codes
//! parts      uploads in parts                                   settings   where, and with which keys
//! directory  what clients take for directories
//! ```
//! Always true: nothing is answered to a request whose signature does not fit; what a client asks for and would not get
//! (encryption, tags, locks, other people's access) is refused, never left out in silence.
//! Not here: where bytes are, versions, parts and conditions (see `data`).
#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod accounts;
mod checksum;
mod describe;
mod directory;
mod error;
mod front;
mod get;
mod listing;
mod parts;
mod put;
mod settings;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use s3s::service::{S3Service, S3ServiceBuilder};
use stride_data::Objects;
use stride_sim::Clock;

pub use accounts::Account;
pub use settings::{Settings, SettingsError};

/// Serves the objects of these accounts' tenants to S3 clients.
pub fn router(objects: Arc<Objects>, accounts: &[Account], clock: Clock) -> Router {
    let mut builder = S3ServiceBuilder::new(front::Front::new(objects, accounts, clock));
    builder.set_auth(accounts::Keys::new(accounts));
    Router::new().fallback(answer).with_state(builder.build())
}

async fn answer(State(service): State<S3Service>, request: Request) -> Response {
    match service.call(request.map(s3s::Body::http_body_unsync)).await {
        Ok(response) => response.map(Body::new),
        Err(error) => {
            tracing::error!(?error, "an S3 request could not be answered");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
