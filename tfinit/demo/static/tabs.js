// The two views of a run, as tabs: arrows go from one to the other.

const NAMES = ["training", "lottery"];
const tab = (name) => document.getElementById(`tab-${name}`);

export function tabs(choose) {
  NAMES.forEach((name, index) => {
    tab(name).addEventListener("click", () => choose(name));
    tab(name).addEventListener("keydown", (event) => {
      if (!["ArrowLeft", "ArrowRight", "Home", "End"].includes(event.key)) return;
      event.preventDefault();
      const to = NAMES[event.key === "Home" ? 0 : event.key === "End" ? 1 : 1 - index];
      choose(to);
      tab(to).focus();
    });
  });
}

export function showTab(name) {
  for (const one of NAMES) {
    tab(one).setAttribute("aria-selected", String(one === name));
    tab(one).tabIndex = one === name ? 0 : -1;
    document.getElementById(`panel-${one}`).hidden = one !== name;
  }
}
