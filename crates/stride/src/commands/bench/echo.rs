//! The baseline: the least that axum can do with a request, in a process of its own.

use axum::{Router, body::Bytes, routing::post, serve::ListenerExt as _};

use crate::output;

/// Serves until the process is ended.
pub(crate) async fn serve() -> anyhow::Result<()> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    output::line(format_args!("stride ready http://{}", listener.local_addr()?))?;
    // As the node does it.
    let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
    let router = Router::new().route("/echo", post(|body: Bytes| async { body }));
    Ok(axum::serve(listener, router).await?)
}
