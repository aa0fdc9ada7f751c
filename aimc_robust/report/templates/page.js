// Sorts tables by a click on a column header, filters methods and targets, opens the section that the address names.
// The page is complete without JavaScript.
"use strict";

// ---- sorting: numbers by value, missing values last; a second click reverses the order

function sortKey(row, column) {
  const cell = row.cells[column];
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  if (/^[+−-]?[.]?[0-9]/.test(text)) return parseFloat(text.replace("−", "-"));
  return text === "–" || text === "" ? null : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, header) {
  const column = header.cellIndex;
  const descending = header.getAttribute("aria-sort") === "ascending";
  const keyedRows = Array.from(table.tBodies[0].rows, row => [sortKey(row, column), row]);
  keyedRows.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return descending ? compare(b, a) : compare(a, b);
  });
  for (const other of table.tHead.rows[0].cells) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", descending ? "descending" : "ascending");
  table.tBodies[0].append(...keyedRows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...header.childNodes);
    header.append(button);
    header.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(table, header));
  }
}

// ---- filters: elements of unselected methods and targets are hidden

const form = document.querySelector("form.filters");

function selection(kind) {
  const boxes = Array.from(form.querySelectorAll(`fieldset[data-kind=${kind}] input`));
  return boxes.length ? { boxes, names: new Set(boxes.filter(box => box.checked).map(box => box.value)) } : null;
}

function apply() {
  const selections = { method: selection("method"), target: selection("target") };
  for (const element of document.querySelectorAll("[data-method], [data-target]")) {
    element.hidden = Object.entries(selections).some(
      ([kind, selected]) => selected && kind in element.dataset && !selected.names.has(element.dataset[kind]));
  }
  for (const table of document.querySelectorAll("table.results")) {
    table.parentElement.hidden = !table.querySelector("thead th[data-target]:not([hidden])");
  }
  form.querySelector("[role=status]").textContent = Object.entries(selections).filter(([, selected]) => selected)
    .map(([kind, selected]) => `${selected.names.size} of ${selected.boxes.length} ${kind}s shown`).join(", ");
}

if (form?.querySelector("fieldset")) {
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

// ---- a link to a folded section opens it

function unfold() {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.matches("details")) target.open = true;
}

window.addEventListener("hashchange", unfold);
unfold();
