// The key to the points: how many, of which classes, seen how.

import { mark } from "./boundary.js";

// The marks of the classes, as they are drawn.
export function showClasses(scene) {
  const marks = Array.from({ length: scene.classes }, (_, kind) => {
    const canvas = document.createElement("canvas");
    canvas.className = "shape";
    canvas.setAttribute("aria-hidden", "true");
    const scale = devicePixelRatio || 1;
    [canvas.width, canvas.height] = [13 * scale, 13 * scale];
    const context = canvas.getContext("2d");
    context.scale(scale, scale);
    mark(context, kind, scene.classes, 6.5, 6.8, 4.2);
    const item = document.createElement("span");
    item.append(canvas, `class ${kind}`);
    return item;
  });
  const text = document.createElement("span");
  text.textContent = `${scene.points.x.length} training points`;
  const plane = document.createElement("span");
  plane.textContent = scene.projection ? `seen in ${scene.projection}` : "";
  document
    .getElementById("classes")
    .replaceChildren(...(scene.classes > 4 ? [] : marks), text, plane);
}
