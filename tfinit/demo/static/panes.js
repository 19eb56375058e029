// A pane: the card with its initialization, boundary, numbers and verdict.

import { drawBoundary, Points } from "./boundary.js";
import { inSight, percent, short } from "./canvas.js";
import { copy } from "./copying.js";
import { element, icon, prose } from "./elements.js";
import { Inside } from "./inside.js";
import { LETTERS } from "./theme.js";

const PREDICTS = {
  learns: ["yes", "Expected to learn"],
  fails: ["no", "Expected to fail"],
  slow: ["warn", "Expected to learn slowly"],
};
const OUTCOMES = {
  learned: ["yes", "Learned"],
  learning: ["warn", "Learning"],
  stuck: ["no", "Stuck"],
  diverged: ["no", "Diverged"],
};

function grouped(select, initializations) {
  const groups = [
    ["Schemes", []],
    ["Keras initializers", []],
    ["tfinit initializers", []],
  ];
  for (const one of initializations) {
    // "keras" is no initializer but what Keras takes when nothing is said.
    const family = one.name === "keras" ? "" : one.label.split(" ")[0];
    groups[Math.max(0, ["", "Keras", "tfinit"].indexOf(family))][1].push(one);
  }
  for (const [label, members] of groups) {
    if (members.length)
      select.append(
        element(
          "optgroup",
          { label },
          ...members.map((one) => element("option", { value: one.name, textContent: one.label })),
        ),
      );
  }
}

// "What is He?": the formula, what it is good for, the paper.
function explained({ label, about }) {
  const { formula, why, paper, link } = about;
  const source = link
    ? element("a", { href: link, target: "_blank", rel: "noreferrer", textContent: paper })
    : paper;
  return element(
    "details",
    { className: "about" },
    element("summary", { textContent: `What is ${label.split(",")[0]}?` }),
    prose("p", `\`${formula}\``),
    prose("p", why),
    ...(paper ? [element("p", {}, source)] : []),
  );
}

// The scheme that a line of code initializes with, if it does no more than that.
const SCHEME = /^tfinit\.initialize\(model, "(\w+)"(?:, x)?\)$/;

export class PaneCard {
  frame = null;
  curves = { step: [], train_cost: [], train_accuracy: [], test_cost: [], test_accuracy: [] };
  #points = new Points();
  #entry;
  #actions;
  #schemes;

  // `actions`: change(pane settings), remove(), copy(button).
  constructor(index, settings, menu, actions) {
    this.index = index;
    this.settings = settings;
    this.letter = LETTERS[index];
    this.#entry = menu.initializations.find((one) => one.name === settings.initialization);
    this.#actions = actions;
    this.#schemes = menu.initializations.map((one) => one.name);
    const id = `pane-${index}`;
    this.select = element("select", {
      id: `${id}-initialization`,
      "aria-label": `Initialization of pane ${this.letter}`,
    });
    grouped(this.select, menu.initializations);
    this.select.value = settings.initialization;
    this.select.addEventListener("change", () => {
      const chosen = menu.initializations.find((one) => one.name === this.select.value);
      actions.change({
        initialization: chosen.name,
        value: chosen.value ? chosen.value.default : null,
      });
    });
    this.removeButton = element(
      "button",
      { type: "button", "aria-label": `Remove pane ${this.letter}` },
      icon("close"),
    );
    this.removeButton.addEventListener("click", actions.remove);
    this.canvas = element("canvas", {
      className: "boundary",
      role: "img",
      "aria-label": `Decision boundary of pane ${this.letter}: nothing yet`,
    });
    this.numbers = Object.fromEntries(
      ["cost", "train", "test", "step"].map((name) => [name, element("dd", { textContent: "–" })]),
    );
    const number = (label, name) =>
      element("div", {}, element("dt", { textContent: label }), this.numbers[name]);
    this.status = element("p", { className: "diverged", hidden: true });
    this.verdict = element(
      "div",
      { className: "said verdict" },
      element("strong", { textContent: "Diagnosis …" }),
    );
    this.outcome = element("div", { className: "said outcome", hidden: true });
    const copy = element(
      "button",
      {
        type: "button",
        className: "copy-python",
        "aria-label": `Copy pane ${this.letter} as Python`,
      },
      icon("copy"),
      element("span", { textContent: "Copy as Python" }),
    );
    copy.addEventListener("click", () => actions.copy(copy));
    this.root = element(
      "article",
      {
        className: "pane",
        "data-letter": this.letter,
        "data-pane": String(index),
        "data-status": "loading",
        "aria-labelledby": `${id}-title`,
      },
      element("h3", { id: `${id}-title`, className: "hidden", textContent: this.name }),
      element(
        "header",
        {},
        element("span", { className: "letter", textContent: this.letter, "aria-hidden": "true" }),
        this.select,
        this.removeButton,
      ),
      this.#value(id, actions),
      explained(this.#entry),
      element(
        "div",
        { className: "body" },
        this.canvas,
        element(
          "dl",
          { className: "numbers" },
          number("Cost", "cost"),
          number("Train", "train"),
          number("Test", "test"),
          number("Step", "step"),
        ),
      ),
      element("div", { className: "text" }, this.status, this.verdict, this.outcome, copy),
    );
    this.inside = new Inside(index, this.letter, this.name.slice(3));
  }

  get name() {
    const { value } = this.settings;
    return `${this.letter}: ${this.#entry.label.split(",")[0]}${value === null ? "" : ` ${value}`}`;
  }

  // A slider for what spans decades, with the number beside it.
  #value(id, actions) {
    const kind = this.#entry.value;
    if (!kind) return element("div", { className: "value empty", "aria-hidden": "true" });
    const { min, max, log } = kind;
    const number = element("input", {
      id: `${id}-value`,
      type: "number",
      min: String(min),
      max: String(max),
      step: "any",
      required: true,
      value: String(this.settings.value),
    });
    const label = element("label", { for: `${id}-value`, textContent: log ? "Std" : kind.label });
    const to = log ? Math.log10 : (value) => value;
    const from = log
      ? (at) => Number((10 ** at).toPrecision(2))
      : (at) => Number(at.toPrecision(3));
    const slider = element("input", {
      type: "range",
      min: String(to(min)),
      max: String(to(max)),
      step: log ? "0.05" : "0.1",
      "aria-label": `${kind.label} of pane ${this.letter}, slider`,
    });
    slider.value = String(to(this.settings.value));
    const say = () => slider.setAttribute("aria-valuetext", number.value);
    slider.addEventListener("input", () => {
      number.value = String(from(Number(slider.value)));
      number.removeAttribute("aria-invalid");
      say();
    });
    slider.addEventListener("change", () => this.#take(number, actions));
    number.addEventListener(
      "change",
      () => this.#take(number, actions) && (slider.value = String(to(Number(number.value)))),
    );
    say();
    return element("div", { className: "value" }, label, slider, number);
  }

  #take(number, actions) {
    const good = number.checkValidity();
    number.toggleAttribute("aria-invalid", !good);
    if (good) actions.change({ ...this.settings, value: Number(number.value) }, true);
    else {
      number.setAttribute("aria-invalid", "true");
      number.reportValidity();
    }
    return good;
  }

  // The value changed and nothing else: the card stays, and the focus in it.
  keep(settings) {
    this.settings = settings;
    this.root.querySelector("h3").textContent = this.name;
    this.inside.rename(this.name.slice(3));
  }

  clear() {
    this.frame = null;
    for (const name of Object.keys(this.curves)) this.curves[name] = [];
    this.status.hidden = this.outcome.hidden = true;
    this.verdict.className = "said verdict";
    this.verdict.replaceChildren(element("strong", { textContent: "Diagnosis …" }));
    this.root.dataset.status = "loading";
    for (const name of ["outcome", "cameTrue", "predicts", "divergedAt"])
      delete this.root.dataset[name];
  }

  // The newest frame. What a diverged frame lacks stays as it last was.
  take(frame) {
    const { curves } = frame;
    for (const name of Object.keys(this.curves)) {
      this.curves[name].length = Math.min(this.curves[name].length, curves.from);
      this.curves[name].push(...curves[name]);
    }
    const old = this.frame;
    this.frame = {
      ...frame,
      boundary: frame.boundary ?? old?.boundary,
      layers: frame.layers ?? old?.layers,
      weights: frame.weights ?? old?.weights,
    };
    const last = (name) => this.curves[name].findLast((value) => value !== null) ?? null;
    const data = {
      step: frame.step,
      status: frame.status,
      trainCost: last("train_cost"),
      trainAccuracy: last("train_accuracy"),
      testCost: last("test_cost"),
      testAccuracy: last("test_accuracy"),
      points: this.curves.step.length,
    };
    for (const [name, value] of Object.entries(data)) this.root.dataset[name] = value ?? "";
    if (frame.diverged_at !== null) {
      this.root.dataset.divergedAt = frame.diverged_at;
      this.status.textContent = `Diverged at step ${frame.diverged_at}. The pictures are the last finite ones.`;
    } else delete this.root.dataset.divergedAt;
    this.status.hidden = frame.diverged_at === null;
    this.numbers.cost.textContent = short(data.trainCost);
    this.numbers.train.textContent = percent(data.trainAccuracy);
    this.numbers.test.textContent = percent(data.testAccuracy);
    this.numbers.step.textContent = String(frame.step);
  }

  judge({ verdict, predicts, findings, terms }) {
    const [sign, words] = PREDICTS[predicts] ?? ["warn", "Diagnosis"];
    this.root.dataset.predicts = predicts;
    this.verdict.className = `said verdict ${predicts}`;
    this.verdict.replaceChildren(element("strong", {}, icon(sign), words), prose("p", verdict));
    for (const [term, meaning] of Object.entries(terms))
      this.verdict.append(
        element(
          "details",
          {},
          element("summary", { textContent: `What is the ${term}?` }),
          prose("p", meaning),
        ),
      );
    if (findings.length) {
      const summary =
        findings.length === 1 ? "Why, and the cure" : `Why, and the cures: ${findings.length} findings`;
      this.verdict.append(
        element(
          "details",
          { className: "why" },
          element("summary", { textContent: summary }),
          element("ul", {}, ...findings.map((one) => this.#finding(one, verdict))),
        ),
      );
    }
    return `${this.name}: ${words}. ${verdict}`;
  }

  // A finding: what was seen, unless the verdict says it; why that is a fault; what to do.
  #finding({ kind, evidence, why, cure, code }, verdict) {
    const item = element("li", {}, element("b", { textContent: kind }));
    if (evidence !== verdict) item.append(prose("p", evidence));
    if (why) item.append(prose("p", why));
    if (cure) item.append(prose("p", cure));
    if (code) item.append(this.#code(code, kind));
    return item;
  }

  // A line of code to copy; and to try in this pane, where it is an initialization of the menu.
  #code(code, kind) {
    const button = element("button", { type: "button", textContent: "Copy" });
    button.setAttribute("aria-label", `Copy the cure of ${kind}`);
    button.addEventListener("click", () => copy(code, button, "The cure"));
    const line = element("div", { className: "code" }, element("code", { textContent: code }), button);
    const name = code.match(SCHEME)?.[1];
    if (name && name !== this.settings.initialization && this.#schemes.includes(name)) {
      const attempt = element("button", { type: "button", textContent: "Try it here" });
      attempt.setAttribute("aria-label", `Try the cure of ${kind} in pane ${this.letter}`);
      attempt.addEventListener("click", () =>
        this.#actions.change({ initialization: name, value: null }),
      );
      line.append(attempt);
    }
    return line;
  }

  // What to announce: nothing where only the numbers of an outcome changed.
  conclude({ outcome, came_true, text }) {
    const [sign, words] = OUTCOMES[outcome];
    const { outcome: before, cameTrue } = this.root.dataset;
    const news = before !== outcome || cameTrue !== String(came_true);
    this.root.dataset.outcome = outcome;
    this.root.dataset.cameTrue = String(came_true);
    this.outcome.hidden = false;
    this.outcome.className = `said outcome ${outcome}`;
    this.outcome.replaceChildren(element("strong", {}, icon(sign), words), prose("p", text));
    return news ? `${this.name}: ${words}. ${text}` : null;
  }

  draw(scene) {
    if (!this.frame || !scene) return;
    const { step, boundary } = this.frame;
    if (inSight(this.canvas)) drawBoundary(this.canvas, scene, boundary, this.#points);
    const { trainCost, trainAccuracy } = this.root.dataset;
    this.canvas.setAttribute(
      "aria-label",
      `Decision boundary of pane ${this.name}, step ${step}: train cost ${short(Number(trainCost))}, train accuracy ${percent(Number(trainAccuracy))}`,
    );
    this.inside.draw(this.frame, this.name);
  }
}
