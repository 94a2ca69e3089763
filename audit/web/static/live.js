// The live tail: new events on top of the table, as long as the box is ticked.
"use strict";

(() => {
  const table = document.getElementById("events");
  const box = document.getElementById("live");
  if (!table || !box) return;
  box.hidden = false;
  box.nextElementSibling.hidden = false;
  const body = table.querySelector("tbody");
  const MAX_ROWS = 1000;
  const POLL_MS = 2000;

  function cell(tag, text, label) {
    const made = document.createElement(tag);
    if (label) made.dataset.label = label;
    made.append(text);
    return made;
  }
  function moment(time_us) {
    const made = document.createElement("time");
    made.dateTime = new Date(time_us / 1000).toISOString();
    made.title = made.dateTime;
    made.textContent = made.dateTime.slice(0, 19).replace("T", " ");
    return made;
  }
  function add(one) {
    const row = document.createElement("tr");
    const link = document.createElement("a");
    link.href = `/event?at=${one.log}%2F${one.index}`;
    link.textContent = `${one.log}/${one.index}`;
    const place = cell("th", link);
    place.scope = "row";
    place.className = "keep";
    row.append(place, cell("td", moment(one.recorded_us)), cell("td", one.type));
    row.append(cell("td", one.what), cell("td", one.actor, "Actor"), cell("td", one.says, "Says"));
    row.className = "fresh";
    body.prepend(row);
    table.parentElement.hidden = false;
    document.getElementById("none")?.remove();
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
    setTimeout(look, POLL_MS);
  }
  box.addEventListener("change", look);
})();
