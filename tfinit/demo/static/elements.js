// Elements of the page, made in one call. Text is only ever set as text, never as HTML.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.includes("-") || name === "role" || name === "for") made.setAttribute(name, value);
    else made[name] = value;
  }
  made.append(...children);
  return made;
}

export function icon(name) {
  return element("i", { className: `icon ${name}`, "aria-hidden": "true" });
}

// A sentence of the diagnosis, with its `code` set as code.
export function prose(tag, text) {
  const parts = text
    .split("`")
    .map((part, at) => (at % 2 ? element("code", { textContent: part }) : part));
  return element(tag, {}, ...parts);
}
