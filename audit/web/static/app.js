// What every page has: keys, copying, and what only paper needs. No page needs this file.
"use strict";

(() => {
  const toast = document.getElementById("toast");
  const keys = document.getElementById("keys");
  const TOAST_MS = 4000;
  let at = -1;

  function say(words) {
    toast.textContent = words;
    setTimeout(() => {
      if (toast.textContent === words) toast.textContent = "";
    }, TOAST_MS);
  }

  const rows = () => [...document.querySelectorAll("table.rows tbody tr, ol.rows > li")];

  function move(step) {
    const all = rows().filter((row) => row.checkVisibility());
    if (!all.length) return;
    at = Math.min(all.length - 1, Math.max(0, at + step));
    all.forEach((row, index) => row.classList.toggle("here", index === at));
    const link = all[at].querySelector("a");
    if (link) link.focus({ preventScroll: true });
    else document.activeElement.blur();
    all[at].scrollIntoView({ block: "nearest" });
  }

  function open() {
    const link = document.querySelector(".here a");
    if (link) link.click();
  }

  function leave() {
    document.querySelectorAll(".here").forEach((row) => row.classList.remove("here"));
    document.activeElement.blur();
    at = -1;
  }

  function pin() {
    const link = document.getElementById("permalink");
    if (!link) return;
    history.replaceState(null, "", link.href);
    say("The address is a permalink now.");
  }

  const does = {
    "/": () => document.getElementById("find")?.focus(),
    "?": () => keys.showModal(),
    j: () => move(1),
    k: () => move(-1),
    y: pin,
    Escape: leave,
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || keys.open) return;
    const field = event.target.closest("input, textarea, select, [contenteditable]");
    if (field) {
      if (event.key === "Escape") field.blur();
      return;
    }
    if (event.key === "Enter" && event.target === document.body) return open();
    const act = Object.hasOwn(does, event.key) && does[event.key];
    if (act) {
      event.preventDefault();
      act();
    }
  });

  const button = document.getElementById("show-keys");
  button.hidden = false;
  button.addEventListener("click", () => keys.showModal());
  document.querySelector(".menu [aria-current]")?.scrollIntoView({ block: "nearest", inline: "center" });

  // Only where the browser lets a page write to the clipboard: over https, or on this machine.
  if (navigator.clipboard) {
    for (const code of document.querySelectorAll(".command > code")) {
      const copy = document.createElement("button");
      copy.type = "button";
      copy.className = "copy";
      copy.textContent = "Copy";
      copy.setAttribute("aria-label", `Copy: ${code.textContent.slice(0, 80)}`);
      copy.addEventListener("click", () =>
        navigator.clipboard.writeText(code.textContent).then(() => say("Copied."), () => say("Not copied.")));
      code.after(copy);
    }
  }

  // Paper has no links: the permalink is spelled out, with the server that it leads to.
  const cited = document.getElementById("cited-at");
  if (cited) cited.textContent = document.getElementById("permalink").href;
  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("main details:not([open])")];
    closed.forEach((one) => (one.open = true));
  });
  addEventListener("afterprint", () => closed.forEach((one) => (one.open = false)));
})();
