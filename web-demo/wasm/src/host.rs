//! What the page does for the engine.
//!
//! Rule: a host never calls the core back from inside one of these; it does so later, in a task of
//! its own. Bytes that it is given are a view of the core's memory and last as long as the call.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen(typescript_custom_section)]
const TYPES: &str = r#"
/** What the page does for the engine. See `shoal_peer::Output`. */
export interface Host {
  /** The length of the answer is known; -1 if it is not. */
  started(request: number, totalBytes: number): void;
  /** The next bytes for the player: a view, to be copied. */
  deliver(request: number, bytes: Uint8Array): void;
  delivered(request: number): void;
  /** The origin's status, 0 if it cannot be reached. */
  failed(request: number, status: number): void;
  /** Fetch from the origin; a length of -1 is the whole object. */
  fetch(fetch: number, object: string, offset: number, length: number): void;
  cancelFetch(fetch: number): void;
  /** Fetch the digest that lies beside an object. */
  fetchDigest(object: string): void;
  /** Send to the tracker. */
  tell(text: string): void;
  /** The tracker's session stands. ICE servers as JSON, in the form of `RTCIceServer[]`. */
  welcome(iceServers: string): void;
  /** The same, which replace those of the welcome. */
  iceServers(iceServers: string): void;
  /** The tracker ends the session. Come back after so many ms; -1 is the page's own pause. */
  dismissed(afterMs: number, why: string): void;
  /** Another peer's signal as JSON: `{kind: "offer" | "answer", sdp}` or `{kind: "candidate", candidate, mid}`. */
  signal(peer: string, signal: string): void;
  openLink(peer: string, offer: boolean): void;
  closeLink(peer: string): void;
  /** A view, to be sent or copied at once. */
  send(peer: string, bytes: Uint8Array): void;
  /** A checked digest names an object; its URI is as in the playlist, if it says one. */
  published(object: string, uri: string | undefined): void;
  /** Whether the operator lets peers be used. */
  peers(enabled: boolean): void;
  fellBack(object: string, reason: string): void;
  cutOff(peer: string, offence: string): void;
}
"#;

#[wasm_bindgen]
extern "C" {
    /// The page's side. See the TypeScript interface of the same name.
    #[wasm_bindgen(typescript_type = "Host")]
    pub type Host;

    #[wasm_bindgen(method)]
    pub(crate) fn started(this: &Host, request: f64, total_bytes: f64);
    #[wasm_bindgen(method)]
    pub(crate) fn deliver(this: &Host, request: f64, bytes: &[u8]);
    #[wasm_bindgen(method)]
    pub(crate) fn delivered(this: &Host, request: f64);
    #[wasm_bindgen(method)]
    pub(crate) fn failed(this: &Host, request: f64, status: u16);
    #[wasm_bindgen(method)]
    pub(crate) fn fetch(this: &Host, fetch: f64, object: &str, offset: f64, length: f64);
    #[wasm_bindgen(method, js_name = cancelFetch)]
    pub(crate) fn cancel_fetch(this: &Host, fetch: f64);
    #[wasm_bindgen(method, js_name = fetchDigest)]
    pub(crate) fn fetch_digest(this: &Host, object: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn tell(this: &Host, text: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn welcome(this: &Host, ice_servers: &str);
    #[wasm_bindgen(method, js_name = iceServers)]
    pub(crate) fn ice_servers(this: &Host, ice_servers: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn dismissed(this: &Host, after_ms: f64, why: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn signal(this: &Host, peer: &str, signal: &str);
    #[wasm_bindgen(method, js_name = openLink)]
    pub(crate) fn open_link(this: &Host, peer: &str, offer: bool);
    #[wasm_bindgen(method, js_name = closeLink)]
    pub(crate) fn close_link(this: &Host, peer: &str);
    #[wasm_bindgen(method)]
    pub(crate) fn send(this: &Host, peer: &str, bytes: &[u8]);
    #[wasm_bindgen(method)]
    pub(crate) fn published(this: &Host, object: &str, uri: Option<&str>);
    #[wasm_bindgen(method)]
    pub(crate) fn peers(this: &Host, enabled: bool);
    #[wasm_bindgen(method, js_name = fellBack)]
    pub(crate) fn fell_back(this: &Host, object: &str, reason: &str);
    #[wasm_bindgen(method, js_name = cutOff)]
    pub(crate) fn cut_off(this: &Host, peer: &str, offence: &str);
}
