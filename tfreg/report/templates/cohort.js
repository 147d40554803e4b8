"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  const keyOf = (row, column) => (column === 0 ? row.cells[0].textContent : row.cells[column].dataset.key);
  heads.forEach((head, column) =>
    head.querySelector("button").addEventListener("click", () => {
      const downwards = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", downwards ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const [first, second] = [keyOf(a, column), keyOf(b, column)];
        if (first === "" || second === "") return (first === "") - (second === "");  // nothing measured comes last
        const order = column === 0 ? first.localeCompare(second) : Number(first) - Number(second);
        return downwards ? -order : order;
      });
      body.append(...rows);
    }),
  );
  const filter = table.closest("details").querySelector(".filter");
  filter.addEventListener("input", () => {
    const text = filter.value.trim().toLowerCase();
    for (const row of body.rows) row.hidden = !row.cells[0].textContent.toLowerCase().includes(text);
  });
}
