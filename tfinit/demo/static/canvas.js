// What the drawings share: sharp canvases, bytes from base64, numbers as text.

export function bytes(base64, Kind = Uint8Array) {
  const text = atob(base64);
  const array = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) array[i] = text.charCodeAt(i);
  return new Kind(array.buffer);
}

// One canvas pixel per screen pixel. Returns the context in CSS pixels, with its size.
export function sharp(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  const [w, h] = [Math.round(width * scale), Math.round(height * scale)];
  if (canvas.width !== w || canvas.height !== h) [canvas.width, canvas.height] = [w, h];
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

const SUPERSCRIPT = {
  "-": "⁻",
  0: "⁰",
  1: "¹",
  2: "²",
  3: "³",
  4: "⁴",
  5: "⁵",
  6: "⁶",
  7: "⁷",
  8: "⁸",
  9: "⁹",
};

export function power(exponent) {
  return `10${[...String(exponent)].map((sign) => SUPERSCRIPT[sign]).join("")}`;
}

// Three digits, as people write them; "–" where there is no number.
export function short(value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5 || size < 1e-3) {
    const exponent = Math.floor(Math.log10(size));
    return `${(value / 10 ** exponent).toFixed(1)}·${power(exponent)}`;
  }
  return size >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

export function percent(share) {
  // 99.7 % is not 100 %.
  return tenths(share, share > 0.995 && share < 1 ? 1 : 0);
}

export function tenths(share, digits = 1) {
  return share === null || share === undefined ? "–" : `${(100 * share).toFixed(digits)} %`;
}

// What is scrolled away is not drawn; scrolling draws it.
export function inSight(element) {
  const { top, bottom } = element.getBoundingClientRect();
  return bottom > -100 && top < innerHeight + 100;
}
