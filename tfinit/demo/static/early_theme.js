// Before the first paint, so that a chosen theme does not flash. Not a module: those run after it.
try {
  const theme = localStorage.getItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
} catch {
  /* storage is switched off: the system's theme then */
}
