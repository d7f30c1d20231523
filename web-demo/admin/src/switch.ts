/**
 * The switches that turn peers off, or on again: those of one stream, and those of all. Peers are
 * used where both are on.
 *
 * Rule: it shows what the server says, never what was clicked; off is asked for twice, with what it
 * will cost.
 */

import { element, say } from "../../page/src/dom.js";

const MORE = "Off: every viewer goes on over plain HTTP at once.";

/** What a switch is about. */
export interface Subject {
  /** The stream, or all of them, in a sentence. */
  name: string;
  /** Where it is switched, below `api/v1/`. */
  path: string;
  enabled: boolean;
  viewers: number;
  /** What the origin would have to send, in words. */
  withoutPeers: string;
}

export class Switch {
  readonly #id: string;
  readonly #button: HTMLButtonElement;
  #subject: Subject | null = null;

  constructor(id: string) {
    this.#id = id;
    this.#button = element(id, HTMLButtonElement);
    this.#button.addEventListener("click", () => void this.#clicked());
  }

  show(subject: Subject): void {
    this.#subject = subject;
    this.#button.disabled = false;
    this.#button.setAttribute("aria-checked", String(subject.enabled));
    this.#button.setAttribute("aria-label", `Peers of ${subject.name}`);
    say(`${this.#id}-text`, subject.enabled ? "on" : "off");
  }

  async #clicked(): Promise<void> {
    const subject = this.#subject;
    if (!subject || (subject.enabled && !(await confirmed(subject)))) {
      return;
    }
    const { name, path, enabled } = subject;
    try {
      const response = await fetch(`../api/v1/${path}`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ enabled: !enabled }),
      });
      const said = response.ok ? "" : await why(response);
      say("switch-more", response.ok ? `Peers of ${name} are ${enabled ? "off" : "on"}.` : said);
    } catch {
      say("switch-more", "The server cannot be reached; nothing was changed.");
    }
    setTimeout(() => say("switch-more", MORE), 8_000);
  }
}

/** Why the server did not do it. */
async function why(response: Response): Promise<string> {
  const { error }: { error?: string } = await response.json().catch(() => ({}));
  return error ?? `The server answered ${response.status}; nothing was changed.`;
}

function confirmed({ name, viewers, withoutPeers }: Subject): Promise<boolean> {
  const dialog = element("confirm", HTMLDialogElement);
  say("confirm-title", `Turn peers off for ${name}?`);
  const cost = `The origin will then have to send about ${withoutPeers}.`;
  say("confirm-text", `${viewers} viewers go on over plain HTTP. ${cost} It stays off until it is turned on, or the server starts again.`);
  say("confirm-go", "Turn off");
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((done) => {
    dialog.addEventListener("close", () => done(dialog.returnValue === "go"), { once: true });
  });
}
