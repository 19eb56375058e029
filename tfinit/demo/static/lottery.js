// The lottery tab: density against accuracy, level by level; the ticket beside the dense network.

import { drawBoundary, Points } from "./boundary.js";
import { short, tenths } from "./canvas.js";
import { Chart } from "./charts.js";
import { drawMask } from "./matrix.js";
import { announce } from "./notices.js";

const field = (name) => document.getElementById(name);
const density = (share) => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %`;

export class LotteryTab {
  #levels = [];
  #points = [new Points(), new Points()];
  #follow = true; // show each new level, until the reader chooses one
  #drawn = null;
  #chart;

  // `actions`: change(lottery settings), start(lottery settings).
  constructor(menu, view, actions) {
    this.view = view;
    for (const name of ["levels", "prune_fraction"]) {
      const input = field(name);
      [input.min, input.max] = menu.ranges[name];
      input.value = String(view[name]);
      input.addEventListener("change", () => {
        const good = input.checkValidity();
        input.setAttribute("aria-invalid", String(!good));
        if (good) actions.change({ [name]: Number(input.value) });
        else input.reportValidity();
      });
    }
    field("rewind").value = view.rewind;
    field("rewind").addEventListener("change", () =>
      actions.change({ rewind: field("rewind").value }),
    );
    field("lottery-pane").addEventListener("change", () =>
      actions.change({ pane: Number(field("lottery-pane").value) }),
    );
    field("lottery").addEventListener("submit", (event) => {
      event.preventDefault();
      actions.start({ ...this.view, pane: Number(field("lottery-pane").value) });
    });
    field("level").addEventListener("change", () => {
      this.#follow = Number(field("level").value) === this.#levels.length - 1;
      this.draw();
    });
    this.#chart = new Chart(field("chart-density"), {
      xName: "density",
      format: tenths,
      tick: (value) => tenths(value, 0),
      right: 26,
      range: (low) =>
        low === null || low === undefined
          ? [0, 1]
          : [Math.max(0, Math.floor(10 * low - 0.5) / 10), 1.005],
      x: {
        log: true,
        reverse: true,
        format: density,
        range: (low) => [Math.min(low ?? 0.5, 0.5) / 1.1, 1.2],
        splits: () => [1, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001],
        values: (_, splits) => splits.map((one) => `${100 * one} %`.replace(/(\.\d)\d+/, "$1")),
      },
    });
  }

  // The panes there are; the one that trained best is offered where none was chosen.
  panes(cards) {
    const select = field("lottery-pane");
    const chosen = this.view.pane ?? Number(select.value || -1);
    select.replaceChildren(...cards.map((card) => new Option(card.name, String(card.index))));
    const best = [...cards].sort(
      (one, other) =>
        Number(other.root.dataset.testAccuracy || 0) - Number(one.root.dataset.testAccuracy || 0),
    )[0];
    const usable = this.view.pane !== null && chosen < cards.length ? chosen : best.index;
    select.value = String(usable);
  }

  clear(text) {
    this.#levels = [];
    this.#drawn = null;
    this.#follow = true;
    this.#points = [new Points(), new Points()];
    field("lottery-results").hidden = true;
    field("lottery-progress").value = 0;
    field("lottery-text").textContent = text;
    document.body.dataset.levels = "0";
  }

  hear(name, data) {
    if (name === "level") this.#add(data);
    else if (name === "lottery_progress") {
      const done = (data.level + data.step / data.steps) / (data.levels + 1);
      field("lottery-progress").value = done;
      field("lottery-text").textContent =
        `Level ${data.level} of ${data.levels}, density ${density(data.density)}: step ${data.step} of ${data.steps}`;
    } else {
      field("lottery-progress").value = 1;
      field("lottery-text").textContent = data.text;
      announce(data.text);
    }
  }

  #add(level) {
    if (level.level === 0) this.clear("");
    this.#levels.push(level);
    field("lottery-results").hidden = false;
    const row = field("levels-table").tBodies[0];
    if (level.level === 0) row.replaceChildren();
    const line = row.insertRow();
    for (const text of [
      String(level.level),
      density(level.density),
      `${level.remaining} of ${level.of}`,
      tenths(level.test_accuracy),
      short(level.train_cost),
    ]) {
      line.insertCell().textContent = text;
    }
    Object.assign(line.dataset, {
      level: level.level,
      density: level.density,
      testAccuracy: level.test_accuracy,
    });
    const select = field("level");
    const before = select.value;
    select.replaceChildren(
      ...this.#levels.map(
        (one, index) =>
          new Option(
            index ? `${index}: density ${density(one.density)}` : "0: dense",
            String(index),
          ),
      ),
    );
    select.value = this.#follow ? String(this.#levels.length - 1) : before;
    document.body.dataset.levels = String(this.#levels.length);
    announce(
      `Level ${level.level}: density ${density(level.density)}, test accuracy ${tenths(level.test_accuracy)}.`,
    );
    this.dirty = true;
  }

  draw(scene) {
    this.scene = scene ?? this.scene;
    this.dirty = false;
    if (!this.#levels.length || !this.scene || field("panel-lottery").hidden) return;
    const chosen = Number(field("level").value);
    const [dense, ticket] = [this.#levels[0], this.#levels[chosen]];
    this.#drawChart(ticket);
    this.#picture("dense", dense, "Decision boundary of the dense network", this.#points[0]);
    this.#picture(
      "ticket",
      ticket,
      `Decision boundary of the ticket of level ${chosen}`,
      this.#points[1],
    );
    for (const row of field("levels-table").tBodies[0].rows)
      row.classList.toggle("shown", row.dataset.level === String(chosen));
    const key = `${chosen} ${document.documentElement.dataset.theme}`;
    if (key === this.#drawn) return;
    this.#drawn = key;
    field("masks").replaceChildren(...ticket.masks.map((mask) => this.#mask(mask)));
  }

  #picture(name, level, words, points) {
    const text = `density ${density(level.density)}, test accuracy ${tenths(level.test_accuracy)}`;
    const canvas = field(`${name}-boundary`);
    field(`${name}-text`).textContent = text;
    canvas.setAttribute("aria-label", `${words}: ${text}`);
    drawBoundary(canvas, this.scene, level.boundary, points);
  }

  #mask(mask) {
    const kept = [...atob(mask.values)].filter((one) => one.charCodeAt(0)).length;
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    const name = document.createElement("strong");
    name.textContent = mask.name;
    const count = document.createElement("span");
    count.className = "unit";
    count.textContent = `${kept} of ${mask.rows * mask.columns}`;
    caption.append(name, count);
    const canvas = document.createElement("canvas");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Mask of ${mask.name}: ${count.textContent} weights survive`);
    drawMask(canvas, mask);
    figure.append(caption, canvas);
    return figure;
  }

  #drawChart(shown) {
    const order = [...this.#levels].reverse(); // x must grow; the axis runs the other way
    const lines = [
      {
        label: "dense",
        said: "dense",
        colour: "soft",
        dash: true,
        values: order.map((level) => level.dense_accuracy),
      },
      {
        label: "ticket",
        said: "ticket",
        colour: "accent",
        points: true,
        values: order.map((level) => level.test_accuracy),
      },
      {
        label: "shown",
        colour: "ink",
        points: 11,
        values: order.map((level) => (level === shown ? level.test_accuracy : null)),
      },
    ];
    this.#chart.set(
      order.map((level) => level.density),
      lines,
    );
    this.#chart.describe(
      `Test accuracy by density: ${this.#levels.map((level) => `${density(level.density)}: ${tenths(level.test_accuracy)}`).join(", ")}`,
    );
  }
}
