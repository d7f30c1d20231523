//! The tracker's WebSocket: from HTTP to a session.
//!
//! Rule: messages are limited, because there are many sessions.

use super::{Shared, StreamMeter};
use crate::net::{Account, ConnectionMeter, Upgrade};
use crate::sessions;
use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::response::Response;
use shoal_wire::tracker_message::CLIENT_MESSAGE_BYTES_MAX;
use std::net::SocketAddr;
use std::sync::Arc;

/// `GET /live/{stream}/tracker`.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Extension(meter): Extension<Arc<ConnectionMeter>>,
    upgrade: Upgrade,
) -> Response {
    let account = stream.parse().ok().and_then(|name| shared.meters.stream(&name));
    meter.counts_for(account.map_or(Account::None, StreamMeter::account));
    upgrade.then(CLIENT_MESSAGE_BYTES_MAX, move |socket| async move {
        meter.becomes_control();
        sessions::serve(socket, shared.sessions, stream, address).await;
    })
}
