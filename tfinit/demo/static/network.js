// The network that every pane trains, drawn from the settings: a column of circles for each layer.

const [UNITS, LAYERS] = [6, 8]; // drawn of a layer, and of the network; the rest is dots
const [WIDTH, HEIGHT, RADIUS] = [320, 92, 4.5];

function svg(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  made.append(...children);
  return made;
}

const count = (number, word) => `${number} ${word}${number === 1 ? "" : "s"}`;

// In words: `ends` are the numbers of inputs and outputs, once they are known.
export function words({ depth, width }, activation, ends) {
  const [inputs, outputs] = ends ?? ["", ""];
  const first = ends ? count(inputs, "input") : "Inputs";
  const last = ends ? count(outputs, "output") : "an output for each class";
  const hidden = depth - 1;
  if (!hidden) return `${first}, ${last}: one layer, no hidden one`;
  const layers = `${count(hidden, "hidden layer")} of ${count(width, `${activation} unit`)}`;
  return `${first}, ${layers}, ${last}`;
}

export function drawNetwork(figure, settings, activation, ends) {
  const { depth, width } = settings;
  const sizes = [ends?.[0] ?? 2, ...new Array(depth - 1).fill(width), ends?.[1] ?? 2];
  const shown = sizes.length <= LAYERS ? sizes : [...sizes.slice(0, 4), 0, ...sizes.slice(-3)];
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT + 18}`, role: "img" });
  const text = words(settings, activation, ends);
  picture.setAttribute("aria-label", `The network: ${text}.`);
  const across = WIDTH / shown.length;
  const columns = shown.map((units, layer) => {
    const drawn = Math.min(units, UNITS);
    return Array.from({ length: drawn }, (_, unit) => ({
      x: across * (layer + 0.5),
      y: HEIGHT / 2 + (unit - (drawn - 1) / 2) * 15,
      dots: units > UNITS && unit === UNITS - 2,
    }));
  });
  columns.slice(1).forEach((column, before) => {
    for (const from of columns[before])
      for (const to of column)
        picture.append(svg("line", { x1: from.x, y1: from.y, x2: to.x, y2: to.y }));
  });
  columns.forEach((column, layer) => {
    const end = layer === 0 ? "input" : layer === shown.length - 1 ? "output" : "inner";
    const label = { class: "label", x: across * (layer + 0.5), y: HEIGHT + 13 };
    for (const { x, y, dots } of column)
      picture.append(
        dots
          ? svg("text", { class: "dots", x, y: y + 4 }, "⋮")
          : svg("circle", { class: end, cx: x, cy: y, r: RADIUS }),
      );
    if (!shown[layer]) {
      picture.append(svg("text", { ...label, class: "dots", y: HEIGHT / 2 + 4 }, "…"));
      picture.append(svg("text", label, `× ${depth - 1 - 5}`));
    } else if (end === "inner" || ends) picture.append(svg("text", label, String(shown[layer])));
  });
  figure.querySelector("svg")?.remove();
  figure.prepend(picture);
  figure.querySelector("figcaption").textContent = `${text}.`;
}
