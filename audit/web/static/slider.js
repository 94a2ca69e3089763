// The slider of an entity's versions; its ends are links without this file.
"use strict";

(() => {
  const slider = document.getElementById("slider");
  if (!slider) return;
  const stops = document.querySelectorAll("#versions option");
  const said = document.getElementById("slid");
  const label = () => stops[slider.value - 1].label;
  slider.hidden = false;
  slider.setAttribute("aria-valuetext", said.textContent);
  slider.addEventListener("input", () => {
    said.textContent = label();
    slider.setAttribute("aria-valuetext", label());
  });
  slider.addEventListener("change", () => location.assign(stops[slider.value - 1].dataset.href));
})();
