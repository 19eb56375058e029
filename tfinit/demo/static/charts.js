// Lines on axes, by uPlot: a line per pane, named by its letter at its end as well as by colour.

import uPlot from "./vendor/uPlot.esm.js";
import { inSight, power, short } from "./canvas.js";
import { colour, LETTERS, onTheme } from "./theme.js";

const FONT = "11px system-ui, sans-serif";

function logLabels(_, splits) {
  const decades = splits.filter(isPower).length;
  const every = Math.ceil(decades / 7);
  return splits.map((value) => {
    if (value === null || !isPower(value)) return decades > 1 ? null : short(value);
    const exponent = Math.round(Math.log10(value));
    if (exponent % every) return null;
    return Math.abs(exponent) <= 2 ? String(10 ** exponent).slice(0, 4) : power(exponent);
  });
}

function isPower(value) {
  const exponent = Math.log10(value);
  return Math.abs(exponent - Math.round(exponent)) < 1e-9;
}

function axis(options) {
  return {
    stroke: () => colour("soft"),
    font: FONT,
    gap: 3,
    grid: { stroke: () => colour("grid"), width: 1 },
    ticks: { show: false },
    ...options,
  };
}

// The letters at the ends of the lines, moved apart where they would lie on each other.
function letters(chart, lines) {
  const scale = devicePixelRatio || 1;
  const { ctx, bbox } = chart;
  const ends = [];
  lines.forEach((line, index) => {
    if (!line.letter) return;
    const values = chart.data[index + 1];
    let last = values.length - 1;
    while (last >= 0 && (values[last] === null || values[last] === undefined)) last--;
    if (last < 0) return;
    const y = chart.valToPos(values[last], "y", true);
    ends.push({
      line,
      x: chart.valToPos(chart.data[0][last], "x", true),
      y: Math.max(bbox.top + 6 * scale, Math.min(bbox.top + bbox.height - 6 * scale, y)),
    });
  });
  ends.sort((one, other) => one.y - other.y);
  const apart = 12 * scale;
  for (let i = 1; i < ends.length; i++) {
    const [above, below] = [ends[i - 1], ends[i]];
    if (Math.abs(above.x - below.x) < apart && below.y - above.y < apart) below.y = above.y + apart;
  }
  // Pushed past the lower edge: back up, from below.
  for (let i = ends.length - 1, floor = bbox.top + bbox.height; i >= 0; i--) {
    if (ends[i].y > floor) ends[i].y = floor;
    if (i && Math.abs(ends[i].x - ends[i - 1].x) < apart) floor = ends[i].y - apart;
    else floor = bbox.top + bbox.height;
  }
  ctx.save();
  ctx.font = `700 ${12 * scale}px system-ui, sans-serif`;
  ctx.textAlign = "left";
  ctx.textBaseline = "middle";
  ctx.lineWidth = 3 * scale;
  ctx.strokeStyle = colour("surface");
  for (const { line, x, y } of ends) {
    ctx.fillStyle = colour(line.colour);
    ctx.strokeText(line.letter, x + 5 * scale, y);
    ctx.fillText(line.letter, x + 5 * scale, y);
  }
  ctx.restore();
}

export class Chart {
  #plot = null;
  #key = "";
  #lines = [];
  #data = [[]];
  #holder;
  #readout;

  // options: log (y), range(min, max) of y, x: {range, log, reverse, values, splits}, format, xName
  constructor(figure, options) {
    this.figure = figure;
    this.options = options;
    this.#holder = document.createElement("div");
    this.#holder.className = "plot";
    this.#holder.setAttribute("role", "img");
    this.#readout = document.createElement("p");
    this.#readout.className = "readout";
    this.#readout.setAttribute("aria-hidden", "true");
    figure.append(this.#holder, this.#readout);
    this.describe(`${figure.querySelector("h3").textContent}: nothing yet`);
    new ResizeObserver(() => this.#resize()).observe(this.#holder);
    onTheme(() => this.#plot?.redraw());
  }

  describe(text) {
    this.#holder.setAttribute("aria-label", text);
  }

  // lines: [{label, letter, said, colour, dash, points, values}], one value per x. `letter` stands at
  // the end of the line, `said` before its value under the chart; either may be left out.
  set(x, lines) {
    this.#lines = lines;
    this.#data = [x, ...lines.map((line) => line.values)];
    if (!inSight(this.#holder)) return;
    const key = lines.map((line) => `${line.colour} ${line.dash} ${line.label}`).join();
    if (this.#plot && key === this.#key) {
      this.#plot.setData(this.#data);
      return;
    }
    this.#key = key;
    this.#plot?.destroy();
    this.#plot = null;
    this.#resize();
  }

  #resize() {
    const { clientWidth: width, clientHeight: height } = this.#holder;
    if (!width || !this.#data[0].length) return;
    if (this.#plot) this.#plot.setSize({ width, height });
    else this.#plot = new uPlot(this.#settings(width, height), this.#data, this.#holder);
  }

  #settings(width, height) {
    const { log, range, x = {} } = this.options;
    return {
      width,
      height,
      padding: [6, this.options.right ?? 18, 0, 0],
      legend: { show: false },
      cursor: { y: false, drag: { x: false, y: false }, points: { size: 6 } },
      scales: {
        x: {
          time: false,
          range: (_, low, high) => (x.range ? x.range(low, high) : [low, high]),
          distr: x.log ? 3 : 1,
          dir: x.reverse ? -1 : 1,
        },
        y: { distr: log ? 3 : 1, range: (_, low, high) => range(low, high) },
      },
      axes: [
        axis({
          size: 26,
          values:
            x.values ??
            ((_, splits) => splits.map((one) => (Number.isInteger(one) ? String(one) : null))),
          ...(x.splits ? { splits: x.splits } : {}),
          ...(x.log ? { filter: (_, splits) => splits } : {}),
        }),
        axis({
          size: 42,
          ...(log
            ? { values: logLabels, filter: (_, splits) => splits, space: 18 }
            : {
                values: (_, splits) =>
                  splits.map(this.options.tick ?? ((value) => this.options.format(value))),
                space: 28,
              }),
        }),
      ],
      series: [
        {},
        ...this.#lines.map((line) => ({
          label: line.label,
          stroke: () => colour(line.colour),
          width: 2,
          dash: line.dash ? [5, 4] : undefined,
          points: {
            show: Boolean(line.points),
            size: line.points === true ? 6 : line.points,
            fill: () => colour(line.colour),
          },
          spanGaps: false,
        })),
      ],
      hooks: {
        draw: [(chart) => letters(chart, this.#lines)],
        setCursor: [(chart) => this.#read(chart.cursor.idx)],
      },
    };
  }

  #read(index) {
    if (index === null || index === undefined) {
      this.#readout.textContent = "";
      return;
    }
    const { format, xName, x = {} } = this.options;
    const values = this.#lines
      .filter((line) => line.said)
      .map((line) => `${line.said} ${format(line.values[index])}`);
    this.#readout.textContent = `${xName} ${(x.format ?? String)(this.#data[0][index])}: ${values.join(" · ")}`;
  }
}

// Whole decades around the values; `least` and `most` bound what a runaway may claim.
export function decades(least, most) {
  return (low, high) => {
    if (low === null || low === undefined) return [0.1, 1];
    const bottom = Math.floor(Math.log10(Math.max(low, least)) + 1e-9);
    const top = Math.ceil(Math.log10(Math.min(high, most)) - 1e-9);
    return [10 ** bottom, 10 ** Math.max(top, bottom + 1)];
  };
}

// The lines of a quantity over steps: training solid, test dashed. Steps of the panes are joined.
export function curveLines(panes, train, test) {
  const steps = panes.reduce(
    (longest, pane) => (pane.curves.step.length > longest.length ? pane.curves.step : longest),
    [],
  );
  const all = [...new Set([...steps, ...panes.flatMap((pane) => pane.curves.step.slice(-1))])].sort(
    (a, b) => a - b,
  );
  const place = new Map(all.map((step, index) => [step, index]));
  const spread = (pane, name) => {
    const values = new Array(all.length).fill(null);
    pane.curves.step.forEach((step, i) => {
      const index = place.get(step);
      if (index !== undefined) values[index] = positive(pane.curves[name][i], name);
    });
    return values;
  };
  const lines = panes.flatMap((pane, index) => [
    {
      label: `${LETTERS[index]} test`,
      colour: `pane-${index}`,
      dash: true,
      values: spread(pane, test),
    },
    {
      label: `${LETTERS[index]} train`,
      letter: LETTERS[index],
      said: LETTERS[index],
      colour: `pane-${index}`,
      dash: false,
      values: spread(pane, train),
    },
  ]);
  return [all, lines];
}

// A log axis has no place for a cost of exactly 0.
function positive(value, name) {
  return value !== null && name.endsWith("cost") ? Math.max(value, 1e-9) : value;
}
