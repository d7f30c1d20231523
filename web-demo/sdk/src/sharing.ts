/**
 * What this page may do with the viewer's uplink, and why.
 *
 * Rule: what the viewer chose is the most that is ever done; a page that has not been asked yet, a
 * metered line, a hidden tab and the operator's switch can only lower it.
 */

import type { Options, ShareMode, ShareReason } from "./api.js";

/** What is in force. */
export interface Sharing {
  share: ShareMode;
  reason: ShareReason;
}

interface NetworkInformation extends EventTarget {
  saveData?: boolean;
  type?: string;
}

/** Follows everything that decides. */
export class SharePolicy {
  readonly #options: Options;
  readonly #changed: () => void;
  readonly #network: NetworkInformation | undefined;
  #wanted: ShareMode;
  #consented: boolean;
  #peersEnabled = true;
  #now: Sharing;

  constructor(options: Options, changed: () => void) {
    this.#options = options;
    this.#changed = changed;
    this.#wanted = options.share ?? "share";
    this.#consented = options.consent === undefined;
    this.#network = (navigator as { connection?: NetworkInformation }).connection;
    this.#network?.addEventListener("change", this.#look);
    document.addEventListener("visibilitychange", this.#look);
    this.#now = this.#decide();
    void this.#ask();
  }

  get now(): Sharing {
    return this.#now;
  }

  /** What the viewer wants; the page's Options say it first. */
  want(share: ShareMode): void {
    this.#wanted = share;
    void this.#ask();
    this.#look();
  }

  /** The operator's switch. */
  setPeersEnabled(enabled: boolean): void {
    this.#peersEnabled = enabled;
    this.#look();
  }

  close(): void {
    this.#network?.removeEventListener("change", this.#look);
    document.removeEventListener("visibilitychange", this.#look);
  }

  #asked = false;

  async #ask(): Promise<void> {
    if (this.#consented || this.#asked || this.#wanted !== "share" || !this.#options.consent) {
      return;
    }
    this.#asked = true;
    try {
      this.#consented = await this.#options.consent();
    } catch {
      this.#consented = false;
    }
    this.#look();
  }

  readonly #look = (): void => {
    const now = this.#decide();
    if (now.share !== this.#now.share || now.reason !== this.#now.reason) {
      this.#now = now;
      this.#changed();
    }
  };

  #decide(): Sharing {
    const { receiveOnlyOnMetered = true, receiveOnlyWhenHidden = false } = this.#options;
    if (!this.#peersEnabled) {
      // The engine obeys the switch itself; the choice is kept for when peers are on again.
      return { share: this.#wanted, reason: "switched-off-by-server" };
    }
    if (this.#wanted !== "share") {
      return { share: this.#wanted, reason: "chosen" };
    }
    if (!this.#consented) {
      return { share: "receive-only", reason: "no-consent" };
    }
    if (receiveOnlyOnMetered && this.#isMetered()) {
      return { share: "receive-only", reason: "metered" };
    }
    if (receiveOnlyWhenHidden && document.hidden) {
      return { share: "receive-only", reason: "hidden" };
    }
    return { share: "share", reason: "chosen" };
  }

  #isMetered(): boolean {
    return this.#network?.saveData === true || this.#network?.type === "cellular";
  }
}
