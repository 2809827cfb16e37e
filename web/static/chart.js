// Draws the charts of the panel model with plotly.js: lines with their gaps, limits, alert spans, flagged readings.

const body = document.body;
const language = body.dataset.language === "zh" ? "zh" : "en";
const words = (key) => body.dataset[key.replace(/[-.]([a-z0-9])/g, (_, letter) => letter.toUpperCase())] ?? "";

const LINES = ["#0b5394", "#b3530a", "#1b7f5c", "#7a3e9d", "#8c6d1f", "#00798c", "#a23b72", "#4b5563"];
const SEVERITY = {
  notice: { line: "#0a5cc2", fill: "#0a5cc2", dash: "dot" },
  warning: { line: "#b85c00", fill: "#ffb224", dash: "dash" },
  critical: { line: "#c01027", fill: "#c01027", dash: "solid" },
};
const ACTIVITY = { blast: "#a01b6c", watering: "#00798c", haul: "#7a5230", crusher: "#5a4a8a", stop: "#4b5563", weather_warning: "#8a6d00" };
const FONT = '"Segoe UI", Roboto, "Noto Sans", "PingFang SC", "Microsoft YaHei", "Noto Sans CJK SC", sans-serif';
const REDRAW_MS = 10000;
const RETRY_MS = 15000;

function traces(data) {
  const drawn = [];
  data.series.forEach((series, place) => {
    const colour = LINES[place % LINES.length];
    const few = series.t.length < 80;
    drawn.push({
      type: "scatter", mode: few ? "lines+markers" : "lines", x: series.t, y: series.v, name: series.name[language],
      connectgaps: false, line: { color: colour, width: 1.8 }, marker: { color: colour, size: 4 },
      hovertemplate: `%{y:.${data.digits}f} ${data.unit}<extra>${escape(series.name[language])}</extra>`,
    });
    if (series.flagged.t.length) {
      drawn.push({
        type: "scatter", mode: "markers", x: series.flagged.t, y: series.flagged.v,
        name: `${series.name[language]} (${words("chart.flagged")})`,
        text: series.flagged.flags.map((flags) => flags.join(", ")),
        marker: { symbol: "x", color: "#6a3fa0", size: 8 },
        hovertemplate: `%{y:.${data.digits}f} ${data.unit} · %{text}<extra></extra>`,
      });
    }
  });
  return drawn;
}

function escape(text) {
  return text.replace(/[<>&]/g, (char) => ({ "<": "&lt;", ">": "&gt;", "&": "&amp;" })[char]);
}

// The axis shows the data, and of the limits the nearest one and those that the data come near to.
function axis(data) {
  let low = least(...data.series.flatMap((series) => [series.v, series.flagged.v]));
  let high = greatest(...data.series.flatMap((series) => [series.v, series.flagged.v]));
  const raises = data.limits.filter((limit) => limit.edge === "raise");
  const above = raises.filter((limit) => limit.direction === "above").map((limit) => limit.value).sort((a, b) => a - b);
  const below = raises.filter((limit) => limit.direction === "below").map((limit) => limit.value).sort((a, b) => b - a);
  if (high < low) {
    // no readings: from nought to the first limit
    [low, high] = [0, above[0] ?? below[0] ?? 1];
  }
  const [bottom, top] = [low, high];
  above.forEach((value, place) => { if (place === 0 || top > value * 0.6) high = Math.max(high, value); });
  below.forEach((value, place) => { if (place === 0 || bottom < value * 1.5) low = Math.min(low, value); });
  const margin = (high - low || Math.abs(high) || 1) * 0.1;
  return [low >= 0 && low - margin < 0 ? 0 : low - margin, high + margin];
}

function least(...lists) {
  let found = Infinity;
  for (const list of lists) for (const value of list) if (value !== null && value < found) found = value;
  return found;
}

function greatest(...lists) {
  let found = -Infinity;
  for (const list of lists) for (const value of list) if (value !== null && value > found) found = value;
  return found;
}

function shapes(data) {
  const spans = data.alerts.map((alert) => ({
    type: "rect", xref: "x", yref: "paper", x0: alert.from, x1: alert.to, y0: 0, y1: 1, layer: "below",
    fillcolor: SEVERITY[alert.severity].fill, opacity: 0.13, line: { width: 0 },
  }));
  const tops = data.alerts.map((alert) => ({
    type: "line", xref: "x", yref: "paper", x0: alert.from, x1: alert.to, y0: 1, y1: 1,
    line: { color: SEVERITY[alert.severity].line, width: 5 },
  }));
  const limits = data.limits.map((limit) => ({
    type: "line", xref: "paper", x0: 0, x1: 1, yref: "y", y0: limit.value, y1: limit.value, layer: "below",
    line: {
      color: SEVERITY[limit.severity].line, width: limit.edge === "raise" ? 1.6 : 1,
      dash: limit.edge === "raise" ? SEVERITY[limit.severity].dash : "1px,5px",
    },
  }));
  return [...activities(data), ...spans, ...tops, ...limits];
}

// What the mine was doing: a light band over the whole height with a darker foot; a planned moment is a line.
function activities(data) {
  return data.bands.flatMap((band) => {
    const base = { xref: "x", yref: "paper", x0: band.from, x1: band.to, y0: 0, layer: "below" };
    const colour = ACTIVITY[band.kind];
    if (band.from === band.to) return [{ ...base, type: "line", y1: 1, line: { color: colour, width: 1.5, dash: "dot" } }];
    return [
      { ...base, type: "rect", y1: 1, fillcolor: colour, opacity: 0.09, line: { width: 0 } },
      { ...base, type: "rect", y1: 0.03, fillcolor: colour, opacity: 0.6, line: { width: 0 } },
    ];
  });
}

// The words beside the colours, each kind once, with how often and where.
function showBands(list, data) {
  const kinds = new Map();
  for (const band of data.bands) {
    const found = kinds.get(band.kind) ?? { label: band.label[language], times: 0, zones: new Set() };
    found.times += 1;
    band.zones.forEach((zone) => found.zones.add(zone));
    kinds.set(band.kind, found);
  }
  list.replaceChildren(...[...kinds].map(([kind, found]) => {
    const item = document.createElement("li");
    item.className = `k-${kind}`;
    const zones = found.zones.size ? ` (${[...found.zones].slice(0, 4).join(", ")})` : "";
    item.textContent = `${found.label} × ${found.times}${zones}`;
    return item;
  }));
  list.hidden = !kinds.size;
}

function labels(data, range) {
  const seen = data.limits.filter((limit) => limit.edge === "raise" && limit.value >= range[0] && limit.value <= range[1]);
  const notes = seen.map((limit) => ({
    xref: "paper", x: 1, xanchor: "right", yref: "y", y: limit.value, yanchor: limit.direction === "above" ? "bottom" : "top",
    text: escape(limit.label[language]), showarrow: false, font: { size: 11, color: SEVERITY[limit.severity].line },
    bgcolor: "rgba(255,255,255,.75)", borderpad: 1,
  }));
  if (!count(data)) {
    notes.push({ xref: "paper", yref: "paper", x: 0.5, y: 0.5, text: words("chart.empty"), showarrow: false, font: { size: 15, color: "#55626f" } });
  }
  return notes;
}

function count(data) {
  return data.series.reduce((sum, series) => sum + series.readings, 0);
}

function layout(data, narrow) {
  const range = axis(data);
  return {
    height: narrow && data.series.length > 2 ? 360 : narrow ? 260 : 300,
    margin: { l: 52, r: 12, t: data.series.length > 1 ? 30 : 12, b: 42 },
    font: { family: FONT, size: 12, color: "#16212c" },
    paper_bgcolor: "#fff", plot_bgcolor: "#fff",
    xaxis: { type: "date", range: [data.from, data.to], gridcolor: "#edf0f3", tickformat: "%H:%M\n%m-%d", ticklabelstandoff: 5, nticks: narrow ? 5 : 9, hoverformat: "%Y-%m-%d %H:%M:%S", fixedrange: false },
    yaxis: { range, showticklabels: count(data) > 0 || data.limits.length > 0, gridcolor: "#edf0f3", zeroline: false, fixedrange: true },
    showlegend: data.series.length > 1,
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 } },
    hovermode: "x", dragmode: narrow ? false : "zoom",
    shapes: shapes(data), annotations: labels(data, range),
  };
}

const config = { displayModeBar: false, displaylogo: false, responsive: true, showTips: false };

class Chart {
  constructor(plot) {
    this.plot = plot;
    this.note = plot.closest(".chart").querySelector(".chart-note");
    this.bands = plot.closest(".chart").querySelector(".bands");
    this.dirty = true;
    this.busy = false;
    this.visible = false;
    this.drawnAt = 0;
  }

  async draw() {
    if (this.busy) return;
    this.busy = true;
    this.dirty = false;
    try {
      const width = Math.max(50, Math.round(this.plot.clientWidth));
      if (!this.drawnAt) this.note.textContent = words("chart.loading");
      const answer = await fetch(`${this.plot.dataset.chart}&width=${width}`);
      if (!answer.ok) throw new Error(await explain(answer));
      const data = await answer.json();
      await Plotly.react(this.plot, traces(data), layout(data, width < 520), config);
      showBands(this.bands, data);
      const readings = count(data);
      const key = !readings ? "chart.empty" : data.series.some((series) => series.thinned) ? "chart.thinned" : "chart.readings";
      this.note.textContent = words(key).replace("{n}", readings.toLocaleString(language));
      this.drawnAt = Date.now();
      this.plot.dataset.drawn = "yes";
    } catch (error) {
      this.note.textContent = error.message || words("chart.failed");
      this.dirty = true;
      this.drawnAt = Date.now() + RETRY_MS - REDRAW_MS;
    } finally {
      this.busy = false;
    }
  }

  tick() {
    if (this.visible && this.dirty && Date.now() - this.drawnAt > REDRAW_MS) this.draw();
  }
}

async function explain(answer) {
  try {
    const problem = await answer.json();
    return [language === "zh" ? problem.title_zh : problem.title, problem.detail].filter(Boolean).join(": ");
  } catch {
    return words("chart.failed");
  }
}

const charts = new Map([...document.querySelectorAll(".plot")].map((plot) => [plot, new Chart(plot)]));

const seen = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    const chart = charts.get(entry.target);
    chart.visible = entry.isIntersecting;
    if (chart.visible && chart.dirty && !chart.drawnAt) chart.draw();
  }
}, { rootMargin: "200px" });
charts.forEach((_, plot) => seen.observe(plot));

document.addEventListener("greenmine:value", ({ detail }) => {
  for (const [plot, chart] of charts) {
    const device = new URLSearchParams(plot.dataset.chart.split("?")[1]).get("device");
    const ours = plot.dataset.mine === detail.mine && plot.dataset.metric === detail.metric;
    if (ours && (!device || device === detail.device) && plot.dataset.chart.includes("range=")) chart.dirty = true;
  }
});
document.addEventListener("greenmine:refreshed", () => charts.forEach((chart) => { chart.dirty = true; }));
setInterval(() => charts.forEach((chart) => chart.tick()), 1000);
