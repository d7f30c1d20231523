//! The tracker's WebSocket: from HTTP to a session.
//!
//! Rule: whoever may not join learns it before there is a session. Messages are limited, because
//! there are many sessions.

use super::{Client, Shared, StreamMeter};
use crate::admission::Refusal;
use crate::net::{Account, ConnectionMeter, Upgrade};
use crate::sessions::{self, Guest};
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use shoal_wire::tracker_message::CLIENT_MESSAGE_BYTES_MAX;
use std::sync::Arc;

/// `GET /live/{stream}/tracker`.
pub(super) async fn upgrade(
    State(shared): State<Shared>,
    Path(stream): Path<String>,
    Extension(client): Extension<Client>,
    Extension(meter): Extension<Arc<ConnectionMeter>>,
    uri: Uri,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    let Ok(name) = stream.parse() else {
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "session_stream", "no such stream");
        return refusal.respond(&shared.metrics);
    };
    let account = shared.meters.stream(&name);
    meter.counts_for(account.map_or(Account::None, StreamMeter::account));
    let (ticket, ice) = match shared.admission.join(&name, &client, (&uri, &headers)) {
        Ok(joined) => joined,
        Err(refusal) => return refusal.respond(&shared.metrics),
    };
    upgrade.then(CLIENT_MESSAGE_BYTES_MAX, move |socket| async move {
        meter.becomes_control();
        let guest = Guest { stream: name, ticket, address: client.address, ice };
        sessions::serve(socket, shared.sessions, guest).await;
    })
}
