/**
 * The server's events.
 *
 * Rule: a connection that breaks is made again by the browser, and begins with the past, so that
 * nothing has to be remembered here.
 */

import type { Forest, Past, Sample } from "./model.js";

export interface Listener {
  past(past: Past): void;
  sample(sample: Sample): void;
  forests(forests: Record<string, Forest>): void;
  live(isLive: boolean): void;
}

/** A browser that was refused does not try again by itself. */
const RETRY_MS = 3_000;

/** Listens for as long as the page is there. */
export function listen(listener: Listener): void {
  const source = new EventSource("events");
  const on = <T>(name: string, take: (data: T) => void) => {
    source.addEventListener(name, (event: MessageEvent<string>) => {
      take(JSON.parse(event.data) as T);
    });
  };
  on("history", listener.past);
  on("sample", listener.sample);
  on("forests", listener.forests);
  source.addEventListener("open", () => listener.live(true));
  source.addEventListener("error", () => {
    listener.live(false);
    if (source.readyState === EventSource.CLOSED) {
      setTimeout(() => listen(listener), RETRY_MS);
    }
  });
}
