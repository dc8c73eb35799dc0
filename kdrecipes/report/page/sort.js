"use strict";
// Puts a button into each heading of the tables that may be sorted. Without scripts the tables are as they were written.
{
  const NUMBER = /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?/i;
  const status = document.getElementById("sorted");

  const text = (cell) => cell.dataset.value ?? cell.textContent.trim();
  const number = (value) => {
    const found = NUMBER.exec(value.replace(/,/g, "").replace(/^−/, "-"));
    return found ? Number(found[0]) : NaN;
  };

  const sort = (table, column, heading, name) => {
    const body = table.tBodies[0];
    const rows = [...body.rows].map((row) => ({ row, value: text(row.cells[column]) }));
    const missing = (one) => one.value === "–" || one.value === "";
    const held = rows.filter((one) => !missing(one));
    const numbers = held.every((one) => !Number.isNaN(number(one.value)));
    const before = heading.getAttribute("aria-sort");
    // Numbers begin with the largest, words with A.
    const up = before ? before === "descending" : !numbers;
    held.sort((a, b) => {
      const order = numbers ? number(a.value) - number(b.value) : a.value.localeCompare(b.value, "en");
      return up ? order : -order;
    });
    body.append(...held.map((one) => one.row), ...rows.filter(missing).map((one) => one.row));
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    status.textContent = `Sorted by ${name}, ${up ? "ascending" : "descending"}.`;
  };

  for (const table of document.querySelectorAll("table.sortable")) {
    if (table.tBodies[0].rows.length < 2) continue;
    [...table.tHead.rows[0].cells].forEach((heading, column) => {
      const name = heading.textContent.trim();
      const button = document.createElement("button");
      button.type = "button";
      button.append(...heading.childNodes);
      heading.append(button);
      button.addEventListener("click", () => sort(table, column, heading, name));
    });
  }
}
