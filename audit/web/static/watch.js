// A verification that runs is watched; without this file the page is looked at again by its link.
"use strict";

(() => {
  const running = document.getElementById("running");
  if (!running) return;
  const POLL_MS = 1000;
  const FIRST_MS = 500;

  async function look() {
    const answer = await fetch("/verify.json").catch(() => null);
    const said = answer && answer.ok ? (await answer.json()).run : null;
    if (said && said.state !== "running") return location.reload();
    if (said) {
      document.getElementById("done").textContent = said.done.toLocaleString("en");
      if (said.of) {
        document.getElementById("of").textContent = said.of.toLocaleString("en");
        const bar = document.getElementById("progress");
        bar.max = said.of;
        bar.value = said.done;
      }
    }
    setTimeout(look, POLL_MS);
  }
  setTimeout(look, FIRST_MS);
})();
