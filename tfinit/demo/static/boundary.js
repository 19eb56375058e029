// The decision boundary, with the data on it.

import { bytes, sharp } from "./canvas.js";
import { colour, rgb } from "./theme.js";

// How strongly the most confident pixel takes its class's colour; the points must stay visible.
const STRENGTH = 0.55;
const SHAPES = [circle, triangle, square, diamond];

function circle(path, x, y, r) {
  path.moveTo(x + r, y);
  path.arc(x, y, r, 0, 2 * Math.PI);
}
function triangle(path, x, y, r) {
  path.moveTo(x, y - 1.25 * r);
  path.lineTo(x + 1.15 * r, y + 0.85 * r);
  path.lineTo(x - 1.15 * r, y + 0.85 * r);
  path.closePath();
}
function square(path, x, y, r) {
  path.rect(x - 0.9 * r, y - 0.9 * r, 1.8 * r, 1.8 * r);
}
function diamond(path, x, y, r) {
  path.moveTo(x, y - 1.3 * r);
  path.lineTo(x + 1.3 * r, y);
  path.lineTo(x, y + 1.3 * r);
  path.lineTo(x - 1.3 * r, y);
  path.closePath();
}

// More classes than shapes: the class's number itself.
export function mark(context, kind, classes, x, y, r) {
  context.fillStyle = colour(`class-${kind % 10}`);
  context.strokeStyle = colour("surface");
  if (classes > SHAPES.length) {
    context.font = `700 ${Math.round(3 * r)}px system-ui, sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.lineWidth = 2.5;
    context.strokeText(String(kind), x, y);
    context.fillText(String(kind), x, y);
    return;
  }
  context.lineWidth = 1.8;
  context.beginPath();
  SHAPES[kind](context, x, y, r);
  context.stroke();
  context.fill();
}

function shading({ size, winner, confidence }, classes) {
  const [who, sure] = [bytes(winner), bytes(confidence)];
  const picture = new ImageData(size, size);
  const back = rgb("surface");
  const fronts = Array.from({ length: classes }, (_, kind) => rgb(`class-${kind % 10}`));
  const chance = 255 / classes;
  for (let row = 0; row < size; row++) {
    for (let column = 0; column < size; column++) {
      const from = row * size + column;
      const to = 4 * ((size - 1 - row) * size + column); // row 0 is the lowest y
      const share = STRENGTH * (0.12 + 0.88 * Math.max(0, (sure[from] - chance) / (255 - chance)));
      const front = fronts[who[from]] ?? back;
      for (let i = 0; i < 3; i++) picture.data[to + i] = back[i] + share * (front[i] - back[i]);
      picture.data[to + 3] = 255;
    }
  }
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = size;
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

// The line where the winner changes.
function border(context, boundary, classes, width, height) {
  context.beginPath();
  if (classes === 2) contour(context, boundary, width, height);
  else edges(context, boundary, width, height);
  context.strokeStyle = colour("ink");
  context.lineWidth = 1.25;
  context.stroke();
}

// Of two classes: where the probability is a half, interpolated between the centres of the pixels
// (marching squares; in the rare saddle, both crossings of the cell are joined as they come).
function contour(context, { size, winner, confidence }, width, height) {
  const [who, sure] = [bytes(winner), bytes(confidence)];
  const lead = Array.from(sure, (one, i) => (who[i] ? 1 : -1) * (one - 127));
  const [dx, dy] = [width / size, height / size];
  for (let row = 0; row + 1 < size; row++) {
    for (let column = 0; column + 1 < size; column++) {
      const at = row * size + column;
      const corners = [
        [0, 0, lead[at]],
        [1, 0, lead[at + 1]],
        [1, 1, lead[at + size + 1]],
        [0, 1, lead[at + size]],
      ];
      let drawing = false;
      for (let side = 0; side < 4; side++) {
        const [x0, y0, from] = corners[side];
        const [x1, y1, to] = corners[(side + 1) % 4];
        if (from > 0 === to > 0) continue;
        const share = from / (from - to);
        const x = (column + 0.5 + x0 + share * (x1 - x0)) * dx;
        const y = height - (row + 0.5 + y0 + share * (y1 - y0)) * dy;
        if (drawing) context.lineTo(x, y);
        else context.moveTo(x, y);
        drawing = !drawing;
      }
    }
  }
}

// Of more classes: the edges of the pixels.
function edges(context, { size, winner }, width, height) {
  const who = bytes(winner);
  const [dx, dy] = [width / size, height / size];
  for (let row = 0; row < size; row++) {
    const y = height - row * dy;
    for (let column = 0; column < size; column++) {
      const here = who[row * size + column];
      const x = column * dx;
      if (column + 1 < size && who[row * size + column + 1] !== here) {
        context.moveTo(x + dx, y);
        context.lineTo(x + dx, y - dy);
      }
      if (row + 1 < size && who[(row + 1) * size + column] !== here) {
        context.moveTo(x, y - dy);
        context.lineTo(x + dx, y - dy);
      }
    }
  }
}

// The points do not move during a run: drawn once, then stamped.
export class Points {
  #canvas = null;
  #key = "";

  stamp(context, scene, width, height) {
    const scale = window.devicePixelRatio || 1;
    const key = `${width} ${height} ${scale} ${colour("surface")}`;
    if (key !== this.#key) {
      this.#key = key;
      this.#canvas = document.createElement("canvas");
      [this.#canvas.width, this.#canvas.height] = [width * scale, height * scale];
      const own = this.#canvas.getContext("2d");
      own.scale(scale, scale);
      const [x0, x1, y0, y1] = scene.extent;
      const { x, y, class: kinds } = scene.points;
      const r = Math.max(2, Math.min(3.4, width / 85));
      for (let i = 0; i < x.length; i++) {
        mark(
          own,
          kinds[i],
          scene.classes,
          (width * (x[i] - x0)) / (x1 - x0),
          height * (1 - (y[i] - y0) / (y1 - y0)),
          r,
        );
      }
    }
    context.drawImage(this.#canvas, 0, 0, width, height);
  }
}

export function drawBoundary(canvas, scene, boundary, points) {
  const { context, width, height } = sharp(canvas);
  if (!width) return;
  context.fillStyle = colour("surface");
  context.fillRect(0, 0, width, height);
  if (boundary) {
    context.imageSmoothingEnabled = true;
    context.drawImage(shading(boundary, scene.classes), 0, 0, width, height);
    border(context, boundary, scene.classes, width, height);
  }
  points.stamp(context, scene, width, height);
}
