/**
 * Canvases that are drawn only while somebody can see them.
 *
 * Rule: a hidden tab, or a canvas that is scrolled away, costs nothing; who asked for less motion
 * sees a picture that changes when the figures do.
 */

/** Draws at a time in ms of `performance.now()`, in CSS pixels. */
export type Draw = (context: CanvasRenderingContext2D, width: number, height: number, at: number) => void;

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const dark = matchMedia("(prefers-color-scheme: dark)");

/** Whether things may move. */
export const mayMove = () => !calm.matches;

/** Colours of the style sheet, read again when the scheme changes. */
export class Palette {
  #colours = new Map<string, string>();

  constructor() {
    dark.addEventListener("change", () => this.#colours.clear());
  }

  of(name: string): string {
    let colour = this.#colours.get(name);
    if (colour === undefined) {
      colour = getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
      this.#colours.set(name, colour);
    }
    return colour;
  }
}

/** A canvas with a loop that sleeps. */
export class Stage {
  readonly #canvas: HTMLCanvasElement;
  readonly #draw: Draw;
  readonly #everyMs: number;
  #isSeen = false;
  #asked = 0;
  #drawnAt = -Infinity;

  /** Draws every `everyMs` at most while it is seen and things may move; Infinity: when told. */
  constructor(canvas: HTMLCanvasElement, everyMs: number, draw: Draw) {
    [this.#canvas, this.#everyMs, this.#draw] = [canvas, everyMs, draw];
    new IntersectionObserver((entries) => {
      this.#isSeen = entries.some((entry) => entry.isIntersecting);
      this.refresh();
    }).observe(canvas);
    new ResizeObserver(() => this.refresh()).observe(canvas);
    document.addEventListener("visibilitychange", () => this.refresh());
  }

  /** The figures changed: draws soon, if it is seen. */
  refresh(): void {
    this.#drawnAt = -Infinity;
    this.#ask();
  }

  #ask(): void {
    if (this.#asked === 0 && this.#isSeen && !document.hidden) {
      this.#asked = requestAnimationFrame((at) => this.#frame(at));
    }
  }

  #frame(at: number): void {
    this.#asked = 0;
    if (at - this.#drawnAt >= this.#everyMs - 2) {
      this.#drawnAt = at;
      this.#paint(at);
    }
    if (mayMove() && this.#everyMs !== Infinity) {
      this.#ask();
    }
  }

  #paint(at: number): void {
    const canvas = this.#canvas;
    const [width, height, ratio] = [canvas.clientWidth, canvas.clientHeight, devicePixelRatio];
    const context = canvas.getContext("2d");
    if (!context || width === 0) {
      return;
    }
    const [w, h] = [Math.round(width * ratio), Math.round(height * ratio)];
    if (canvas.width !== w || canvas.height !== h) {
      [canvas.width, canvas.height] = [w, h];
    }
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    this.#draw(context, width, height, at);
  }
}
