// Space, s and r. Never while a control has the focus, and only while they are switched on: speech
// input types letters too (WCAG 2.1.4).

export function shortcuts(actions) {
  const box = document.getElementById("keys");
  try {
    box.checked = localStorage.getItem("keys") !== "off";
  } catch {
    /* storage is switched off */
  }
  box.addEventListener("change", () => {
    try {
      localStorage.setItem("keys", box.checked ? "on" : "off");
    } catch {
      /* for this visit only */
    }
  });
  document.addEventListener("keydown", (event) => {
    const { target } = event;
    if (!box.checked || event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    if (target.closest("input, select, textarea, dialog, [contenteditable]")) return;
    // On a button, a tab or a link, space is theirs.
    if (event.key === " " && target.closest("button, a, summary, [role=tab], [tabindex='0']"))
      return;
    const action = { " ": actions.start, s: actions.step, r: actions.reset }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  });
}
