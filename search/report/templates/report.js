"use strict";

// --- plots -----------------------------------------------------------------------------------------------------------

const figures = JSON.parse(document.getElementById("figures").textContent);
const NAMED = /^\$(colour(\d+)|ink|muted|soft|ground)$/;

function complain(text) {
  const place = document.getElementById("trouble");
  place.textContent = text;
  place.hidden = false;
}

/** A named colour; numbers beyond those of the style sheet get hues of their own, a golden angle apart. */
function colourOf(name, number, style) {
  const known = style.getPropertyValue("--" + name).trim();
  return known || `hsl(${(137.508 * number) % 360}, 60%, ${40 + 15 * (number % 2)}%)`;
}

/** Named colours within a figure as those of the page, light or dark. */
function painted(value, style) {
  if (typeof value === "string") {
    const named = NAMED.exec(value);
    return named ? colourOf(named[1], Number(named[2]), style) : value;
  }
  if (Array.isArray(value)) return value.map((item) => painted(item, style));
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, painted(item, style)]));
}

/** What plotly takes; on a phone a figure is higher by its legend, of which each entry takes a line there. */
function layoutOf(layout, entries, style) {
  const colour = (name) => style.getPropertyValue("--" + name).trim();
  const axis = { gridcolor: colour("line"), linecolor: colour("line"), zerolinecolor: colour("muted"), automargin: true };
  const titled = (own) => ({ ...axis, ...own, title: { font: { size: 13 }, ...own.title } });
  return {
    autosize: true,
    margin: { l: 62, r: 14, t: 12, b: 52 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: colour("ink"), size: 13, family: getComputedStyle(document.body).fontFamily },
    hovermode: "closest",
    hoverlabel: { bgcolor: colour("ground"), bordercolor: colour("muted"), font: { color: colour("ink") }, namelength: -1 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    ...layout,
    height: layout.height + (layout.showlegend && innerWidth < 600 ? 20 * entries : 0),
    xaxis: titled(layout.xaxis),
    yaxis: titled(layout.yaxis),
  };
}

function draw(Plotly) {
  const style = getComputedStyle(document.documentElement);
  const config = {
    responsive: true, displaylogo: false, displayModeBar: false, showTips: false,
  };
  return Promise.all(
    Object.entries(figures).map(([name, figure]) => {
      const { data, layout } = painted(figure, style);
      return Plotly.react("plot-" + name, data, layoutOf(layout, data.length, style), config);
    }),
  );
}

/** plotly's script lies in the page compressed. */
async function unpacked(id) {
  const bytes = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
}

async function start(nonce) {
  if (!("DecompressionStream" in window)) {
    complain("This browser is too old for the plots (it needs DecompressionStream, of 2023); all else is here.");
    return;
  }
  const script = document.createElement("script");
  script.nonce = nonce;
  script.textContent = await unpacked("plotly");
  document.head.append(script);
  await draw(window.Plotly);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => draw(window.Plotly));
  document.documentElement.dataset.drawn = "yes";
}

/** Only once it is drawn: a browser that needs longer for that than between two pages would never show one. */
function reloadLater() {
  const seconds = document.documentElement.dataset.reloadAfter;
  if (seconds) {
    setTimeout(reload, 1000 * seconds);
  }
}

/** A page that was served stays as it is once nobody serves it any more, which is when its run has ended. */
async function reload() {
  const isServed = location.protocol.startsWith("http");
  if (!isServed || (await fetch(location.href, { method: "HEAD" }).then((answer) => answer.ok, () => false))) {
    location.reload();
  }
}

start(document.currentScript.nonce)
  .catch((error) => complain("The plots cannot be drawn: " + error))
  .finally(reloadLater);

// --- tables ----------------------------------------------------------------------------------------------------------

function compare(one, other, numeric) {
  if (one === undefined || other === undefined) return (one === undefined) - (other === undefined);
  return numeric ? Number(one) - Number(other) : one.localeCompare(other);
}

function sort(table, column) {
  const heading = table.tHead.rows[0].cells[column];
  const numeric = !heading.classList.contains("left");
  const before = heading.getAttribute("aria-sort");
  const falling = before === null ? numeric : before === "ascending";
  const body = table.tBodies[0];
  const value = (row) => row.cells[column].dataset.value;
  const rows = [...body.rows].sort((one, other) => {
    const missing = value(one) === undefined || value(other) === undefined;
    const order = compare(value(one), value(other), numeric);
    return falling && !missing ? -order : order;
  });
  body.append(...rows);
  for (const cell of table.tHead.rows[0].cells) cell.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", falling ? "descending" : "ascending");
}

for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => sort(table, column));
  });
}

// --- copying ---------------------------------------------------------------------------------------------------------

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.createElement("textarea"); // where the page may not use the clipboard itself
    area.value = text;
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not allow it");
  }
}

let quiet;
function say(text) {
  const place = document.getElementById("said");
  place.textContent = text;
  place.classList.add("on");
  clearTimeout(quiet);
  quiet = setTimeout(() => place.classList.remove("on"), 2000);
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const text = document.getElementById(button.dataset.copy).textContent;
    copy(text).then(() => say("copied"), (error) => say("not copied: " + error.message));
  });
}
