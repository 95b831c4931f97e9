const data = JSON.parse(document.getElementById("data").textContent);
// The lanes, from the delivered files to the raw tables.
const titles = {files: "Delivered files", exports: "Exports", intermediate: "Intermediate", staging: "Staging", raw: "Raw tables"};
// Layers that a project adds are placed between "exports" and "intermediate".
const lanes = [...d3.union(["files", "exports"], d3.difference(data.tables.map(t => t.layer), Object.keys(titles)), Object.keys(titles))];
const tables = new Map(data.tables.map(t => [t.id, t]));
const key = (table, column) => `${table} ${column}`;
const tableOf = k => k.slice(0, k.indexOf(" "));
const name = k => `${tables.get(tableOf(k)).name}.${k.slice(k.indexOf(" ") + 1)}`;
const up = d3.group(data.edges, e => key(e[2], e[3])), down = d3.group(data.edges, e => key(e[0], e[1]));
const columns = data.tables.flatMap(t => t.columns.map(c => ({key: key(t.id, c.name), table: t, ...c})));
const byName = new Map(columns.map(c => [name(c.key), c]));
const byKey = new Map(columns.map(c => [c.key, c]));
const dbtPage = id => `dbt.html#!/${id.split(".")[0]}/${id}`;
const open = new Set(data.tables.filter(t => t.layer === "files").map(t => t.id));
const typeOf = c => (c.type ?? "").toLowerCase().replace("timestamp with time zone", "timestamptz");
const choose = k => { location.hash = encodeURIComponent(name(k)) };

const lane = d3.select("#lanes").selectAll(".lane").data(lanes).join("section").attr("class", "lane");
lane.append("h3").text(d => titles[d] ?? d);
const box = lane.selectAll(".table").data(d => d3.sort(data.tables.filter(t => t.layer === d), t => t.name)).join("div").attr("class", "table");
const head = box.append("h4");
const toggle = head.append("button").attr("class", "open").attr("title", d => d.description).text(d => d.name)
  .on("click", (_, d) => { if (!open.delete(d.id)) open.add(d.id); show() });
head.append("a").attr("href", d => dbtPage(d.id)).attr("aria-label", d => `${d.name} in dbt's pages`).text("dbt");
const row = box.selectAll(".column").data(d => d.columns.map(c => key(d.id, c.name))).join("button")
  .attr("class", "column").attr("data-name", name).attr("title", k => byKey.get(k).description)
  .classed("additional", k => byKey.get(k).additional)
  .on("click", (_, k) => choose(k));
row.append("b").style("font-weight", "inherit").text(k => k.slice(k.indexOf(" ") + 1));
row.append("span").text(k => typeOf(byKey.get(k)));
const picture = d3.select("#lanes").append("svg");

function reach(start, edges, end) {
  const found = new Set(), open = [start];
  while (open.length) {
    const k = open.pop();
    if (!found.has(k)) { found.add(k); for (const e of edges.get(k) ?? []) open.push(end(e)) }
  }
  found.delete(start);
  return found;
}

// The tables that delivered files are built from. Other tables, such as those that only a run reads, are hidden at first.
const upstream = new Set(columns.filter(c => c.table.layer === "files")
  .flatMap(c => [c.key, ...reach(c.key, up, e => key(e[0], e[1]))]).map(tableOf));

function show() {
  const chosen = byName.get(decodeURIComponent(location.hash.slice(1)));
  const above = chosen ? reach(chosen.key, up, e => key(e[0], e[1])) : new Set();
  const below = chosen ? reach(chosen.key, down, e => key(e[2], e[3])) : new Set();
  const seen = k => chosen ? k === chosen.key || above.has(k) || below.has(k) : open.has(tableOf(k));
  const known = d => chosen ? d.columns.some(c => seen(key(d.id, c.name))) : upstream.has(d.id);
  row.classed("hidden", k => !seen(k)).attr("aria-current", k => chosen?.key === k ? "true" : null);
  box.classed("hidden", d => !known(d));
  toggle.attr("aria-expanded", d => chosen || open.has(d.id) ? "true" : "false");
  lane.classed("hidden", d => !data.tables.some(t => t.layer === d && known(t)));
  d3.select("#all").classed("hidden", !chosen);
  d3.select("#lanes").classed("chosen", chosen);
  describe(chosen, above);
  draw(chosen ? data.edges.filter(e => seen(key(e[0], e[1])) && seen(key(e[2], e[3]))) : data.edges);
}

function describe(chosen, above) {
  const about = d3.select("#about").text("");
  if (!chosen) {
    about.append("p").text("Each file comes from the tables to its right. Click a table to see its columns, and a column to see "
      + "what its value is built from and where it goes. The columns that decide which rows are selected are not shown. "
      + "The search also finds tables that no file comes from. Columns in italics are not in the files by default: name them in additional_fields.");
    return;
  }
  about.append("h2").text(`${name(chosen.key)} `).append("span").text(typeOf(chosen));
  about.append("p").text(chosen.description);
  if (chosen.additional) about.append("p").text("Not in the files by default: name it in additional_fields.");
  const origins = [...above].filter(k => !up.has(k)).map(name).sort();
  about.append("p").attr("id", "origins").text(origins.length ? `Built from ${origins.join(", ")}.`
    : chosen.table.layer === "raw" ? "A raw column." : "Built from no other column.");
}

// Draw each edge from the right side of a file or table to the left side of its source: the column
// if it is shown, otherwise its table. An edge that skips a lane passes through the nearest gap
// between the boxes of that lane. An edge within a lane stays to the right of it. So no line runs
// behind a box.
function draw(edges) {
  const origin = document.querySelector("#lanes").getBoundingClientRect();
  const place = node => {
    const r = node.getBoundingClientRect();
    return {left: r.left - origin.left, right: r.right - origin.left, top: r.top - origin.top, bottom: r.bottom - origin.top};
  };
  const visible = nodes => nodes.filter(n => n.offsetParent);
  const boxes = new Map(visible(box.nodes()).map(n => [d3.select(n).datum().id, {...place(n), head: place(n.querySelector("h4"))}]));
  const rows = new Map(visible(row.nodes()).map(n => [d3.select(n).datum(), place(n)]));
  const middle = r => (r.top + r.bottom) / 2;
  const at = (table, column) => {
    const b = boxes.get(table);
    return b && {left: b.left, right: b.right, y: middle(rows.get(key(table, column)) ?? b.head), lane: lanes.indexOf(tables.get(table).layer)};
  };
  const gaps = lanes.map(layer => {
    const inLane = data.tables.filter(t => t.layer === layer && boxes.has(t.id)).map(t => boxes.get(t.id));
    if (!inLane.length) return null;
    const sorted = d3.sort(inLane, b => b.top), last = sorted.at(-1);
    return {left: d3.min(sorted, b => b.left), right: d3.max(sorted, b => b.right),
      ys: [...d3.pairs(sorted, (a, b) => (a.bottom + b.top) / 2), last.bottom + 8]};
  });
  const link = d3.linkHorizontal();
  const curve = (from, to) => link({source: from, target: to});
  const paths = new Set(edges.map(e => {
    const to = at(e[0], e[1]), from = at(e[2], e[3]);
    if (!from || !to) return "";
    if (from.lane === to.lane) {
      const x = Math.max(from.right, to.right) + 24;
      return `M${from.right},${from.y}C${x},${from.y},${x},${to.y},${to.right},${to.y}`;
    }
    let path = "", here = [from.right, from.y];
    for (const gap of gaps.slice(from.lane + 1, to.lane)) {
      if (!gap) continue;
      const y = d3.least(gap.ys, y => Math.abs(y - (here[1] + to.y) / 2));
      path += `${curve(here, [gap.left, y])}L${gap.right},${y}`;
      here = [gap.right, y];
    }
    return path + curve(here, [to.left, to.y]);
  }));
  picture.attr("width", origin.width).attr("height", origin.height);
  picture.selectAll("path").data([...paths].filter(Boolean)).join("path").attr("d", d => d);
}

// Offer the columns whose name contains the text, the delivered fields first.
function offer() {
  const text = find.value.trim().toLowerCase();
  const ordered = d3.sort(columns, c => lanes.indexOf(c.table.layer));
  const matches = text ? ordered.filter(c => name(c.key).toLowerCase().includes(text)).slice(0, 50) : [];
  d3.select("#found").selectAll("li").data(matches, c => c.key).join(enter => {
    const item = enter.append("li");
    item.append("button").text(c => name(c.key)).on("click", (_, c) => { d3.select("#found").text(""); choose(c.key) });
    return item;
  }).order();
  return matches;
}

const find = document.querySelector("#find");
find.addEventListener("input", offer);
find.addEventListener("change", () => { if (byName.has(find.value)) { d3.select("#found").text(""); choose(byName.get(find.value).key) } });
find.addEventListener("keydown", event => {
  const matches = event.key === "Enter" ? offer() : [];
  if (matches.length) { d3.select("#found").text(""); choose(matches[0].key) }
});
d3.select("#all").on("click", () => { location.hash = ""; find.value = ""; d3.select("#found").text("") });
addEventListener("hashchange", show);
addEventListener("resize", show);
show();
