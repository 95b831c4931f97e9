const data = JSON.parse(document.getElementById("data").textContent);
const usual = ["broadcast", "open", "click", "soft_bounce", "hard_bounce", "complaint", "unsubscribe"];
const order = d3.union(usual.filter(code => data.activities.includes(code)), data.activities);
const choice = d3.select("#brand");
const day = d3.utcDay.floor;
// In zones ahead of UTC, windows begin on a day that has not begun in UTC.
const today = d3.max([data.now, ...data.dates].map(date => day(new Date(date))));
const days = [day(new Date(data.since)), d3.utcDay.offset(today, 1)];
// Days that have passed and have no rows are zero, not missing.
const passed = d3.utcDays(d3.min([...data.dates.map(date => new Date(date)), today]),
  d3.max([...data.dates.map(date => d3.utcDay.offset(new Date(date), 1)), day(new Date(data.now))]));
const title = code => (code[0].toUpperCase() + code.slice(1)).replaceAll("_", " ");
const common = {x: {type: "utc", domain: days, label: null, ticks: 4}, marginRight: 8, style: {background: "none"}};
const spans = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const span = seconds => {
  const [length, unit] = spans.find(([length]) => seconds >= length) ?? [1, "s"];
  return `${d3.format(",.2~r")(seconds / length)} ${unit}`;
};

const date = d => d3.utcFormat("%a %-d %b")(d.date);
const count = (number, noun) => `${d3.format(",")(number)} ${noun}${number === 1 ? "" : "s"}`;
const whole = most => d3.ticks(0, Math.max(most, 1), 3).filter(Number.isInteger);
const axis = ticks => [Plot.gridY(ticks), Plot.axisY(ticks, {tickFormat: d3.format(","), label: null})];
const margin = ticks => 20 + 7 * d3.format(",")(d3.max(ticks)).length;

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
    const rows = new Map(byDay.map(([date, sums]) => [+new Date(date), sums[n]]));
    const points = passed.map(date => ({date, rows: rows.get(+date) ?? 0}));
    const ticks = whole(d3.max(points, d => d.rows)), told = d => `${date(d)}: ${count(d.rows, "row")}`;
    d3.select(this).select("span").text(count(d3.sum(points, d => d.rows), "row"));
    plot(d3.select(this), {height: 130, marginLeft: margin(ticks), marginTop: 10, y: {axis: null, nice: true},
      ariaLabel: `${title(code)}: rows a day`}, [
      ...axis(ticks),
      Plot.rectY(points.filter(d => d.rows), {x: "date", y: "rows", interval: "day", fill: "var(--mark)", inset: .5, tip: true,
        title: told}),
      Plot.ruleY([0]),
      Plot.dot(points.filter(d => !d.rows), {x: d => d3.utcHour.offset(d.date, 12), y: 0, r: 1.5, fill: "var(--soft)",
        tip: true, title: told})]);
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
  const told = d => `${date(d)}: ${count(d.windows, "window")}, slowest ${span(d.slowest)}, median ${span(d.median)}`;
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
  const ticks = whole(d3.max(d3.rollup(points, same => d3.sum(same, d => d.windows), d => +d.date).values()));
  plot(d3.select("#failures"), {height: 170, marginLeft: margin(ticks), ariaLabel: "Windows that failed or were stopped, by day",
    y: {axis: null, nice: true},
    color: {domain: ["failed", "stopped"], range: ["var(--bad)", "var(--stop)"]}}, [
    ...axis(ticks),
    Plot.rectY(points, {x: "date", y: "windows", interval: "day", fill: "status", inset: .5, order: "status", tip: true,
      title: d => `${date(d)}: ${count(d.windows, "window")} ${d.status}`}),
    Plot.ruleY([0])], points.length ? "" : "None.");
}

// The recent windows of each export, a cell each.
d3.selectAll("tr[data-export]").each(function () {
  d3.select(this).select(".cells").selectAll("i").data(data.recent[this.dataset.export] ?? []).join("i")
    .attr("class", d => d[1]).attr("title", d => `${d[0]}: ${d[1]}`);
});

// A click on a heading sorts by its column; another one sorts the other way round.
d3.selectAll("#exports th button").on("click", event => {
  const head = event.currentTarget.parentNode, table = d3.select("#exports");
  const label = event.currentTarget.textContent;
  const descending = head.getAttribute("aria-sort") === "ascending";
  table.selectAll("th").attr("aria-sort", null);
  head.setAttribute("aria-sort", descending ? "descending" : "ascending");
  const value = row => {
    const cell = row.querySelector(`td[data-label="${label}"]`);
    return cell.dataset.value === undefined ? cell.textContent : Number(cell.dataset.value);
  };
  const rows = d3.sort(table.selectAll("tbody tr").nodes(), (a, b) => (descending ? d3.descending : d3.ascending)(value(a), value(b)));
  table.select("tbody").node().append(...rows);
});

// What the page says is true of the moment when it was written.
function grow() {
  const seconds = Math.max(0, (Date.now() - new Date(data.now)) / 1000);
  d3.select("#age").text(`(${seconds < 60 ? "just now" : `${span(seconds)} ago`})`);
  const stale = Date.now() > new Date(data.stale);
  d3.select("#stale").property("hidden", !stale);
  d3.select("#badge").classed("stale", stale);
}
grow();
setInterval(grow, 30_000);

choice.on("change", draw);
let width = innerWidth;
addEventListener("resize", () => { if (width !== innerWidth) { width = innerWidth; draw() } });
draw();
