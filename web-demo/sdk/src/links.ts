/**
 * The links to neighbours: one RTCPeerConnection with one unordered data channel each.
 *
 * Rule: it opens and closes what the engine asks for and reads no message. Whatever goes wrong
 * with a link ends in one `down`.
 */

/** What links tell their owner. */
export interface LinkEvents {
  /** A signal for that peer, as JSON. */
  signal(peer: string, signal: string): void;
  up(peer: string): void;
  down(peer: string): void;
  message(peer: string, bytes: Uint8Array): void;
  /** So many bytes still wait in the browser. */
  buffered(peer: string, bytes: number): void;
}

/** Failing pairs take 5–15 s to fail by themselves. */
const OPEN_TIMEOUT_MS = 15_000;
/** The event comes only when the amount falls through this: any other would never come for what is
 * sent below it. */
const LOW_WATER_BYTES = 0;
/** Signals kept of peers that the engine has not heard of yet: introductions race with offers. */
const EARLY_SIGNALS_MAX = 64;
/** Opening a link takes a core for tens of milliseconds. While a player starts they are left to it,
 * for so long at most. */
const HOLD_MS_MAX = 1_000;

interface Link {
  connection: RTCPeerConnection;
  channel: RTCDataChannel | null;
  open: boolean;
  timer: ReturnType<typeof setTimeout>;
  /** Signals are taken one after the other. */
  turn: Promise<void>;
}

type Signal =
  | { kind: "offer" | "answer"; sdp: string }
  | { kind: "candidate"; candidate: string; mid: string | null };

/** All links of a page's engine. */
export class Links {
  readonly #events: LinkEvents;
  readonly #links = new Map<string, Link>();
  #early: [peer: string, signal: string][] = [];
  /** Links to be opened once the player has begun; null as soon as it has. */
  #held: Map<string, boolean> | null = new Map();
  readonly #patience: ReturnType<typeof setTimeout>;
  iceServers: RTCIceServer[] = [];

  constructor(events: LinkEvents) {
    this.#events = events;
    this.#patience = setTimeout(() => this.release(), HOLD_MS_MAX);
  }

  /** The player has begun. */
  release(): void {
    const held = this.#held ?? new Map<string, boolean>();
    this.#held = null;
    clearTimeout(this.#patience);
    held.forEach((offer, peer) => this.open(peer, offer));
  }

  /** Begins to open a link; `up` or `down` follows. */
  open(peer: string, offer: boolean): void {
    this.close(peer);
    if (this.#held) {
      this.#held.set(peer, offer);
      return;
    }
    let connection: RTCPeerConnection;
    try {
      connection = new RTCPeerConnection({ iceServers: this.iceServers });
    } catch {
      // The browser allows no more connections.
      queueMicrotask(() => this.#events.down(peer));
      return;
    }
    const timer = setTimeout(() => this.#down(peer, link), OPEN_TIMEOUT_MS);
    const link: Link = { connection, channel: null, open: false, timer, turn: Promise.resolve() };
    this.#links.set(peer, link);
    connection.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate && this.#links.get(peer) === link) {
        const { candidate: line, sdpMid: mid } = candidate;
        this.#tell(peer, { kind: "candidate", candidate: line, mid });
      }
    };
    connection.onconnectionstatechange = () => {
      if (["failed", "closed"].includes(connection.connectionState)) {
        this.#down(peer, link);
      }
    };
    connection.ondatachannel = ({ channel }) => this.#adopt(peer, link, channel);
    if (offer) {
      this.#adopt(peer, link, connection.createDataChannel("shoal", { ordered: false }));
      this.#inTurn(peer, link, () => this.#describe(peer, link));
    }
    const mine = this.#early.filter(([early]) => early === peer);
    this.#early = this.#early.filter(([early]) => early !== peer);
    mine.forEach(([, signal]) => this.signal(peer, signal));
  }

  /** What another peer said by way of the tracker. */
  signal(peer: string, text: string): void {
    const link = this.#links.get(peer);
    if (!link) {
      this.#early.push([peer, text]);
      this.#early = this.#early.slice(-EARLY_SIGNALS_MAX);
      return;
    }
    const signal = JSON.parse(text) as Signal;
    this.#inTurn(peer, link, () => this.#take(peer, link, signal));
  }

  /** Sends; a link that cannot take it is closed. */
  send(peer: string, bytes: Uint8Array): void {
    const link = this.#links.get(peer);
    if (!link?.open) {
      return;
    }
    try {
      link.channel?.send(bytes as Uint8Array<ArrayBuffer>);
    } catch {
      // The browser's own buffer is full or the channel is closing: neither mends itself.
      queueMicrotask(() => this.#down(peer, link));
    }
  }

  /** Closes a link; no event follows. */
  close(peer: string): void {
    this.#held?.delete(peer);
    const link = this.#links.get(peer);
    if (link) {
      this.#links.delete(peer);
      hangUp(link);
    }
  }

  /** Those that are not open yet. */
  opening(): string[] {
    const opening = [...this.#links].filter(([, link]) => !link.open).map(([peer]) => peer);
    return [...(this.#held?.keys() ?? []), ...opening];
  }

  closeAll(): void {
    this.#held = null;
    clearTimeout(this.#patience);
    [...this.#links.keys()].forEach((peer) => this.close(peer));
  }

  async #take(peer: string, link: Link, signal: Signal): Promise<void> {
    const { connection } = link;
    if (signal.kind === "candidate") {
      const { candidate, mid } = signal;
      const line = mid === null ? { sdpMLineIndex: 0 } : { sdpMid: mid };
      // One that this browser cannot read (an unresolvable name, say) is one way less.
      await connection.addIceCandidate({ candidate, ...line }).catch(() => undefined);
      return;
    }
    await connection.setRemoteDescription({ type: signal.kind, sdp: signal.sdp });
    if (signal.kind === "offer") {
      await this.#describe(peer, link);
    }
  }

  async #describe(peer: string, link: Link): Promise<void> {
    await link.connection.setLocalDescription();
    const description = link.connection.localDescription;
    if (description && description.type !== "rollback" && description.type !== "pranswer") {
      this.#tell(peer, { kind: description.type, sdp: description.sdp });
    }
  }

  #adopt(peer: string, link: Link, channel: RTCDataChannel): void {
    link.channel = channel;
    channel.binaryType = "arraybuffer";
    channel.bufferedAmountLowThreshold = LOW_WATER_BYTES;
    channel.onopen = () => {
      if (this.#links.get(peer) === link) {
        clearTimeout(link.timer);
        link.open = true;
        this.#events.up(peer);
      }
    };
    channel.onclose = () => this.#down(peer, link);
    channel.onmessage = ({ data }) => {
      if (data instanceof ArrayBuffer && this.#links.get(peer) === link) {
        this.#events.message(peer, new Uint8Array(data));
      }
    };
    channel.onbufferedamountlow = () => {
      if (this.#links.get(peer) === link) {
        this.#events.buffered(peer, channel.bufferedAmount);
      }
    };
  }

  #inTurn(peer: string, link: Link, step: () => Promise<void>): void {
    link.turn = link.turn.then(step).catch(() => this.#down(peer, link));
  }

  #tell(peer: string, signal: Signal): void {
    this.#events.signal(peer, JSON.stringify(signal));
  }

  #down(peer: string, link: Link): void {
    if (this.#links.get(peer) === link) {
      this.#links.delete(peer);
      hangUp(link);
      this.#events.down(peer);
    }
  }
}

function hangUp(link: Link): void {
  clearTimeout(link.timer);
  const { connection, channel } = link;
  connection.onicecandidate = null;
  connection.onconnectionstatechange = null;
  connection.ondatachannel = null;
  if (channel) {
    channel.onopen = channel.onclose = channel.onmessage = channel.onbufferedamountlow = null;
  }
  connection.close();
}
