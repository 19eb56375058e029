// The form of what all panes share, the network that it means, and the presets.

import { defaults, write } from "./link.js";
import { drawNetwork } from "./network.js";

const NUMBERS = ["depth", "width", "learning_rate", "batch_size", "steps", "seed"];
const MENUS = { dataset: "datasets", activation: "activations", optimizer: "optimizers" };
const normal = (value) => ({ initialization: "normal", value });
const plain = (initialization) => ({ initialization, value: null });
const PRESETS = {
  "Four starts": {},
  Symmetry: {
    panes: [plain("zeros"), { initialization: "constant", value: 0.3 }, normal(0.3), plain("he")],
    activation: "tanh",
    depth: 3,
    width: 8,
  },
  Vanishing: {
    panes: [normal(0.1), plain("xavier"), plain("lsuv")],
    activation: "tanh",
    depth: 12,
  },
  Exploding: { panes: [normal(0.35), normal(0.7), normal(1.5)], depth: 8 },
  "Depth 30": {
    panes: [plain("xavier"), plain("he"), plain("lsuv")],
    depth: 30,
    width: 32,
    learning_rate: 0.01,
    steps: 600,
  },
};
const narrow = matchMedia("(max-width: 40rem)");
const field = (name) => document.getElementById(name);

function options(select, entries) {
  select.replaceChildren(...entries.map(({ name, label }) => new Option(label, name)));
}

export class Choices {
  // `change(part of the settings)` is called when a field has a new, allowed value.
  constructor(menu, change) {
    this.menu = menu;
    // Folded where it would fill the first screen.
    const fold = () => (field("settings").open = !narrow.matches);
    narrow.addEventListener("change", fold);
    fold();
    for (const [name, list] of Object.entries(MENUS)) {
      options(field(name), menu[list]);
      field(name).addEventListener("change", () => change({ [name]: field(name).value }));
    }
    for (const name of NUMBERS) {
      const input = field(name);
      [input.min, input.max] = menu.ranges[name];
      input.addEventListener("change", () => {
        const good = input.checkValidity();
        input.setAttribute("aria-invalid", String(!good));
        if (good) change({ [name]: Number(input.value) });
        else input.reportValidity();
      });
    }
    field("new-seed").addEventListener("click", () => {
      const [, most] = menu.ranges.seed;
      change({ seed: Math.floor(Math.random() * Math.min(most, 1_000_000)) });
    });
  }

  // `layers` of the network, as the server names them, once it does.
  show(settings, layers) {
    for (const name of [...Object.keys(MENUS), ...NUMBERS]) {
      field(name).value = String(settings[name]);
      field(name).removeAttribute("aria-invalid");
    }
    const [data, activation, optimizer] = Object.entries(MENUS).map(
      ([name, list]) => this.menu[list].find((one) => one.name === settings[name]).label,
    );
    const { depth, width, learning_rate: rate } = settings;
    field("settings-text").textContent =
      `${data}, ${depth} × ${width} ${activation}, ${optimizer} ${rate}`;
    const ends = layers && [layers[0].inputs, layers.at(-1).units];
    drawNetwork(field("network"), settings, activation, ends);
  }
}

// The preset that the page shows, if it is one.
export function markPreset(settings) {
  for (const link of field("presets").children) {
    const same = link.dataset.run === JSON.stringify(settings);
    if (same) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// Presets are links, so that they can be opened in a new tab; a plain click stays on the page.
export function presets(menu, view, choose) {
  const links = Object.entries(PRESETS).map(([label, part]) => {
    const settings = { ...defaults(menu), ...part };
    const link = document.createElement("a");
    link.href = write(settings, view);
    link.textContent = label;
    link.dataset.run = JSON.stringify(settings);
    link.addEventListener("click", (event) => {
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      choose(settings);
    });
    return link;
  });
  field("presets").replaceChildren(...links);
}
