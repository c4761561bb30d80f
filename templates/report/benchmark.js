"use strict";
// Tables that sort, rows that are filtered, plots that say their numbers. Without this script every number is still
// in the page's tables, and a plot's marks have their words as titles.

function valueOf(cell) {
  if ("v" in cell.dataset) return Number(cell.dataset.v);
  const text = cell.textContent.trim();
  return text === "–" || text === "" ? null : text;
}

function compare(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

for (const table of document.querySelectorAll("table.sorts")) {
  const body = table.tBodies[0];
  const headings = [...table.tHead.rows[0].cells];
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of headings) other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => ({ row, value: valueOf(row.cells[column]) }));
      // What has no value stays last, whichever way.
      rows.sort((a, b) => (a.value === null) - (b.value === null) || (up ? 1 : -1) * compare(a.value, b.value));
      body.append(...rows.map((one) => one.row));
    });
  });
}

for (const input of document.querySelectorAll("[data-filters]")) {
  const body = document.getElementById(input.dataset.filters).tBodies[0];
  const status = input.parentElement.querySelector("[role=status]");
  input.parentElement.hidden = false;
  input.addEventListener("input", () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += row.hidden ? 0 : 1;
    }
    status.textContent = words.length ? `${shown} of ${body.rows.length} rows` : "";
  });
}

for (const plot of document.querySelectorAll("svg.plot")) {
  const marks = [...plot.querySelectorAll(".row > g")];
  const rows = [...plot.querySelectorAll(".row")];
  const readout = plot.parentElement.querySelector(".readout");
  const asked = readout.textContent;
  readout.hidden = marks.length === 0;
  const words = (mark) => mark.querySelector("title").textContent;
  const tell = (mark) => {
    readout.textContent = mark ? words(mark) : asked;
    readout.classList.toggle("on", Boolean(mark));
  };
  const focused = () => marks.find((mark) => mark === document.activeElement);
  const go = (from, to) => {
    if (!to || to === from) return;
    from.setAttribute("tabindex", "-1");
    to.setAttribute("tabindex", "0");
    to.focus();
  };
  const besides = (mark, step) => {
    // The mark of the next or last data path that is nearest along the other axis.
    const row = rows[rows.indexOf(mark.parentElement) + step];
    const at = Number(mark.querySelector("circle").getAttribute("cx"));
    const away = (one) => Math.abs(Number(one.querySelector("circle").getAttribute("cx")) - at);
    return row && [...row.children].sort((a, b) => away(a) - away(b))[0];
  };
  for (const mark of marks) {
    mark.addEventListener("mouseenter", () => tell(mark));
    mark.addEventListener("mouseleave", () => tell(focused()));
    mark.addEventListener("focus", () => tell(mark));
    mark.addEventListener("blur", () => tell(undefined));
    mark.addEventListener("keydown", (event) => {
      const index = marks.indexOf(mark);
      const to = {
        ArrowRight: marks[index + 1], ArrowLeft: marks[index - 1], ArrowDown: besides(mark, 1),
        ArrowUp: besides(mark, -1), Home: marks[0], End: marks[marks.length - 1],
      };
      if (event.key in to) {
        event.preventDefault();
        go(mark, to[event.key]);
      }
    });
  }
}

// Paper shows what is folded away on a screen, but for the ranges that memory maps have as pictures.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open], .topology details)")];
  for (const one of folded) one.open = true;
});
addEventListener("afterprint", () => {
  for (const one of folded) one.open = false;
});
