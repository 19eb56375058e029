// Text to the clipboard; where the browser refuses, in a dialog to be copied by hand.

import { announce } from "./notices.js";

export async function copy(text, button, title) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const dialog = document.getElementById("text-dialog");
    const area = document.getElementById("text-area");
    document.getElementById("text-title").textContent = title;
    area.value = text;
    dialog.showModal();
    area.focus();
    area.select();
    return;
  }
  const words = button.querySelector("span") ?? button.lastChild;
  const before = button.dataset.words ?? words.textContent;
  button.dataset.words = before;
  words.textContent = "Copied";
  announce(`${title}: copied.`);
  setTimeout(() => {
    words.textContent = before;
  }, 2000);
}
