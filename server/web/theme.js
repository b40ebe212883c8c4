// Runs before the page is drawn, so that a chosen theme does not flash in.
(() => {
  try {
    const theme = localStorage.getItem("sluice.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage may be blocked: the system's theme then.
  }
})();
