// The page: settings in the address, one run on the server, what it sends drawn as it comes.

import { Choices, markPreset, presets } from "./choose.js";
import { showClasses } from "./classes.js";
import { Connection, menu as askMenu, pythonCode } from "./connection.js";
import { copy } from "./copying.js";
import { Curves } from "./curves.js";
import { insight } from "./insight.js";
import { shortcuts } from "./keys.js";
import { read, write } from "./link.js";
import { sayLoading } from "./loading.js";
import { LotteryTab } from "./lottery.js";
import { announce, dismiss, notice } from "./notices.js";
import { PaneCard } from "./panes.js";
import { whenUnseen } from "./resting.js";
import { showTab, tabs } from "./tabs.js";
import { calm, onTheme, themeButton } from "./theme.js";

const field = (name) => document.getElementById(name);
const STATES = {
  loading: "preparing",
  paused: "paused",
  training: "training",
  done: "done",
  lottery: "lottery",
  over: "not running",
};
const UNTRAINED = "Train a pane first, then prune it here.";
// Changes that come in a row (a slider, a number typed) make one run.
const SETTLE = 250;
// A reader who asked for less motion gets two pictures a second.
const CALM = 500;

class Page {
  cards = [];
  scene = null;
  state = "loading";
  #connection = null;
  #timer = 0;
  #opening = null;
  #dirty = new Set();
  #drawing = false;
  // A reader who comes without a link sees at once what this is about.
  #startsItself = !location.search && !calm.matches;

  constructor(menu) {
    this.menu = menu;
    sayLoading(this.#startsItself);
    const { settings, view, faults } = read(location.search, menu);
    Object.assign(this, { settings, view });
    if (faults.length)
      notice(
        "link",
        `Not everything in this link was understood, and has its default: ${faults.join("; ")}.`,
      );
    this.choices = new Choices(menu, (part) => this.change(part));
    this.curves = new Curves();
    this.lottery = new LotteryTab(menu, view.lottery, {
      change: (part) => this.look({ lottery: Object.assign(this.view.lottery, part) }),
      start: (chosen) => this.startLottery(chosen),
    });
    presets(menu, view, (chosen) => this.change(chosen));
    field("version").textContent = menu.version;
    this.#wire();
    this.#showTab(view.tab);
    this.#showSpeed();
    this.#makeCards();
    this.change({}, { wait: 0 });
  }

  #wire() {
    field("start").addEventListener("click", () => this.start());
    field("step").addEventListener("click", () => this.step());
    field("reset").addEventListener("click", () => this.reset());
    field("add-pane").addEventListener("click", () => this.addPane());
    field("copy-link").addEventListener("click", () =>
      copy(location.href, field("copy-link"), "Copy link"),
    );
    field("help-open").addEventListener("click", () => field("help").showModal());
    field("speed").addEventListener("input", () => {
      const [, most] = this.menu.ranges.speed;
      this.view.speed = Math.round(most ** (field("speed").value / 100));
      this.#showSpeed(false);
    });
    field("speed").addEventListener("change", () => {
      this.look({});
      this.control({ speed: this.view.speed });
    });
    field("layer").addEventListener("change", () => {
      this.look({ layer: Number(field("layer").value) });
      this.control({ layer: this.view.layer });
    });
    tabs((name) => this.#showTab(name));
    shortcuts({ start: () => this.start(), step: () => this.step(), reset: () => this.reset() });
    themeButton(field("theme"));
    const redraw = () => [...this.cards, this.lottery].forEach((one) => this.#mark(one));
    onTheme(() => {
      if (this.scene) showClasses(this.scene);
      redraw();
    });
    window.addEventListener("resize", redraw);
    window.addEventListener("scroll", redraw, { passive: true });
    whenUnseen(
      () => ["paused", "done"].includes(this.state) && this.#connection?.live,
      () => this.#rested("Nobody saw this tab for a minute, so its place was given to others."),
    );
    window.addEventListener("pagehide", () => this.#connection?.close());
    window.addEventListener("pageshow", (event) => event.persisted && this.open());
  }

  // How the run is looked at changed: the address follows, the run goes on.
  look(part) {
    Object.assign(this.view, part);
    history.replaceState(null, "", write(this.settings, this.view));
    markPreset(this.settings);
  }

  // What defines the run changed: a new run.
  change(part, { wait = SETTLE, keepCards = false } = {}) {
    this.#connection?.close();
    this.settings = { ...this.settings, ...part };
    if (Object.keys(part).length) this.#startsItself = false;
    this.choices.show(this.settings);
    if (part.panes && !keepCards) this.#makeCards();
    else this.#namePanes();
    const { depth, panes } = this.settings;
    if (this.view.layer >= depth) this.view.layer = 0;
    if (this.view.lottery.pane >= panes.length) this.view.lottery.pane = null;
    this.look({});
    this.#setState("loading");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#ready(), wait);
  }

  // Until the run that the settings define is there, or could not be had.
  async #ready() {
    if (this.#timer) {
      clearTimeout(this.#timer);
      this.#timer = 0;
      this.#opening = this.open();
    }
    await this.#opening;
    return this.#connection?.live;
  }

  changePane(index, pane, keep) {
    const panes = this.settings.panes.map((old, at) => (at === index ? pane : old));
    if (keep) this.cards[index].keep(pane);
    this.change({ panes }, { keepCards: keep });
    if (!keep) field(`pane-${index}-initialization`).focus();
  }

  addPane() {
    this.change({ panes: [...this.settings.panes, { initialization: "he", value: null }] });
    field(`pane-${this.settings.panes.length - 1}-initialization`).focus();
  }

  removePane(index) {
    this.change({ panes: this.settings.panes.filter((_, at) => at !== index) });
    field(`pane-${Math.max(0, index - 1)}-initialization`).focus();
  }

  #makeCards() {
    const { panes } = this.settings;
    this.cards = panes.map(
      (pane, index) =>
        new PaneCard(index, pane, this.menu, {
          change: (changed, keep) => this.changePane(index, changed, keep),
          remove: () => this.removePane(index),
          copy: (button) => this.copyPython(index, button),
        }),
    );
    const [least, most] = this.menu.ranges.panes;
    for (const card of this.cards) card.removeButton.hidden = panes.length <= least;
    field("add-pane").hidden = panes.length >= most;
    for (const [name, part] of [
      ["panes", (card) => card.root],
      ["layers", (card) => card.inside.root],
    ]) {
      field(name).replaceChildren(...this.cards.map(part));
      field(name).dataset.count = String(panes.length);
    }
    field("panes").classList.toggle(
      "panes-with-values",
      panes.some((pane) => pane.value !== null),
    );
    this.#namePanes();
  }

  #namePanes() {
    this.lottery.panes(this.cards);
    this.curves.legend(this.cards);
  }

  async open() {
    this.#connection?.close();
    for (const subject of ["run", "lost"]) dismiss(subject);
    this.scene = null;
    for (const card of this.cards) card.clear();
    this.lottery.clear(UNTRAINED);
    this.#setState("loading");
    const settings = this.settings;
    const connection = new Connection(
      settings,
      (name, data) => this.hear(name, data),
      () => this.#lost(),
    );
    this.#connection = connection;
    try {
      await connection.open();
      const { speed, layer } = this.view;
      if (speed !== 10 || layer) await connection.control({ speed, layer });
    } catch (error) {
      if (connection !== this.#connection) return;
      this.#setState("over");
      notice("run", error.message, ["Try again", () => this.open()]);
    }
  }

  // The run was given back: what is drawn stays, and the same run can be had again.
  #rested(text) {
    this.#connection?.close();
    this.#setState("over");
    notice("run", `${text} What is drawn stays, and the same run is one click away.`, [
      "Run it again",
      () => this.start(),
    ]);
  }

  #lost() {
    this.#setState("over");
    notice("lost", "The connection to tfinit demo broke off, and the training ended with it.", [
      "Connect again",
      () => this.open(),
    ]);
  }

  async control(body) {
    try {
      await this.#connection?.control(body);
    } catch (error) {
      notice("control", error.message);
    }
  }

  async start() {
    if (this.state === "training" || this.state === "lottery")
      return this.control({ action: "pause" });
    this.#startsItself = false;
    if (!(await this.#ready())) await this.open();
    if (this.state === "done") await this.reset();
    return this.control({ action: "start" });
  }

  async step() {
    if (!field("step").disabled && (await this.#ready())) await this.control({ action: "step" });
  }

  async reset() {
    if (!(await this.#ready())) return this.open();
    await this.control({ action: "reset" });
    this.lottery.clear(UNTRAINED);
    return undefined;
  }

  async startLottery(chosen) {
    dismiss("control");
    if (!(await this.#ready())) {
      notice("control", "This run was given back, and its trained panes with it: train again first.", [
        "Train again",
        () => this.start(),
      ]);
      return;
    }
    try {
      await this.#connection.lottery(chosen);
    } catch (error) {
      notice("control", error.message);
    }
  }

  async copyPython(index, button) {
    try {
      await copy(
        await pythonCode(this.settings, index),
        button,
        `Copy pane ${this.cards[index].letter} as Python`,
      );
    } catch (error) {
      notice("control", error.message);
    }
  }

  hear(name, data) {
    if (name === "scene") {
      this.scene = data;
      if (this.scene) showClasses(this.scene);
      this.choices.show(this.settings, data.layers);
      this.#showLayers(data.layers);
    } else if (name === "frame") this.#frame(data);
    else if (name === "verdict") announce(this.cards[data.pane].judge(data));
    else if (name === "outcome") {
      const news = this.cards[data.pane].conclude(data);
      if (news) announce(news);
      this.#showInsight();
    } else if (name === "state") {
      this.view.speed = data.speed;
      this.#showSpeed();
      this.#setState(data.state);
      if (data.state === "paused" && this.#startsItself) this.start();
    } else if (name === "problem" && data.rested) this.#rested(data.text);
    else if (name === "problem") {
      this.#setState("over");
      notice("run", data.text, ["New run", () => this.open()]);
    } else {
      this.lottery.hear(name, data);
      if (this.lottery.dirty) this.#mark(this.lottery);
    }
  }

  #frame(frame) {
    const card = this.cards[frame.pane];
    if (frame.curves.from === 0 && card.curves.step.length) card.clear(); // a reset
    card.take(frame);
    this.#mark(card);
    this.#showWhere();
  }

  // Drawn at the next picture of the screen; a frame that is overtaken is never drawn.
  #mark(what) {
    this.#dirty.add(what);
    if (this.#drawing) return;
    this.#drawing = true;
    const draw = () =>
      requestAnimationFrame(() => {
        this.#drawing = false;
        for (const one of this.#dirty) one.draw(this.scene);
        this.#dirty.clear();
        this.curves.draw(this.cards, field("panel-training").hidden);
      });
    if (calm.matches) setTimeout(draw, CALM);
    else draw();
  }

  #setState(state) {
    const before = this.state;
    this.state = document.body.dataset.state = state;
    const going = state === "training" || state === "lottery";
    field("start").firstElementChild.className = `icon ${going ? "pause" : "play"}`;
    field("start").lastElementChild.textContent = going
      ? "Pause"
      : state === "done"
        ? "Run again"
        : "Start";
    field("step").disabled = state === "done" || state === "lottery" || state === "over";
    field("lottery-start").disabled = state === "lottery" || state === "loading";
    this.#showWhere();
    this.#showInsight();
    if (state !== before) {
      if (state !== "loading") announce(`${STATES[state]}.`);
      if (before === "training") this.lottery.panes(this.cards);
      if (before === "training" && document.body.dataset.levels === "0")
        field("lottery-text").textContent = "";
    }
  }

  #showInsight() {
    field("insight").textContent = insight(this.cards, ["done", "lottery"].includes(this.state));
  }

  #showWhere() {
    const step = Math.max(0, ...this.cards.map((card) => card.frame?.step ?? 0));
    field("where").textContent = `Step ${step} of ${this.settings.steps} · ${STATES[this.state]}`;
  }

  #showSpeed(move = true) {
    const { speed } = this.view;
    const [, most] = this.menu.ranges.speed;
    if (move && document.activeElement !== field("speed"))
      field("speed").value = String(Math.round((100 * Math.log(speed)) / Math.log(most)));
    const words = `${speed} step${speed === 1 ? "" : "s"} an update`;
    field("speed-text").textContent = words;
    field("speed").setAttribute("aria-valuetext", words);
  }

  #showLayers(layers) {
    field("layer").replaceChildren(
      ...layers.map(
        (layer, index) =>
          new Option(`${layer.name} (${layer.inputs} × ${layer.units})`, String(index)),
      ),
    );
    field("layer").value = String(Math.min(this.view.layer, layers.length - 1));
  }

  #showTab(name) {
    showTab(name);
    this.look({ tab: name });
    for (const card of this.cards) this.#mark(card);
    if (this.lottery) this.#mark(this.lottery);
  }
}

async function begin() {
  try {
    const page = new Page(await askMenu());
    // For tests, and for whoever wants the numbers behind the pictures.
    window.tfinitDemo = {
      get settings() {
        return structuredClone(page.settings);
      },
      get state() {
        return page.state;
      },
      get curves() {
        return page.cards.map((card) => structuredClone(card.curves));
      },
    };
  } catch (error) {
    notice("run", error.message, ["Try again", begin]);
  }
}

begin();
