// The address of the page ↔ its settings. A link holds every setting, so that it reproduces a run.

// Four starts that make the point: no signal, too little, the right size, too much. With this seed
// the last one diverges within ten steps; with some others it is thrown far off and stays there.
export const FOUR_STARTS = {
  seed: 1,
  panes: [
    { initialization: "zeros", value: null },
    { initialization: "normal", value: 0.01 },
    { initialization: "he", value: null },
    { initialization: "normal", value: 2 },
  ],
};
const WHOLE = ["depth", "width", "batch_size", "seed", "steps"];
const NAMES = { dataset: "datasets", activation: "activations", optimizer: "optimizers" };
const LOTTERY = { levels: "levels", prune_fraction: "prune_fraction" };

export function defaults(menu) {
  return { ...menu.defaults, ...FOUR_STARTS };
}

export function defaultView() {
  return {
    tab: "training",
    layer: 0,
    speed: 10,
    lottery: { pane: null, levels: 8, prune_fraction: 0.3, rewind: "rewind" },
  };
}

function number(text, [low, high], whole) {
  const value = text.trim() === "" ? NaN : Number(text);
  return Number.isFinite(value) &&
    value >= low &&
    value <= high &&
    (!whole || Number.isInteger(value))
    ? value
    : null;
}

function pane(text, menu) {
  const cut = text.indexOf(":");
  const name = cut < 0 ? text : text.slice(0, cut);
  const entry = menu.initializations.find((one) => one.name === name);
  if (!entry) return { fault: `pane “${text}”: no such initialization` };
  if (!entry.value) {
    return cut < 0
      ? { initialization: name, value: null }
      : { fault: `pane “${text}”: ${name} takes no number` };
  }
  if (cut < 0) return { initialization: name, value: entry.value.default };
  const { min, max } = entry.value;
  const value = number(text.slice(cut + 1), [min, max], false);
  return value === null
    ? { fault: `pane “${text}”: a number from ${min} to ${max} follows the colon` }
    : { initialization: name, value };
}

// "?depth=5&pane=he&…" → the settings, how they are looked at, and in words what was not understood.
export function read(search, menu) {
  const settings = defaults(menu);
  const view = defaultView();
  const faults = [];
  const query = new URLSearchParams(search);
  const take = (name, text, range, whole, target, key = name) => {
    const value = number(text, range, whole);
    if (value === null)
      faults.push(
        `${name} “${text}” is not ${whole ? "a whole number" : "a number"} from ${range[0]} to ${range[1]}`,
      );
    else target[key] = value;
  };
  const panes = [];
  for (const [name, text] of query) {
    if (name === "pane") panes.push(text);
    else if (name in NAMES) {
      if (menu[NAMES[name]].some((one) => one.name === text)) settings[name] = text;
      else faults.push(`${name} “${text}” is unknown`);
    } else if (WHOLE.includes(name)) take(name, text, menu.ranges[name], true, settings);
    else if (name === "learning_rate") take(name, text, menu.ranges[name], false, settings);
    else if (name === "speed") take(name, text, menu.ranges.speed, true, view);
    else if (name === "layer") take(name, text, [1, 30], true, view);
    else if (name in LOTTERY) take(name, text, menu.ranges[name], name === "levels", view.lottery);
    else if (name === "lottery_pane") take(name, text, [1, 4], true, view.lottery, "pane");
    else if (name === "rewind" && ["rewind", "reinitialize"].includes(text))
      view.lottery.rewind = text;
    else if (name === "tab" && ["training", "lottery"].includes(text)) view.tab = text;
    else faults.push(`“${name}=${text}” is unknown`);
  }
  if (view.layer) view.layer -= 1;
  if (view.lottery.pane) view.lottery.pane -= 1;
  const [, most] = menu.ranges.panes;
  if (panes.length > most) faults.push(`${panes.length} panes, at most ${most} are shown`);
  const read = panes.slice(0, most).map((text) => pane(text, menu));
  faults.push(...read.filter((one) => one.fault).map((one) => one.fault));
  const good = read.map((one, index) => (one.fault ? FOUR_STARTS.panes[index] : one));
  if (good.length) settings.panes = good;
  return { settings, view, faults };
}

export function paneText({ initialization, value }) {
  return value === null || value === undefined ? initialization : `${initialization}:${value}`;
}

// Settings are always written in full: a link means the same when a default changes one day.
export function write(settings, view) {
  const query = new URLSearchParams();
  for (const name of [
    "dataset",
    "depth",
    "width",
    "activation",
    "optimizer",
    "learning_rate",
    "batch_size",
    "seed",
    "steps",
  ]) {
    query.append(name, String(settings[name]));
  }
  for (const one of settings.panes) query.append("pane", paneText(one));
  if (view.speed !== 10) query.append("speed", String(view.speed));
  if (view.layer) query.append("layer", String(view.layer + 1));
  if (view.tab !== "training") query.append("tab", view.tab);
  const { pane: chosen, levels, prune_fraction, rewind } = view.lottery;
  if (chosen !== null) query.append("lottery_pane", String(chosen + 1));
  if (levels !== 8) query.append("levels", String(levels));
  if (prune_fraction !== 0.3) query.append("prune_fraction", String(prune_fraction));
  if (rewind !== "rewind") query.append("rewind", rewind);
  return `?${query.toString().replaceAll("%3A", ":")}`;
}
