// Beside a result, search shows a piece of its page, which a browser may not fetch from file://.
if (location.protocol === "file:") DOCUMENTATION_OPTIONS.SHOW_SEARCH_SUMMARY = false;

// pandas puts the names of rows into a line of their own below the head, and leaves a head without names as an empty line.
function tidyHead(table) {
  const said = cell => cell.textContent.trim();
  const [first, second, ...others] = table.tHead?.rows ?? [];
  if (second && !others.length && second.cells.length === first.cells.length && !first.querySelector("[colspan]")) {
    const names = [...second.cells].filter(said).length;
    const rest = [...second.cells].slice(names), above = [...first.cells].slice(0, names);
    if (names && !rest.some(said) && !above.some(said)) {
      above.forEach((cell, place) => { cell.textContent = said(second.cells[place]); });
      second.remove();
    }
  }
  if (table.tHead && ![...table.tHead.querySelectorAll("th")].some(said)) table.tHead.remove();
}

// Columns of result tables that hold only numbers, alone or with their intervals. Columns are counted from the right,
// since a name on the left may stand for several rows.
const number = /^([+−-]?[\d.,]+( ?%)?(\s[[(].*[\])])?|–|nan)$/i;
function markNumbers(table) {
  const rows = [...table.tBodies].flatMap(body => [...body.rows]);
  const most = Math.max(0, ...rows.map(row => row.querySelectorAll("td").length));
  for (let place = 1; place <= most; place++) {
    const cells = rows.map(row => row.cells[row.cells.length - place]).filter(cell => cell?.textContent.trim());
    if (!cells.length || !cells.every(cell => cell.tagName === "TD" && number.test(cell.textContent.trim()))) continue;
    cells.forEach(markNumber);
    for (const row of table.tHead?.rows ?? []) row.cells[row.cells.length - place]?.classList.add("number");
  }
}

function markNumber(cell) {
  cell.classList.add("number");
  const [, value, interval] = /^\s*(\S+)\s+([[(].*[\])])\s*$/.exec(cell.textContent) ?? [];
  if (!interval || cell.childElementCount) return;
  const part = document.createElement("span");
  part.className = "interval";
  part.textContent = interval;
  cell.replaceChildren(`${value} `, part);
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
    const what = formula ? "equation" : "table";
    hint((formula && place.closest("div.math")) || place, `This ${what} is wider than the page: scroll it sideways →`);
    place.tabIndex = 0;
  }
  const [figure] = [...document.querySelectorAll(".bd-article figure")].filter(shrunk);
  if (figure) hint(figure, "Touch a figure to enlarge it");
}

function hint(place, text) {
  const line = document.createElement("p");
  line.className = "scroll-hint";
  line.textContent = text;
  place.before(line);
}

// On a telephone, a figure that is touched is enlarged and scrolls.
const telephone = matchMedia("(max-width: 480px)");
function shrunk(figure) {
  return telephone.matches && figure.querySelector("img")?.naturalWidth > figure.clientWidth;
}

function enlarge(event) {
  const figure = event.target.closest("figure");
  if (shrunk(figure)) figure.classList.toggle("large");
}

// Short code, such as an option of a command, stays in one piece; a path or a name breaks between its parts.
function breakCode(word) {
  if (word.textContent.length <= 24) word.classList.add("short");
  else if (!word.childElementCount) {
    const parts = word.textContent.split(/(?<=[/_=])/);
    word.replaceChildren(...parts.flatMap((part, place) => place ? [document.createElement("wbr"), part] : [part]));
  }
}

addEventListener("load", async () => {
  document.querySelectorAll(".bd-article code .pre").forEach(breakCode);
  for (const table of document.querySelectorAll("table.dataframe")) {
    tidyHead(table);
    markNumbers(table);
    const sentences = [...table.querySelectorAll("tbody th")].some(cell => cell.textContent.length > 40);
    table.classList.toggle("worded", sentences);
  }
  document.querySelectorAll(".bd-article figure img").forEach(image => image.addEventListener("click", enlarge));
  await window.MathJax?.startup?.promise;
  fit();
  addEventListener("resize", fit);
});

// On paper, nobody opens the folded cell of a notebook's parameters.
addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll(".tag_parameters details.hide")) folded.open = true;
});
