// Beside a result, search shows a piece of its page, which a browser may not fetch from file://.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// Cells of result tables that hold a number, alone or with its interval, and the heads of columns of such cells.
const number = /^([−-]?[\d.,]+( ?%)?(\s\[.*\])?|–|nan)$/i;
function markNumber(cell) {
  cell.classList.add("number");
  const [, value, interval] = /^\s*(\S+)\s+(\[.*\])\s*$/.exec(cell.textContent) ?? [];
  if (!interval || cell.childElementCount) return;
  const part = document.createElement("span");
  part.className = "interval";
  part.textContent = interval;
  cell.replaceChildren(`${value} `, part);
}

function markNumbers(table) {
  const heads = table.tHead ? [...table.tHead.rows[0].cells] : [];
  const rows = [...table.tBodies].flatMap(body => [...body.rows]);
  for (const row of rows)
    for (const cell of row.cells)
      if (cell.tagName === "TD" && number.test(cell.textContent.trim())) markNumber(cell);
  heads.forEach((head, place) => {
    const cells = rows.map(row => row.cells[place]).filter(Boolean);
    if (cells.length && cells.every(cell => cell.classList.contains("number"))) head.classList.add("number");
  });
}

// What is wider than its place: equations become smaller, down to 70 %; then, as tables do, they scroll, which a line above says.
function fit() {
  for (const hint of document.querySelectorAll(".scroll-hint")) hint.remove();
  const places = ".bd-article :is(table.dataframe, .pst-scrollable-table-container, .table-wrapper, mjx-container[display='true'])";
  for (const place of document.querySelectorAll(places)) {
    const formula = place.tagName === "MJX-CONTAINER";
    if (formula) {
      place.dataset.size ??= parseFloat(place.style.fontSize) || 100;
      place.style.fontSize = `${place.dataset.size}%`;
      const room = place.clientWidth / place.scrollWidth;
      if (room < 1) place.style.fontSize = `${Math.max(0.7, room * 0.95) * place.dataset.size}%`;
    }
    if (!place.clientWidth || place.scrollWidth <= place.clientWidth + 1) continue;
    const hint = document.createElement("p");
    hint.className = "scroll-hint";
    hint.textContent = `This ${formula ? "equation" : "table"} is wider than the page: scroll it sideways →`;
    ((formula && place.closest("div.math")) || place).before(hint);
    place.tabIndex = 0;
  }
}

addEventListener("load", async () => {
  document.querySelectorAll("table.dataframe").forEach(markNumbers);
  await window.MathJax?.startup?.promise;
  fit();
  addEventListener("resize", fit);
});

// On paper, nobody opens the folded cell of a notebook's parameters.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll(".tag_parameters details.hide")) folded.open = true;
});
