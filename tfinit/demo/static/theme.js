// Light and dark, and the colours that the canvases take from the style sheet.

const listeners = new Set();
const dark = matchMedia("(prefers-color-scheme: dark)");
let cache = new Map();

export const LETTERS = ["A", "B", "C", "D"];
export const calm = matchMedia("(prefers-reduced-motion: reduce)");

export function colour(name) {
  if (!cache.has(name))
    cache.set(
      name,
      getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim(),
    );
  return cache.get(name);
}

export function rgb(name) {
  const hex = colour(name);
  const wide =
    hex.length === 4 ? [...hex.slice(1)].map((digit) => digit + digit).join("") : hex.slice(1);
  return [0, 2, 4].map((at) => parseInt(wide.slice(at, at + 2), 16));
}

export function onTheme(listener) {
  listeners.add(listener);
}

function isDark() {
  return (document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light")) === "dark";
}

function changed(button) {
  cache = new Map();
  button.querySelector("span").textContent = isDark() ? "Light theme" : "Dark theme";
  for (const listener of listeners) listener();
}

export function themeButton(button) {
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    document.documentElement.dataset.theme = theme;
    try {
      localStorage.setItem("theme", theme);
    } catch {
      /* storage is switched off: for this visit only */
    }
    changed(button);
  });
  dark.addEventListener("change", () => changed(button));
  changed(button);
}
