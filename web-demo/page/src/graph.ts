/**
 * The neighbours as a graph: this page in the middle, bytes on their way along the links.
 *
 * Rule: a line is as wide, and carries as many dots, as its rate says; each direction has its side.
 * The table beside it has the same in figures.
 */

import { mayMove, type Palette, Stage } from "./canvas.js";
import { shortName } from "./format.js";
import type { LinkRates } from "./rates.js";

/** A neighbour as drawn. */
export interface Neighbour extends LinkRates {
  peer: string;
  /** Substreams that it feeds here. */
  feeds: number;
}

interface Point {
  x: number;
  y: number;
}

interface Placed extends Neighbour {
  /** Where on the circle it is, and where it goes. */
  angle: number;
  target: number;
}

const FRAME_MS = 50;
const EASE = 0.08;
/** Pixels that a dot covers in a second. */
const DOT_SPEED = 70;
const DOT_GAP_MIN = 14;
const ORIGIN = "origin";

/** The graph. */
export class Graph {
  readonly #stage: Stage;
  readonly #palette: Palette;
  #placed: Placed[] = [];

  constructor(canvas: HTMLCanvasElement, palette: Palette) {
    this.#palette = palette;
    this.#stage = new Stage(canvas, FRAME_MS, (context, width, height, at) =>
      this.#draw(context, width, height, at),
    );
  }

  /** The neighbours and the origin's rate, with the substreams that come straight from it. */
  show(neighbours: Neighbour[], originBps: number, roots: number): void {
    const origin = { peer: ORIGIN, inBps: originBps, outBps: 0, feeds: roots };
    const all = [origin, ...neighbours.toSorted((a, b) => (a.peer < b.peer ? -1 : 1))];
    this.#placed = all.map((each, i) => {
      // The origin is on the left; the others keep their order around.
      const target = Math.PI + (i * 2 * Math.PI) / all.length;
      const before = this.#placed.find((placed) => placed.peer === each.peer);
      return { ...each, target, angle: mayMove() ? (before?.angle ?? target) : target };
    });
    this.#stage.refresh();
  }

  #draw(context: CanvasRenderingContext2D, width: number, height: number, at: number): void {
    const centre = { x: width / 2, y: height / 2 };
    const [rx, ry] = [Math.min(width / 2 - 34, 300), height / 2 - 28];
    const places = this.#placed.map((node) => {
      node.angle += (node.target - node.angle) * EASE;
      const [x, y] = [Math.cos(node.angle) * rx, Math.sin(node.angle) * ry];
      return { node, at: { x: centre.x + x, y: centre.y + y } };
    });
    for (const place of places) {
      this.#link(context, place.at, centre, place.node.inBps, "in", at, place.node.peer);
      this.#link(context, place.at, centre, place.node.outBps, "out", at, place.node.peer);
    }
    for (const place of places) {
      this.#node(context, place.at, place.node);
    }
    context.fillStyle = this.#palette.of("accent");
    disc(context, centre, 13);
    context.fillStyle = this.#palette.of("on-accent");
    label(context, "you", centre.x, centre.y + 3.5, "600 10px");
  }

  #link(
    context: CanvasRenderingContext2D,
    outer: Point,
    inner: Point,
    bps: number,
    way: "in" | "out",
    at: number,
    peer: string,
  ): void {
    const [from, to] = way === "in" ? [outer, inner] : [inner, outer];
    const length = Math.hypot(to.x - from.x, to.y - from.y) || 1;
    const along = { x: (to.x - from.x) / length, y: (to.y - from.y) / length };
    // Each direction keeps to its right.
    const side = { x: -along.y * 3, y: along.x * 3 };
    const colour = peer === ORIGIN ? "origin" : way === "in" ? "accent" : "soft";
    context.strokeStyle = this.#palette.of(bps > 0 ? colour : "line");
    context.globalAlpha = bps > 0 ? 0.35 : 0.8;
    context.lineWidth = bps > 0 ? 1 + Math.min(6, Math.sqrt(bps / 150_000)) : 1;
    context.beginPath();
    context.moveTo(from.x + side.x, from.y + side.y);
    context.lineTo(to.x + side.x, to.y + side.y);
    context.stroke();
    context.globalAlpha = 1;
    if (bps <= 0 || !mayMove()) {
      return;
    }
    context.fillStyle = this.#palette.of(colour);
    const gap = Math.max(DOT_GAP_MIN, 60 / Math.sqrt(bps / 100_000));
    for (let way = ((at / 1000) * DOT_SPEED) % gap; way < length; way += gap) {
      disc(context, { x: from.x + along.x * way + side.x, y: from.y + along.y * way + side.y }, 2);
    }
  }

  #node(context: CanvasRenderingContext2D, at: Point, node: Placed): void {
    const isOrigin = node.peer === ORIGIN;
    context.fillStyle = this.#palette.of("card");
    context.strokeStyle = this.#palette.of(isOrigin ? "origin" : node.feeds > 0 ? "accent" : "soft");
    context.lineWidth = 2;
    context.beginPath();
    if (isOrigin) {
      context.roundRect(at.x - 11, at.y - 9, 22, 18, 4);
    } else {
      context.arc(at.x, at.y, 9, 0, 2 * Math.PI);
    }
    context.fill();
    context.stroke();
    context.fillStyle = this.#palette.of("text");
    label(context, node.feeds > 0 ? String(node.feeds) : "", at.x, at.y + 3.5, "600 10px");
    context.fillStyle = this.#palette.of("soft");
    label(context, isOrigin ? "origin" : shortName(node.peer), at.x, at.y + 22, "10px");
  }
}

function disc(context: CanvasRenderingContext2D, at: Point, radius: number): void {
  context.beginPath();
  context.arc(at.x, at.y, radius, 0, 2 * Math.PI);
  context.fill();
}

function label(context: CanvasRenderingContext2D, text: string, x: number, y: number, font: string): void {
  context.font = `${font} system-ui, sans-serif`;
  context.textAlign = "center";
  context.fillText(text, x, y);
}
