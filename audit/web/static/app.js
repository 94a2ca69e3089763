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

// The live tail: new events on top of the table, as long as the box is ticked.
(() => {
  const table = document.getElementById("events");
  const box = document.getElementById("live");
  if (!table || !box) return;
  box.hidden = false;
  box.nextElementSibling.hidden = false;
  const body = table.querySelector("tbody");
  const MAX_ROWS = 1000;

  function cell(tag, text) {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  }
  function add(one) {
    const row = document.createElement("tr");
    const place = document.createElement("th");
    place.scope = "row";
    const link = document.createElement("a");
    link.href = `/event?at=${one.log}%2F${one.index}`;
    link.textContent = `${one.log}/${one.index}`;
    place.append(link);
    const when = new Date(one.recorded_us / 1000).toISOString().slice(0, 19).replace("T", " ");
    row.append(place, cell("td", when), cell("td", one.type));
    row.append(cell("td", one.what), cell("td", one.actor), cell("td", one.says));
    row.className = "added";
    body.prepend(row);
    while (body.rows.length > MAX_ROWS) body.rows[body.rows.length - 1].remove();
  }
  async function look() {
    if (!box.checked) return;
    const asked = new URLSearchParams({ q: table.dataset.query, since: table.dataset.since });
    const answer = await fetch(`/events.json?${asked}`).catch(() => null);
    if (answer && answer.ok) {
      const said = await answer.json();
      said.rows.forEach(add);
      if (said.more) return location.reload();
      table.dataset.since = said.since;
    }
    setTimeout(look, 2000);
  }
  box.addEventListener("change", look);
})();

// The slider of an entity's versions; its ends are links without this file.
(() => {
  const slider = document.getElementById("slider");
  if (!slider) return;
  const stops = document.querySelectorAll("#versions option");
  slider.hidden = false;
  slider.addEventListener("input", () => {
    document.getElementById("slid").textContent = stops[slider.value - 1].label;
  });
  slider.addEventListener("change", () => location.assign(stops[slider.value - 1].dataset.href));
})();
