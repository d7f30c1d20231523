/**
 * The plots of the last ten minutes.
 *
 * Rule: the accent for what a plot is about, grey for what it is compared with, dashes for what
 * would be or could be. Beside each name stands its newest value until somebody points at
 * another.
 */

import uPlot from "uplot";
import { percent, rate, UNKNOWN } from "../../page/src/format.js";
import type { Series } from "./model.js";

const HEIGHT = 190;
const WINDOW_S_MIN = 120;
const colour = (name: string) =>
  getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

type Column = (number | null)[];

/** One plot: what it is made of and how it reads. */
interface Kind {
  id: string;
  /** The highest value that is always on the scale. */
  atLeast: number;
  atMost?: number;
  text: (value: number) => string;
  lines: {
    label: string;
    colour: string;
    of: (series: Series) => Column;
    dashed?: boolean;
    filled?: boolean;
    stepped?: boolean;
  }[];
}

const stacked = (below: Column, above: Column): Column =>
  above.map((value, i) => (value === null ? null : value + (below[i] ?? 0)));

const KINDS: Kind[] = [
  {
    id: "plot-origin",
    atLeast: 1e6,
    text: rate,
    lines: [
      { label: "without peers", colour: "soft", of: (it) => it.withoutPeersBps, dashed: true },
      { label: "origin", colour: "accent", of: (it) => it.originBps, filled: true },
    ],
  },
  {
    id: "plot-offload",
    atLeast: 1,
    atMost: 1,
    text: (value) => percent(value, 1),
    lines: [
      { label: "bound", colour: "soft", of: (it) => it.bound, dashed: true },
      { label: "offload", colour: "accent", of: (it) => it.offload, filled: true },
    ],
  },
  {
    id: "plot-source",
    atLeast: 1e6,
    text: rate,
    lines: [
      {
        label: "all",
        colour: "origin",
        of: (it) => stacked(it.fromPeersBps, it.fromOriginBps),
        filled: true,
      },
      { label: "from peers", colour: "accent", of: (it) => it.fromPeersBps, filled: true },
    ],
  },
  {
    id: "plot-rebuffer",
    atLeast: 0.04,
    text: (value) => percent(value, 2),
    lines: [{ label: "rebuffering", colour: "text", of: (it) => it.rebuffering }],
  },
  {
    id: "plot-viewers",
    atLeast: 4,
    text: (value) => String(Math.round(value)),
    lines: [{ label: "viewers", colour: "accent", of: (it) => it.viewers, stepped: true, filled: true }],
  },
];

function clock(s: number, seconds: boolean): string {
  const parts = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } as const;
  const format = seconds ? { ...parts, second: "2-digit" as const } : parts;
  return new Date(s * 1000).toLocaleTimeString([], format);
}

/** Colours the bands behind the rebuffering line. */
function bands(plot: uPlot): void {
  const { ctx, bbox } = plot;
  const y = (share: number) => Math.max(bbox.top, plot.valToPos(share, "y", true));
  const edges: [string, number, number][] = [
    ["good", y(0), y(0.01)],
    ["fair", y(0.01), y(0.03)],
    ["bad", y(0.03), bbox.top],
  ];
  ctx.save();
  ctx.globalAlpha = 0.1;
  for (const [name, from, to] of edges) {
    ctx.fillStyle = colour(name);
    ctx.fillRect(bbox.left, to, bbox.width, from - to);
  }
  ctx.restore();
}

function options(kind: Kind, width: number): uPlot.Options {
  const axis = {
    stroke: colour("soft"),
    grid: { stroke: colour("line"), width: 1 },
    ticks: { show: false },
    font: "11px system-ui, sans-serif",
  };
  const { text, atLeast, atMost } = kind;
  return {
    width,
    height: HEIGHT,
    cursor: { drag: { x: false, y: false }, points: { size: 6 } },
    scales: {
      x: { range: (_, min, max) => [Math.min(min ?? 0, (max ?? 0) - WINDOW_S_MIN), max ?? 0] },
      y: { range: (_, __, max) => [0, atMost ?? Math.max(atLeast, (max ?? 0) * 1.1)] },
    },
    axes: [
      { ...axis, size: 26, space: 50, incrs: [60, 120, 300], values: (_, at) => at.map((s) => clock(s, false)) },
      { ...axis, size: 72, values: (_, at) => at.map((value) => text(value)) },
    ],
    series: [
      { label: "at", value: (plot, at) => clock(at ?? plot.data[0].at(-1) ?? 0, true) },
      ...kind.lines.map((line) => {
        const stroke = colour(line.colour);
        return {
          label: line.label,
          stroke,
          width: 1.5,
          points: { show: false },
          value: (plot: uPlot, value: number | null, at: number, index: number | null) => {
            const shown = index === null ? (plot.data[at]?.at(-1) ?? null) : value;
            return shown === null ? UNKNOWN : text(shown);
          },
          ...(line.dashed ? { dash: [5, 4] } : {}),
          ...(line.filled ? { fill: `${stroke}26` } : {}),
          ...(line.stepped && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
        };
      }),
    ],
    hooks: kind.id === "plot-rebuffer" ? { drawClear: [bands] } : {},
  };
}

/** All plots; made anew when the colours or the room change. */
export class Plots {
  #plots = new Map<string, uPlot>();
  #series: Series | null = null;

  constructor() {
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.#plots.forEach((plot) => plot.destroy());
      this.#plots.clear();
      this.#draw();
    });
    const sizes = new ResizeObserver((entries) => {
      for (const { target, contentRect } of entries) {
        this.#plots.get(target.id)?.setSize({ width: Math.floor(contentRect.width), height: HEIGHT });
      }
    });
    KINDS.forEach(({ id }) => {
      const root = document.getElementById(id);
      if (root) {
        sizes.observe(root);
      }
    });
  }

  show(series: Series): void {
    this.#series = series;
    this.#draw();
  }

  #draw(): void {
    const series = this.#series;
    if (!series) {
      return;
    }
    for (const kind of KINDS) {
      const data = [series.at, ...kind.lines.map((line) => line.of(series))] as uPlot.AlignedData;
      const plot = this.#plots.get(kind.id);
      const root = document.getElementById(kind.id);
      if (plot) {
        plot.setData(data);
      } else if (root && root.clientWidth > 0) {
        this.#plots.set(kind.id, new uPlot(options(kind, root.clientWidth), data, root));
      }
    }
  }
}
