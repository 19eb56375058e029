// What is inside the layers of a pane: weights of the chosen one, histograms and numbers of all.

import { inSight, short } from "./canvas.js";
import { element } from "./elements.js";
import { drawHistograms, height } from "./histograms.js";
import { drawWeights } from "./matrix.js";

export class Inside {
  #layers = null;

  constructor(index, letter, name) {
    this.index = index;
    const picture = (what) => ({
      className: what,
      role: "img",
      "aria-label": `The ${what} of pane ${letter}: nothing yet`,
    });
    this.weights = element("canvas", picture("weights"));
    this.units = element("p", { className: "units" });
    this.size = element("p", { className: "size" });
    this.histograms = element("canvas", picture("histograms"));
    this.rows = element("tbody");
    this.name = element("span", { textContent: name });
    const head = ["Layer", "Acts.", "Grads.", "Distinct", "Dead"].map((text) =>
      element("th", { scope: "col", textContent: text }),
    );
    this.table = element(
      "details",
      {},
      element("summary", { textContent: "As a table" }),
      element(
        "div",
        {
          className: "scroll",
          tabIndex: 0,
          role: "region",
          "aria-label": `Layers of pane ${letter}`,
        },
        element(
          "table",
          {},
          element("caption", { textContent: "Std of activations, of gradients; units" }),
          element("thead", {}, element("tr", {}, ...head)),
          this.rows,
        ),
      ),
    );
    this.table.addEventListener("toggle", () => this.#fillTable());
    this.root = element(
      "article",
      { className: "inside", "data-letter": letter },
      element(
        "h3",
        {},
        element("span", { className: "letter", textContent: letter }),
        " ",
        this.name,
      ),
      this.units,
      this.size,
      this.weights,
      this.histograms,
      this.table,
    );
  }

  rename(name) {
    this.name.textContent = name;
  }

  draw({ layers, weights }, name) {
    this.#layers = layers;
    if (!layers) return;
    const tall = `${height(layers)}px`;
    if (this.histograms.style.height !== tall) this.histograms.style.height = tall;
    if (inSight(this.histograms)) drawHistograms(this.histograms, layers, this.index);
    this.histograms.setAttribute(
      "aria-label",
      `Histograms of activations and gradients of ${layers.length} layers; numbers in the table below`,
    );
    if (this.table.open) this.#fillTable();
    if (weights) this.#drawWeights(layers, weights, name);
  }

  #drawWeights(layers, weights, name) {
    if (inSight(this.weights)) drawWeights(this.weights, weights);
    const { units, distinct_units: distinct, dead_units: dead } = layers[weights.layer];
    const some = (count) => `${count} distinct unit${count === 1 ? "" : "s"}`;
    const twins = distinct < units;
    this.units.className = `units${twins ? " twins" : ""}`;
    this.units.textContent = `${some(distinct)} of ${units}${dead ? `; ${dead} dead` : ""}`;
    const { name: layer, rows, columns, scale } = weights;
    const size = scale === 0 ? "all weights 0" : `weights up to ±${short(scale)}`;
    this.size.textContent = `${layer}, ${rows} × ${columns}, ${size}`;
    Object.assign(this.root.dataset, { units, distinctUnits: distinct, layer: weights.layer });
    this.weights.setAttribute(
      "aria-label",
      `Weights of ${weights.name} of pane ${name}: ${some(distinct)} of ${units}`,
    );
  }

  #fillTable() {
    if (!this.#layers) return;
    this.rows.replaceChildren(
      ...this.#layers.map((layer) =>
        element(
          "tr",
          {},
          ...[
            layer.name,
            short(layer.activation_std),
            short(layer.gradient_std),
            `${layer.distinct_units}/${layer.units}`,
            String(layer.dead_units),
          ].map((text) => element("td", { textContent: text })),
        ),
      ),
    );
  }
}
