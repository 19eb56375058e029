// What the page says while TensorFlow loads, which takes seconds once after `tfinit demo` begins.

import { secondsToLoad } from "./connection.js";
import { announce } from "./notices.js";

const EVERY = 1000;
const box = document.getElementById("loading");

// `starts`: whether a run starts by itself then.
export async function sayLoading(starts) {
  const then = starts ? " Then the four panes below start by themselves." : "";
  for (let first = true; ; first = false) {
    const seconds = await secondsToLoad();
    box.hidden = seconds === null;
    if (seconds === null) return;
    const text = `Loading TensorFlow, about ${Math.max(1, Math.round(seconds))} s.${then}`;
    box.firstElementChild.textContent = text;
    if (first) announce(text);
    await new Promise((resolve) => setTimeout(resolve, EVERY));
  }
}
