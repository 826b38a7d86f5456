"use strict";
(() => {
  const table = document.getElementById("files");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const text = document.getElementById("filter-text");
  const kind = document.getElementById("filter-kind");
  const below = document.getElementById("filter-below");
  const count = document.getElementById("filter-count");

  function filter() {
    const wanted = text.value.toLowerCase();
    const limit = below.value === "" ? Infinity : Number(below.value);
    let shown = 0;
    for (const row of rows) {
      const fits = row.textContent.toLowerCase().includes(wanted) && (!kind.value || row.dataset.kind === kind.value) &&
        Number(row.dataset.score) <= limit;
      row.hidden = !fits;
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} shown`;
  }

  function sort(head) {
    const ascending = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const key = (row) => row.cells[head.cellIndex].dataset.value ?? row.cells[head.cellIndex].textContent.trim();
    const numeric = head.dataset.type === "number";
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      const order = numeric ? Number(x) - Number(y) : x.localeCompare(y);
      return ascending ? order : -order;
    });
    body.append(...rows);
  }

  for (const button of table.tHead.querySelectorAll("button")) {
    button.addEventListener("click", () => sort(button.closest("th")));
  }
  for (const input of [text, kind, below]) input.addEventListener("input", filter);
  document.getElementById("filters").hidden = false;
  filter();
})();
