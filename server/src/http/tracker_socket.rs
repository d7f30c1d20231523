//! The tracker's WebSocket: from HTTP to a session.
//!
//! Rule: buffers are small and messages limited, because there are many sessions and few messages.

use super::{Shared, StreamMeter};
use crate::net::{Account, ConnectionMeter};
use crate::sessions;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, Extension, Path, State};
use axum::response::Response;
use shoal_wire::tracker_message::{CLIENT_MESSAGE_BYTES_MAX, SERVER_MESSAGE_BYTES_MAX};
use std::net::SocketAddr;
use std::sync::Arc;

/// Bytes of each buffer of an idle session; tungstenite's own default is 128 KiB.
const BUFFER_BYTES: usize = 4096;

/// `GET /live/{stream}/tracker`.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    ConnectInfo(address): ConnectInfo<SocketAddr>,
    Extension(meter): Extension<Arc<ConnectionMeter>>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let account = stream.parse().ok().and_then(|name| shared.meters.stream(&name));
    meter.counts_for(account.map_or(Account::None, StreamMeter::account));
    upgrade
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_write_buffer_size(4 * SERVER_MESSAGE_BYTES_MAX)
        .max_message_size(CLIENT_MESSAGE_BYTES_MAX)
        .max_frame_size(CLIENT_MESSAGE_BYTES_MAX)
        .on_upgrade(move |socket| async move {
            meter.becomes_control();
            sessions::serve(socket, shared.sessions, stream, address).await;
        })
}
