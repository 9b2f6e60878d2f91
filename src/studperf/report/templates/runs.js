// Sorting, filtering and brushing of the runs page. Without it the page shows the same runs, best first.
"use strict";
document.documentElement.classList.add("js");
const all = (query, root = document) => [...root.querySelectorAll(query)];
const marks = new Map();
for (const el of all("[data-run]")) marks.set(el.dataset.run, [...(marks.get(el.dataset.run) || []), el]);

// Sorting: a click on a heading; numbers by value, text by letter, empty cells last.
for (const button of all("thead th button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th"), table = head.closest("table"), body = table.tBodies[0];
    const column = [...head.parentNode.children].indexOf(head);
    const isDown = head.getAttribute("aria-sort") === "ascending";
    for (const th of all("th", head.parentNode)) th.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", isDown ? "descending" : "ascending");
    const value = (row) => { const v = row.children[column].dataset.v ?? row.children[column].textContent.trim(); return v === "" || isNaN(v) ? v : Number(v); };
    const compare = (a, b) => (a === "" ? 1 : b === "" ? -1 : (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b))) * (isDown ? -1 : 1));
    body.append(...[...body.rows].sort((a, b) => compare(value(a), value(b))));
  });
}

// Lighting up one run everywhere.
let hot = null;
function light(run) {
  for (const el of marks.get(hot) || []) el.classList.remove("hot");
  hot = run;
  for (const el of marks.get(hot) || []) el.classList.add("hot");
  for (const svg of all("svg:has([data-run])")) svg.classList.toggle("some-hot", hot !== null);
}
for (const [run, elements] of marks) {
  for (const el of elements) {
    el.addEventListener("pointerenter", () => light(run));
    el.addEventListener("pointerleave", () => light(null));
  }
}

// Filtering: by model, by words, and by brushes drawn on the axes of the parallel coordinates.
const search = document.querySelector("#search"), chips = all(".chip"), brushes = new Map();
function keeps(run) {
  const row = document.querySelector(`tr[data-run="${run}"]`);
  if (row) {
    const off = chips.filter((chip) => chip.getAttribute("aria-pressed") === "false").map((chip) => chip.dataset.model);
    if (off.includes(row.dataset.model)) return false;
    if (!search.value.toLowerCase().split(/\s+/).every((word) => row.dataset.words.includes(word))) return false;
  }
  const line = document.querySelector(`[data-run="${run}"][data-y]`);
  if (!line || !brushes.size) return true;
  const places = line.dataset.y.split(",").map(Number);
  return [...brushes].every(([axis, [low, high]]) => places[axis] >= low && places[axis] <= high);
}
function filter(isDragging = false) {
  let shown = 0;
  for (const [run, elements] of marks) {
    const kept = keeps(run);
    for (const el of elements) {
      if (el instanceof SVGElement) el.classList.toggle("off", !kept);
      else if (!isDragging) el.hidden = !kept; // rows that vanish in mid-drag would move the chart away under the pointer
    }
    shown += kept && elements.some((el) => el instanceof HTMLTableRowElement);
  }
  const count = document.querySelector("#count");
  if (count) count.textContent = `${shown} shown`;
}
search?.addEventListener("input", () => filter());
for (const chip of chips) {
  chip.addEventListener("click", () => {
    chip.setAttribute("aria-pressed", chip.getAttribute("aria-pressed") === "false");
    filter();
  });
}
for (const hit of all(".hit")) {
  const svg = hit.ownerSVGElement, axis = Number(hit.dataset.axis);
  const place = (event) => new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse()).y;
  let start = null, mark = null;
  const stretch = (event) => {
    const [low, high] = [start, place(event)].sort((a, b) => a - b);
    mark.setAttribute("y", low);
    mark.setAttribute("height", Math.max(1, high - low));
    brushes.set(axis, [low, high]);
    filter(true);
  };
  hit.addEventListener("pointerdown", (event) => {
    hit.setPointerCapture(event.pointerId);
    all(`.brush[data-axis="${axis}"]`, svg).forEach((old) => old.remove());
    brushes.delete(axis);
    start = place(event);
    mark = document.createElementNS(svg.namespaceURI, "rect");
    for (const [key, value] of Object.entries({ class: "brush", "data-axis": axis, x: hit.getAttribute("x"), width: 28, y: start, height: 0 })) mark.setAttribute(key, value);
    svg.append(mark);
  });
  hit.addEventListener("pointermove", (event) => { if (start !== null) stretch(event); });
  hit.addEventListener("pointerup", (event) => {
    if (Math.abs(place(event) - start) < 4) {
      mark.remove();
      brushes.delete(axis);
    }
    start = null;
    filter();
  });
}
