// Weights and masks as pictures: a row is an input, a column a unit.

import { bytes, sharp } from "./canvas.js";
import { colour, rgb } from "./theme.js";

// From negative over zero to positive, mixed so that zero is the colour of the ground.
function palette() {
  const [low, middle, high] = [rgb("negative"), rgb("zero"), rgb("positive")];
  return (value) => {
    const end = value < 0 ? low : high;
    // The square root: half of the largest weight is clearly not zero.
    const share = Math.sqrt(Math.abs(value) / 127);
    return middle.map((from, i) => from + share * (end[i] - from));
  };
}

export function drawWeights(canvas, weights) {
  const { context, width, height } = sharp(canvas);
  if (!width || !weights) return;
  const { rows, columns } = weights;
  const values = bytes(weights.values, Int8Array);
  const mix = palette();
  const [dx, dy] = [width / columns, Math.min(height / rows, Math.max(height / rows, 8))];
  const gap = dx > 6 ? 1 : 0; // columns stand apart, so that twins can be seen
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const [r, g, b] = mix(values[row * columns + column]);
      context.fillStyle = `rgb(${r | 0} ${g | 0} ${b | 0})`;
      const [x, y] = [Math.round(column * dx), Math.round(row * dy)];
      context.fillRect(
        x,
        y,
        Math.round((column + 1) * dx) - x - gap,
        Math.round((row + 1) * dy) - y,
      );
    }
  }
  context.strokeStyle = colour("line");
  context.lineWidth = 1;
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
}

// One pixel per weight, enlarged by the style sheet without smoothing.
export function drawMask(canvas, { rows, columns, values }) {
  const kept = bytes(values);
  [canvas.width, canvas.height] = [columns, rows];
  const cell = Math.max(3, Math.min(10, Math.floor(160 / Math.max(rows, columns))));
  canvas.style.width = `${columns * cell}px`;
  const picture = new ImageData(columns, rows);
  const [on, off] = [rgb("accent"), rgb("surface")];
  for (let i = 0; i < kept.length; i++) {
    picture.data.set(kept[i] ? on : off, 4 * i);
    picture.data[4 * i + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}
