// Small multiples: per layer, activations on the left, gradients on the right.

import { sharp, short } from "./canvas.js";
import { colour } from "./theme.js";

const LABEL = 42;

// Deep networks get thinner rows, so that thirty layers still make one picture.
export function height(layers) {
  return layers.length * rowHeight(layers.length) + 16;
}

function rowHeight(count) {
  return count <= 8 ? 42 : count <= 16 ? 34 : 26;
}

function bars(context, histogram, { x, y, width, tall, fill, ends }) {
  context.fillStyle = colour("grid");
  context.fillRect(x, y + tall, width, 1);
  if (!histogram) return;
  const { low, high, counts } = histogram;
  const top = Math.sqrt(Math.max(...counts, 1));
  context.fillStyle = fill;
  if (low === high || low === null) {
    context.fillRect(x + width / 2 - 2, y, 4, tall); // all equal: one bar in the middle
  } else {
    const step = width / counts.length;
    counts.forEach((count, i) => {
      if (!count) return;
      const bar = Math.max(1, (tall * Math.sqrt(count)) / top);
      context.fillRect(x + i * step, y + tall - bar, Math.max(1, step - 0.5), bar);
    });
  }
  context.fillStyle = colour("soft");
  context.textBaseline = "top";
  if (low === null || !ends) return;
  if (low === high) {
    context.textAlign = "center";
    context.fillText(`all ${short(low)}`, x + width / 2, y + tall + 2);
    return;
  }
  context.textAlign = "left";
  context.fillText(short(low), x, y + tall + 2);
  context.textAlign = "right";
  context.fillText(short(high), x + width, y + tall + 2);
}

export function drawHistograms(canvas, layers, pane) {
  const { context, width } = sharp(canvas);
  if (!width || !layers) return;
  const tall = rowHeight(layers.length);
  const ends = layers.length <= 16; // no room for numbers in thin rows
  const half = (width - LABEL - 12) / 2;
  const second = LABEL + half + 12;
  context.font = "10.5px system-ui, sans-serif";
  context.fillStyle = colour("soft");
  context.textBaseline = "top";
  context.textAlign = "left";
  context.fillText("activations", LABEL, 0);
  context.fillText("gradients", second, 0);
  layers.forEach((layer, i) => {
    const y = 16 + i * tall;
    context.fillStyle = colour("ink");
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillText(layer.name, 0, y + tall / 2 - (ends ? 7 : 0), LABEL - 4);
    const row = { y, width: half, tall: tall - (ends ? 18 : 5), ends };
    bars(context, layer.activation_histogram, { ...row, x: LABEL, fill: colour(`pane-${pane}`) });
    bars(context, layer.gradient_histogram, { ...row, x: second, fill: colour("soft") });
  });
}
