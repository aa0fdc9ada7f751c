// Tables that sort on a click of their heads, and boxes that choose methods and targets. The page is whole without it.
"use strict";

// ---- sorting: numbers by value, missing ones last; a second click reverses

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  if (/^[+−-]?[.]?[0-9]/.test(text)) return parseFloat(text.replace("−", "-"));
  return text === "–" || text === "" ? null : text;
}

function compared(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, head) {
  const column = head.cellIndex;
  const down = head.getAttribute("aria-sort") === "ascending";
  const keyed = Array.from(table.tBodies[0].rows, row => [sortKey(row, column), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return down ? compared(b, a) : compared(a, b);
  });
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  table.tBodies[0].append(...keyed.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, head));
  }
}

// ---- filters: whatever names a method or target that is not chosen is hidden

const form = document.querySelector("form.filters");

function chosen(kind) {
  const boxes = Array.from(form.querySelectorAll(`fieldset[data-kind=${kind}] input`));
  return boxes.length ? { boxes, names: new Set(boxes.filter(box => box.checked).map(box => box.value)) } : null;
}

function apply() {
  const kinds = { method: chosen("method"), target: chosen("target") };
  for (const element of document.querySelectorAll("[data-method], [data-target]")) {
    element.hidden = Object.entries(kinds).some(
      ([kind, found]) => found && kind in element.dataset && !found.names.has(element.dataset[kind]));
  }
  for (const table of document.querySelectorAll("table.accuracy")) {
    table.parentElement.hidden = !table.querySelector("thead th[data-target]:not([hidden])");
  }
  form.querySelector("[role=status]").textContent = Object.entries(kinds).filter(([, found]) => found)
    .map(([kind, found]) => `${found.names.size} of ${found.boxes.length} ${kind}s shown`).join(", ");
}

if (form.querySelector("fieldset")) {
  form.hidden = false;
  form.addEventListener("change", apply);
  form.addEventListener("submit", event => event.preventDefault());
  for (const button of form.querySelectorAll("button[data-set]")) {
    button.addEventListener("click", () => {
      for (const box of button.closest("fieldset").querySelectorAll("input")) box.checked = button.dataset.set === "all";
      apply();
    });
  }
  apply();
}
