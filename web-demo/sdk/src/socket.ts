/**
 * The session with the tracker: a WebSocket that comes back.
 *
 * Rule: pauses between attempts grow and are random, so that a restarted tracker is not met by
 * all its viewers at once.
 */

/** What a socket tells its owner. */
export interface SocketEvents {
  connected(): void;
  /** What a text frame says, or a binary one. */
  message(frame: string | Uint8Array): void;
  lost(): void;
}

const BACK_OFF_MIN_MS = 500;
const BACK_OFF_MAX_MS = 10_000;
/** A socket that does not open within this time will not. */
const CONNECT_TIMEOUT_MS = 5_000;

/** A WebSocket that is opened again after it closed, until `close` is called. */
export class Socket {
  readonly #where: () => Promise<string>;
  readonly #events: SocketEvents;
  #socket: WebSocket | null = null;
  #backOffMs = BACK_OFF_MIN_MS;
  #toldMs: number | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  /** `where` is asked for the URL before each attempt. */
  constructor(where: () => Promise<string>, events: SocketEvents) {
    this.#where = where;
    this.#events = events;
    void this.#begin();
  }

  /** Sends, if a session stands; without one there is nobody to tell. */
  send(text: string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) {
      this.#socket.send(text);
    }
  }

  /** The tracker said when to come back. */
  comeBackAfter(ms: number): void {
    this.#toldMs = ms;
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#socket?.close();
    this.#socket = null;
  }

  async #begin(): Promise<void> {
    let socket: WebSocket;
    try {
      const url = await this.#where();
      if (this.#closed) {
        return;
      }
      socket = new WebSocket(url);
      socket.binaryType = "arraybuffer";
    } catch (error) {
      if (!this.#closed) {
        console.warn("shoal: no way to the tracker", error);
        this.#ended();
      }
      return;
    }
    this.#socket = socket;
    const impatience = setTimeout(() => socket.close(), CONNECT_TIMEOUT_MS);
    const isCurrent = () => this.#socket === socket && !this.#closed;
    socket.onopen = () => {
      clearTimeout(impatience);
      if (isCurrent()) {
        this.#backOffMs = BACK_OFF_MIN_MS;
        this.#events.connected();
      }
    };
    socket.onmessage = ({ data }: MessageEvent<string | ArrayBuffer>) => {
      if (isCurrent()) {
        this.#events.message(typeof data === "string" ? data : new Uint8Array(data));
      }
    };
    socket.onclose = () => {
      clearTimeout(impatience);
      if (isCurrent()) {
        this.#ended();
      }
    };
  }

  #ended(): void {
    this.#socket = null;
    this.#events.lost();
    const pauseMs = this.#toldMs ?? this.#backOffMs;
    this.#backOffMs = Math.min(this.#backOffMs * 2, BACK_OFF_MAX_MS);
    this.#toldMs = null;
    this.#timer = setTimeout(() => void this.#begin(), pauseMs * (0.5 + Math.random()));
  }
}
