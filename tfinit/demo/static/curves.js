// The four charts under the panes: cost and accuracy by step, signals by layer.

import { percent, short } from "./canvas.js";
import { Chart, curveLines, decades } from "./charts.js";
import { calm, LETTERS } from "./theme.js";

const field = (name) => document.getElementById(name);
// Redrawing four charts takes some ms; ten times a second is smooth enough for curves.
const EVERY = 100;
// A cost beyond these is off the chart: the others would be squeezed to a line.
const [LEAST, MOST] = [1e-5, 1000];
const SMALLEST = 1e-12;

export class Curves {
  #last = 0;
  #again = 0;

  constructor() {
    const steps = { range: (_, high) => [0, Math.max(high ?? 0, 20)] };
    const layers = {
      range: (low, high) => [(low ?? 1) - 0.3, (high ?? 1) + 0.3],
      splits: (chart) => {
        const last = chart.data[0].length;
        const every = Math.ceil(last / 8);
        return chart.data[0].filter(
          (layer) =>
            layer === 1 || layer === last || (layer % every === 0 && last - layer >= every),
        );
      },
    };
    this.cost = new Chart(field("chart-cost"), {
      log: true,
      range: decades(LEAST, MOST),
      x: steps,
      format: short,
      xName: "step",
    });
    this.accuracy = new Chart(field("chart-accuracy"), {
      range: (low) => [Math.min(0.4, Math.floor((low ?? 0.4) * 10) / 10), 1.02],
      x: steps,
      format: percent,
      xName: "step",
    });
    this.activations = new Chart(field("chart-activations"), {
      log: true,
      range: decades(SMALLEST, Infinity),
      x: layers,
      format: short,
      xName: "layer",
    });
    this.gradients = new Chart(field("chart-gradients"), {
      log: true,
      range: decades(SMALLEST, Infinity),
      x: layers,
      format: short,
      xName: "layer",
    });
  }

  legend(cards) {
    const parts = [
      ["dash", "train"],
      ["dash dashed", "test"],
    ].map(([look, text]) => {
      const item = document.createElement("span");
      const line = document.createElement("i");
      line.className = look;
      item.append(line, text);
      return item;
    });
    const panes = cards.map((card) => {
      const item = document.createElement("span");
      item.dataset.letter = card.letter;
      const letter = document.createElement("i");
      letter.className = "letter";
      letter.textContent = card.letter;
      letter.setAttribute("aria-hidden", "true");
      item.append(letter, card.name.slice(3));
      return item;
    });
    field("legend").replaceChildren(...panes, ...parts);
  }

  draw(cards, hidden) {
    if (hidden) return;
    const now = performance.now();
    const wait = this.#last + (calm.matches ? 5 : 1) * EVERY - now;
    clearTimeout(this.#again);
    if (wait > 0) {
      this.#again = setTimeout(() => this.draw(cards, field("panel-training").hidden), wait);
      return;
    }
    this.#last = now;
    this.#drawCurves(cards);
    const notes = [
      this.#drawSignal(this.activations, cards, "activation_std", "Activations"),
      this.#drawSignal(this.gradients, cards, "gradient_std", "Gradients"),
    ];
    if (cards.some((card) => card.curves.train_cost.some((cost) => cost > MOST)))
      notes.unshift(`Costs above ${MOST} leave the chart.`);
    field("curves-note").textContent = notes.filter(Boolean).join(" ");
  }

  #drawCurves(cards) {
    this.cost.set(...curveLines(cards, "train_cost", "test_cost"));
    this.accuracy.set(...curveLines(cards, "train_accuracy", "test_accuracy"));
    const say = (name, format) =>
      cards
        .map(
          (card) =>
            `${card.letter} ${format(card.curves[name].findLast((value) => value !== null))}`,
        )
        .join(", ");
    const step = Math.max(0, ...cards.map((card) => card.frame?.step ?? 0));
    this.cost.describe(
      `Cost by step, now step ${step}. Train: ${say("train_cost", short)}. Test: ${say("test_cost", short)}.`,
    );
    this.accuracy.describe(
      `Accuracy by step, now step ${step}. Train: ${say("train_accuracy", percent)}. Test: ${say("test_accuracy", percent)}.`,
    );
  }

  // Zero has no place on a log axis: it is drawn on the lower edge, and said.
  #drawSignal(chart, cards, name, title) {
    const seen = cards.map((card) => card.frame?.layers?.map((layer) => layer[name]) ?? []);
    const depth = Math.max(0, ...seen.map((values) => values.length));
    if (!depth) return "";
    const positive = seen.flat().filter((value) => value > 0);
    const edge = positive.length
      ? 10 ** Math.floor(Math.log10(Math.max(Math.min(...positive), SMALLEST)) - 0.5)
      : 0.1;
    const zeros = cards.filter((_, index) => seen[index].includes(0)).map((card) => card.letter);
    const lines = cards.map((card, index) => ({
      label: card.letter,
      letter: LETTERS[index],
      said: LETTERS[index],
      colour: `pane-${index}`,
      points: true,
      values: Array.from({ length: depth }, (_, at) =>
        seen[index][at] === undefined || seen[index][at] === null
          ? null
          : Math.max(seen[index][at], edge),
      ),
    }));
    chart.set(
      Array.from({ length: depth }, (_, at) => at + 1),
      lines,
    );
    chart.describe(
      `${title}: standard deviation by layer. ${cards.map((card, index) => `${card.letter}: ${seen[index].map(short).join(", ")}`).join(". ")}.`,
    );
    return zeros.length
      ? `${title} of ${zeros.join(", ")} are 0 in some layers: on the lower edge.`
      : "";
  }
}
