const data = JSON.parse(document.getElementById("data").textContent);
const usual = ["broadcast", "open", "click", "soft_bounce", "hard_bounce", "complaint", "unsubscribe"];
const order = d3.union(usual.filter(code => data.activities.includes(code)), data.activities);
const choice = d3.select("#brand");
const day = d3.utcDay.floor;
// Where it is tomorrow already, windows begin on a day that UTC has yet to see.
const today = d3.max([data.now, ...data.dates].map(date => day(new Date(date))));
const days = [day(new Date(data.since)), d3.utcDay.offset(today, 1)];
const title = code => (code[0].toUpperCase() + code.slice(1)).replaceAll("_", " ");
const common = {x: {type: "utc", domain: days, label: null, ticks: 4}, marginRight: 8, style: {background: "none"}};
const spans = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const span = seconds => {
  const [length, unit] = spans.find(([length]) => seconds >= length) ?? [1, "s"];
  return `${d3.format(",.3~r")(seconds / length)} ${unit}`;
};

const date = d => d3.utcFormat("%a %-d %b")(d.date);
const count = windows => `${d3.format(",")(windows)} window${windows === 1 ? "" : "s"}`;

function draw() {
  const brand = choice.property("value");
  const seen = place => !brand || data.brands[place] === brand.slice(1);
  d3.selectAll("tr[data-brand]").property("hidden", function () { return brand && this.dataset.brand !== brand.slice(1) });
  d3.select("#no-problems").property("hidden", d3.selectAll("#problems tbody tr:not([hidden])").size() > 0);
  const chosen = data.days.filter(([place]) => seen(place));
  drawRows(chosen);
  drawLag(chosen);
  drawFailures(data.failures.filter(([place]) => seen(place)));
}

// A plot as wide as its figure; a line of text where there is nothing to see.
function plot(figure, options, marks, nothing) {
  figure.selectAll("svg, .good").remove();
  if (nothing) figure.append("p").attr("class", "good").text(nothing);
  else figure.append(() => Plot.plot({...common, width: figure.node().clientWidth, ...options, marks}));
}

function drawRows(chosen) {
  const byDay = d3.rollups(chosen, part => data.activities.map((_, n) => d3.sum(part, d => d[3][n])), d => data.dates[d[1]]);
  const shown = [...order].filter(code => byDay.some(([, sums]) => sums[data.activities.indexOf(code)]));
  d3.select("#no-rows").remove();
  if (!shown.length) d3.select("#rows").append("p").attr("id", "no-rows").attr("class", "good").text("Nothing exported yet.");
  d3.select("#rows").selectAll("figure").data(shown, d => d).join(enter => {
    const figure = enter.append("figure");
    figure.append("figcaption").text(d => `${title(d)} `).append("span");
    return figure;
  }).order().each(function (code) {
    const n = data.activities.indexOf(code);
    const points = byDay.map(([date, sums]) => ({date: new Date(date), rows: sums[n]}));
    d3.select(this).select("span").text(`${d3.format(",")(d3.sum(points, d => d.rows))} rows`);
    plot(d3.select(this), {height: 130, marginLeft: 44, marginTop: 10, y: {grid: true, ticks: 3, tickFormat: "~s", label: null, nice: true},
      ariaLabel: `${title(code)}: rows a day`}, [
      Plot.rectY(points, {x: "date", y: "rows", interval: "day", fill: "var(--mark)", inset: .5, tip: true,
        title: d => `${date(d)}: ${d3.format(",")(d.rows)} rows`}),
      Plot.ruleY([0])]);
  });
}

function drawLag(chosen) {
  const points = Array.from(d3.rollup(chosen, part => d3.merge(part.map(d => d[2])).map(lag => Math.max(lag, 1)), d => data.dates[d[1]]),
    ([date, lags]) => ({date: d3.utcHour.offset(new Date(date), 12), slowest: d3.max(lags), median: d3.median(lags), windows: lags.length}))
    .filter(d => d.windows);
  const scale = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 42 * 86400, 365 * 86400];
  const low = d3.max(scale.filter(s => s <= d3.min(points, d => d.median))) ?? 1;
  const high = d3.min(scale.filter(s => s >= d3.max(points, d => d.slowest) && s > low)) ?? scale.at(-1);
  const ticks = scale.filter(s => s >= low && s <= high);
  const told = d => `${date(d)}: ${count(d.windows)}, slowest ${span(d.slowest)}, median ${span(d.median)}`;
  plot(d3.select("#lag"), {height: 220, marginLeft: 56, ariaLabel: "Lag by day, the slowest window and the median",
    y: {type: "log", domain: [low, high], axis: null}}, [
    Plot.gridY(ticks), Plot.axisY(ticks, {text: span, label: null}),
    Plot.ruleX(points, {x: "date", y1: "median", y2: "slowest", stroke: "var(--line)"}),
    Plot.dot(points, {x: "date", y: "median", r: 3, stroke: "var(--mark)", fill: "var(--paper)"}),
    Plot.dot(points, {x: "date", y: "slowest", r: 3, fill: "var(--mark)", tip: "x", title: told})],
    points.length ? "" : "Nothing delivered yet.");
}

function drawFailures(chosen) {
  const found = new Map();
  for (const [place, status, window, first, last] of chosen) {
    const end = d3.min([d3.utcDay.offset(day(new Date(last * 1000)), 1), days[1]]);
    for (const date of d3.utcDays(d3.max([day(new Date(first * 1000)), days[0]]), end)) {
      const key = `${status} ${+date}`;
      if (!found.has(key)) found.set(key, {date, status, windows: new Set()});
      found.get(key).windows.add(`${place} ${window}`);
    }
  }
  const points = [...found.values()].map(d => ({...d, windows: d.windows.size}));
  plot(d3.select("#failures"), {height: 170, marginLeft: 44, ariaLabel: "Windows that failed or were stopped, by day",
    y: {grid: true, ticks: 3, tickFormat: "~s", label: null, nice: true},
    color: {domain: ["failed", "stopped"], range: ["var(--bad)", "var(--stop)"]}}, [
    Plot.rectY(points, {x: "date", y: "windows", interval: "day", fill: "status", inset: .5, order: "status", tip: true,
      title: d => `${date(d)}: ${count(d.windows)} ${d.status}`}),
    Plot.ruleY([0])], points.length ? "" : "None.");
}

choice.on("change", draw);
let width = innerWidth;
addEventListener("resize", () => { if (width !== innerWidth) { width = innerWidth; draw() } });
draw();
