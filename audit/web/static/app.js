// Keys, and nothing that a page needs: every page works without this file.
"use strict";

(() => {
  const rows = () => [...document.querySelectorAll("table.rows tbody tr, ol.rows > li")];
  let at = -1;

  function move(step) {
    const all = rows();
    if (!all.length) return;
    at = Math.min(all.length - 1, Math.max(0, at + step));
    all.forEach((row, index) => row.classList.toggle("here", index === at));
    const link = all[at].querySelector("a");
    (link || all[at]).focus({ preventScroll: true });
    all[at].scrollIntoView({ block: "nearest" });
  }

  function open() {
    const link = at >= 0 && rows()[at] && rows()[at].querySelector("a");
    if (link) link.click();
  }

  function pin() {
    const link = document.getElementById("permalink");
    if (link) history.replaceState(null, "", link.href);
  }

  const does = {
    "/": () => document.getElementById("find")?.focus(),
    "?": () => document.getElementById("keys").showModal(),
    j: () => move(1),
    k: () => move(-1),
    y: pin,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (event.key === "Enter" && event.target === document.body) return open();
    const act = does[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });
})();

// A verification that runs is watched; without this file the page is looked at again by its link.
(() => {
  const running = document.getElementById("running");
  if (!running) return;
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
    setTimeout(look, 1000);
  }
  setTimeout(look, 500);
})();
