/**
 * The trees: one of them drawn, all of them counted.
 *
 * Rule: it shows what the server sent, and says what the server left out.
 */

import { element, say } from "../../page/src/dom.js";
import { shortName } from "../../page/src/format.js";
import type { Forest, Tree } from "./model.js";

const SVG = "http://www.w3.org/2000/svg";
const [HEIGHT, MARGIN] = [260, 18];
/** Room that a leaf needs to be seen apart from the next. */
const LEAF_PX = 5;
const LABEL_PX = 34;

function shape(name: string, attributes: Record<string, string | number>): SVGElement {
  const node = document.createElementNS(SVG, name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, String(value)));
  return node;
}

/** Where each node is: leaves side by side, parents above the middle of theirs. */
export function layout(parents: number[]): { x: number[]; depth: number[]; depthMax: number; leaves: number } {
  const children: number[][] = parents.map(() => []);
  const roots: number[] = [];
  const depth: number[] = [];
  parents.forEach((parent, i) => {
    (children[parent] ?? roots).push(i);
    depth.push((depth[parent] ?? 0) + 1);
  });
  const x: number[] = parents.map(() => 0);
  let leaves = 0;
  const place = (at: number): number => {
    const places = (children[at] ?? []).map(place);
    const own = places.length > 0 ? ((places[0] ?? 0) + (places.at(-1) ?? 0)) / 2 : leaves++;
    x[at] = own;
    return own;
  };
  roots.forEach(place);
  const width = Math.max(1, leaves - 1);
  const one = leaves === 1;
  return { x: x.map((at) => (one ? 0.5 : at / width)), depth, depthMax: Math.max(1, ...depth), leaves };
}

function draw(tree: Tree, room: number): SVGElement {
  const { x, depth, depthMax, leaves } = layout(tree.parents);
  const width = Math.max(room, leaves * LEAF_PX + 2 * MARGIN);
  const left = (at: number) => MARGIN + (x[at] ?? 0.5) * (width - 2 * MARGIN);
  const top = (hops: number) => MARGIN + (hops / depthMax) * (HEIGHT - 3 * MARGIN);
  const inner = new Set(tree.parents);
  const svg = shape("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}` });
  const lines = tree.parents.map((parent, i) =>
    shape("line", {
      x1: parent < 0 ? width / 2 : left(parent),
      y1: parent < 0 ? top(0) : top(depth[parent] ?? 1),
      x2: left(i),
      y2: top(depth[i] ?? 1),
    }),
  );
  const size = Math.max(2, Math.min(6, ((width - 2 * MARGIN) / Math.max(1, leaves)) * 0.42));
  const nodes = tree.peers.map((peer, i) => {
    const [cx, cy] = [left(i), top(depth[i] ?? 1)];
    const dot = shape("circle", { cx, cy, r: size, class: inner.has(i) ? "inner" : "" });
    const title = shape("title", {});
    title.textContent = peer;
    dot.append(title);
    return dot;
  });
  const named = leaves * LABEL_PX <= width ? tree.peers : [];
  const names = named.map((peer, i) => {
    const text = shape("text", { x: left(i), y: top(depth[i] ?? 1) + 18, "text-anchor": "middle" });
    text.textContent = shortName(peer);
    return text;
  });
  const origin = shape("rect", { x: width / 2 - 10, y: top(0) - 7, width: 20, height: 14, rx: 3 });
  const label = shape("text", { x: width / 2 + 16, y: top(0) + 4 });
  label.textContent = "origin";
  svg.append(...lines, ...nodes, ...names, origin, label);
  return svg;
}

function histogram(id: string, counts: number[], first: number): void {
  const last = counts.findLastIndex((count) => count > 0);
  const most = Math.max(1, ...counts);
  const rows = counts.slice(0, last + 1).map((count, i) => {
    const row = document.createElement("tr");
    const head = document.createElement("th");
    head.scope = "row";
    head.textContent = `${i + first}${i === counts.length - 1 ? "+" : ""}`;
    const fill = document.createElement("span");
    fill.className = "fill";
    fill.style.width = `${(count / most) * 100}%`;
    const bar = document.createElement("td");
    bar.append(fill);
    const number = document.createElement("td");
    number.textContent = String(count);
    row.append(head, bar, number);
    return row;
  });
  element(id, HTMLTableElement).tBodies[0]?.replaceChildren(...rows);
}

/** The card with the trees. */
export class Trees {
  readonly #select = element("substream", HTMLSelectElement);
  #forest: Forest | undefined;
  #drawn = "";

  constructor() {
    this.#select.addEventListener("change", () => this.#draw());
  }

  show(forest: Forest | undefined): void {
    this.#forest = forest;
    const trees = forest?.trees ?? [];
    const values = trees.map((tree) => String(tree.substream));
    if (values.join() !== [...this.#select.options].map((option) => option.value).join()) {
      const before = this.#select.value;
      this.#select.replaceChildren(...values.map((value) => new Option(value, value)));
      this.#select.value = values.includes(before) ? before : (values[0] ?? "");
    }
    this.#select.disabled = trees.length < 2;
    histogram("depths", forest?.depths ?? [], 1);
    histogram("fan-out", forest?.fan_out ?? [], 0);
    const part = forest?.is_whole ? "" : " nearest to the origin";
    say("trees-more", forest ? `${forest.visited} places${part} in ${forest.substreams} substreams.` : "");
    this.#draw();
  }

  #draw(): void {
    const tree = this.#forest?.trees.find((it) => String(it.substream) === this.#select.value);
    const root = element("tree", HTMLElement);
    const key = JSON.stringify([root.clientWidth, tree]);
    if (key === this.#drawn) {
      return;
    }
    this.#drawn = key;
    if (!tree || tree.peers.length === 0) {
      root.replaceChildren("Nobody is in this tree.");
      return;
    }
    root.replaceChildren(draw(tree, root.clientWidth));
    const part = tree.is_whole ? "" : ", the top of it";
    const text = `Substream ${tree.substream}: ${tree.peers.length} viewers${part}`;
    root.setAttribute("aria-label", text);
  }
}
