"""The page's own CSS and script: small, light and dark, no fonts or files from elsewhere."""

from __future__ import annotations

CSS = """
:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --text: #1c2330; --soft: #5b6675; --line: #dfe3e9; --grid: #e9ecf1;
  --accent: #2a66cc; --good: #1f7f5b; --warn: #a76407; --bad: #bd3148; --mark: #eef3fc;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #12161d; --card: #1a2029; --text: #e4e8ee; --soft: #9aa5b4; --line: #2e3744; --grid: #29313d;
    --accent: #7ba8f5; --good: #55c298; --warn: #e8a94a; --bad: #f0788b; --mark: #202b3d;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 3.5rem; }
body {
  margin: 0; background: var(--back); color: var(--text);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", sans-serif;
}
main, .top { max-width: 1320px; margin: 0 auto; padding: 0 24px; }
header { background: var(--card); border-bottom: 1px solid var(--line); padding: 28px 0 20px; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 0 0 14px; }
h3 { font-size: .95rem; margin: 22px 0 8px; }
p { margin: 0 0 12px; }
.soft, figcaption, .card small { color: var(--soft); }
.badges { display: flex; flex-wrap: wrap; gap: 8px; margin-top: 12px; }
.badge { border: 1px solid var(--line); border-radius: 999px; padding: 1px 11px; font-size: .83rem; }
.badge.good { color: var(--good); border-color: currentColor; }
.badge.warn { color: var(--warn); border-color: currentColor; }
nav { position: sticky; top: 0; z-index: 5; background: var(--card); border-bottom: 1px solid var(--line); }
nav .top { display: flex; gap: 20px; overflow-x: auto; white-space: nowrap; }
nav a { color: var(--soft); text-decoration: none; padding: 9px 0; font-size: .88rem; }
nav a:hover { color: var(--accent); }
section {
  background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 20px 22px; margin: 20px 0;
}
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 14px; margin-bottom: 18px; }
.card { max-width: 460px; border: 1px solid var(--line); border-radius: 8px; padding: 12px 15px; }
.card b { display: block; font-size: 1.4rem; font-weight: 620; line-height: 1.3; font-variant-numeric: tabular-nums; }
.card small { display: block; font-size: .83rem; line-height: 1.45; }
.card .title { color: var(--soft); font-size: .78rem; text-transform: uppercase; letter-spacing: .05em; }
.meter { height: 6px; border-radius: 3px; background: var(--grid); overflow: hidden; margin: 7px 0 5px; display: flex; }
.meter i { display: block; background: var(--accent); } .meter i.bad { background: var(--bad); }
.meter i.run { background: var(--warn); }
.notice { border-left: 3px solid var(--warn); background: var(--mark); padding: 9px 14px; border-radius: 0 6px 6px 0; }
figure { margin: 0 0 14px; } figcaption { font-size: .86rem; max-width: 110ch; margin-top: 8px; }
.plot { width: 100%; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(440px, 100%), 1fr)); gap: 24px; }
.pair > div { min-width: 0; }
.scroll { overflow-x: auto; margin: 0 0 12px; }
.tall { max-height: 44rem; overflow-y: auto; border-bottom: 1px solid var(--line); }
.tall th { position: sticky; top: 0; background: var(--card); box-shadow: 0 1px var(--line); z-index: 1; }
table { border-collapse: collapse; width: 100%; font-size: .86rem; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 550; white-space: nowrap; vertical-align: bottom; }
tbody tr:hover { background: var(--mark); }
td.number { font-variant-numeric: tabular-nums; }
td.number, td.short { white-space: nowrap; }
td.good { color: var(--good); } td.warn { color: var(--warn); } td.bad { color: var(--bad); }
th button { all: unset; cursor: pointer; color: inherit; }
th button:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " ▲"; font-size: .7em; }
th[aria-sort=descending] button::after { content: " ▼"; font-size: .7em; }
code, pre { font: .92em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace; }
td code { font-size: .86em; display: inline-block; min-width: 16em; }
th.number, td.number { text-align: right; }
td.number small { display: block; color: var(--soft); }
.grade { font-weight: 600; margin-left: .35em; }
.A { color: var(--good); } .C { color: var(--warn); } .F { color: var(--bad); }
pre { background: var(--back); border: 1px solid var(--line); border-radius: 6px; padding: 12px; overflow-x: auto; }
details { margin: 8px 0; } summary { cursor: pointer; color: var(--accent); font-size: .9rem; margin-bottom: 8px; }
del { color: var(--bad); }
footer { color: var(--soft); font-size: .83rem; padding: 6px 0 40px; }
@media print { nav { display: none; } body { background: none; } section { border: none; }
  .tall { max-height: none; } }
"""

SCRIPT = """
"use strict";
const colour = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
function themed(layout) {
  const changes = {"font.color": colour("--text"), "font.size": 12,
    "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": colour("--line"), "modebar.activecolor": colour("--accent"),
    "font.family": getComputedStyle(document.body).fontFamily,
    "hoverlabel.bgcolor": colour("--card"), "hoverlabel.bordercolor": colour("--line"),
    "hoverlabel.font.color": colour("--text")};
  for (const axis of Object.keys(layout).filter(key => /^[xy]axis/.test(key))) {
    changes[axis + ".gridcolor"] = colour("--grid");
    changes[axis + ".linecolor"] = changes[axis + ".tickcolor"] = colour("--line");
  }
  return changes;
}
function apply(layout, changes) {
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split("."), last = keys.pop();
    keys.reduce((at, key) => at[key] ??= {}, layout)[last] = value;
  }
  return layout;
}
const plots = [];
for (const source of document.querySelectorAll("script[data-figure]")) {
  const figure = JSON.parse(source.textContent), place = document.getElementById(source.dataset.figure);
  plots.push(place);
  Plotly.newPlot(place, figure.data, apply(figure.layout, themed(figure.layout)), {
    responsive: true, displaylogo: false,
    modeBarButtons: [["toImage"], ["zoom2d", "pan2d"], ["zoomIn2d", "zoomOut2d", "resetScale2d"]]});
}
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const place of plots) Plotly.relayout(place, themed(place.layout));
});
for (const button of document.querySelectorAll("table.sortable th button")) {
  button.addEventListener("click", () => {
    const heading = button.parentElement, column = heading.cellIndex, body = heading.closest("table").tBodies[0];
    const descending = heading.getAttribute("aria-sort") === "ascending";
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", descending ? "descending" : "ascending");
    const key = row => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((one, two) => {
      const a = key(one), b = key(two);
      if (a === "" || b === "") return (a === "") - (b === "");
      const order = isNaN(a) || isNaN(b) ? a.localeCompare(b) : a - b;
      return descending ? -order : order;
    });
    body.append(...rows);
  });
}
"""
