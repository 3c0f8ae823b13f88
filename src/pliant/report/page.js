"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement;
  const drawn = new Set();
  const hasUnits = Object.values(data.figures).some((figure) => figure.factor && figure.factor !== 1);
  const state = { unit: hasUnits ? "bits" : "nats" };

  const { media, isDark, css, viridis, colour, fade, baseLayout, logAxis, plain, escapeText } = look;

  // Units ------------------------------------------------------------------------------------------------------
  const factor = (figure, trace) => (figure.factor && state.unit === "bits" ? trace.factor ?? figure.factor : 1);
  const unitName = (figure) => (figure.factor ? (state.unit === "bits" ? figure.unit : "nats/token") : "");
  const show = (value, digits = 4) => {
    if (value === null || value === undefined) return "–";
    const size = Math.abs(value);
    const text = size !== 0 && (size < 0.001 || size >= 1e5) ? value.toExponential(2) : value.toFixed(size >= 100 ? 1 : digits);
    return text.replaceAll("-", "−");
  };
  const axisTitle = (figure) => (unitName(figure) ? `${figure.y_name}, ${unitName(figure)}` : figure.y_name);

  // Figures ----------------------------------------------------------------------------------------------------
  const tick = (figure, x) => (figure.ticks.find(([at]) => at === x) || [x, String(x)])[1];
  // As many as have room, from the last: a ninth of the axis or more apart.
  function shownTicks(figure) {
    const place = ([x]) => (figure.x_log ? Math.log(x) : x), all = figure.ticks, shown = [];
    const apart = all.length > 1 ? (place(all.at(-1)) - place(all[0])) / 9 : 0;
    for (const tick of [...all].reverse()) if (!shown.length || place(shown[0]) - place(tick) >= apart) shown.unshift(tick);
    return shown;
  }

  function curves(figure) {
    const traces = [];
    // Means come last: they lie on top and take the click where a run's point lies under theirs.
    const order = [...figure.traces.entries()].sort(([, a], [, b]) => (a.role === "mean") - (b.role === "mean"));
    for (const [index, trace] of order) {
      const k = factor(figure, trace), c = colour(trace), mean = trace.role === "mean", xs = trace.points.map((p) => p.x);
      const ys = trace.points.map((p) => p.y * k), interval = mean && trace.points.some((p) => p.low !== null);
      const text = trace.points.map((p) => `<b>${escapeText(trace.name)}</b>, ${escapeText(p.where || tick(figure, p.x))}<br>${show(p.y * k)}` +
        (p.low === null ? "" : ` [${show(p.low * k)}, ${show(p.high * k)}]`));
      if (interval && trace.band) {
        const known = trace.points.filter((p) => p.low !== null);
        traces.push({ type: "scatter", mode: "lines", x: [...known.map((p) => p.x), ...known.map((p) => p.x).reverse()],
          y: [...known.map((p) => p.high * k), ...known.map((p) => p.low * k).reverse()], fill: "toself", line: { width: 0 },
          fillcolor: fade(c, 0.15), hoverinfo: "skip", showlegend: false, legendgroup: trace.group, meta: -1 });
      }
      const errors = interval && !trace.band ? { type: "data", symmetric: false, visible: true, thickness: 1.1, width: 2.5, color: fade(c, 0.65),
        array: trace.points.map((p) => (p.high === null ? 0 : (p.high - p.y) * k)),
        arrayminus: trace.points.map((p) => (p.low === null ? 0 : (p.y - p.low) * k)) } : undefined;
      traces.push({ type: "scatter", mode: "lines+markers", x: xs, y: ys, name: escapeText(trace.legend || trace.name),
        legendgroup: trace.group, showlegend: trace.legend !== null, opacity: mean ? 1 : 0.42, text, hoverinfo: "text", error_y: errors, meta: index,
        line: { color: c, width: mean ? (trace.dash === "dot" ? 1.6 : 2.2) : 1, dash: trace.hue === -1 ? "dash" : trace.dash },
        marker: { color: trace.dash === "dash" || trace.dash === "dot" ? css("--paper") : c, size: mean ? 6 : 4, line: { color: c, width: mean ? 1.5 : 1 } } });
    }
    const layout = baseLayout(), ticks = shownTicks(figure);
    Object.assign(layout.xaxis, { type: figure.x_log ? "log" : "linear", tickvals: ticks.map((t) => t[0]), ticktext: ticks.map((t) => escapeText(t[1])) });
    if (!ticks.length) Object.assign(layout.xaxis, logAxis(figure.traces.flatMap((t) => t.points.map((p) => p.x))));
    layout.xaxis.title.text = escapeText(figure.x_name) || (figure.x_log ? "pre-training tokens" : "checkpoint");
    layout.yaxis.type = figure.y_log ? "log" : "linear";
    if (figure.y_log) Object.assign(layout.yaxis, logAxis(figure.traces.flatMap((t) => t.points.map((p) => p.y * factor(figure, t)))));
    else layout.yaxis.range = linearRange(figure);
    layout.yaxis.title.text = escapeText(axisTitle(figure));
    if (figure.legend_title) {
      Object.assign(layout.legend, { orientation: "v", x: 1.01, y: 1, yanchor: "top", traceorder: "reversed" });
      layout.legend.title.text = escapeText(figure.legend_title);
      layout.legend.font.size = 11;
    }
    layout.showlegend = traces.filter((t) => t.showlegend).length > 1;
    return { traces, layout };
  }

  // The range of the values, widened for intervals by half of itself at most: two runs have intervals so wide that
  // they would press every curve flat. Bars run out of the frame then; the panel has their ends.
  function linearRange(figure) {
    const scaled = (t, p) => Object.fromEntries(["y", "low", "high"].map((name) => [name, p[name] === null ? null : p[name] * factor(figure, t)]));
    const points = figure.traces.flatMap((t) => t.points.map((p) => scaled(t, p))), ys = points.map((p) => p.y);
    const low = Math.min(...ys), high = Math.max(...ys), room = 0.5 * (high - low), pad = 0.06 * (high - low) || 0.05 * Math.abs(high) || 1;
    const ends = points.filter((p) => p.low !== null).flatMap((p) => [p.low, p.high]);
    return [Math.max(low - room, Math.min(low, ...ends)) - pad, Math.min(high + room, Math.max(high, ...ends)) + pad];
  }

  function heat(figure) {
    const k = factor(figure, figure.traces[0]), points = figure.traces[0].points, budgets = figure.ticks.map((t) => t[0]);
    const rates = [...new Set(figure.rows)].sort((a, b) => a - b);
    const z = rates.map(() => budgets.map(() => null)), text = z.map((row) => [...row]), which = z.map((row) => [...row]);
    points.forEach((point, i) => {
      const row = rates.indexOf(figure.rows[i]), column = budgets.indexOf(point.x);
      z[row][column] = point.y * k;
      which[row][column] = i;
      text[row][column] = `rate ${plain(rates[row])}, ${escapeText(tick(figure, point.x))}<br><b>${show(point.y * k)}</b>` +
        (point.low === null ? "" : ` [${show(point.low * k)}, ${show(point.high * k)}]`);
    });
    const sorted = z.flat().filter((v) => v !== null).sort((a, b) => a - b);
    const place = (rate) => {
      const i = Math.min(Math.max(rates.findIndex((r) => r >= rate * 0.999), 1), rates.length - 1);
      return rates.length < 2 ? 0 : i - 1 + Math.log(rate / rates[i - 1]) / Math.log(rates[i] / rates[i - 1]);
    };
    const names = figure.ticks.map((t) => escapeText(t[1]));
    const scale = Array.from({ length: 11 }, (_, i) => [i / 10, viridis(0.05 + 0.093 * i)]);
    const traces = [
      { type: "heatmap", z, text, customdata: which, x: names.map((_, i) => i), y: rates.map((_, i) => i), hoverinfo: "text", xgap: 1, ygap: 1, zmin: sorted[0],
        zmax: sorted[Math.floor(0.85 * (sorted.length - 1))], colorscale: scale, texttemplate: "%{z:.3f}", textfont: { size: 10 }, meta: 0,
        colorbar: { thickness: 9, outlinewidth: 0, len: 0.9, tickfont: { size: 11 }, x: 1.01 } },
    ];
    const layout = baseLayout();
    layout.shapes = figure.best.map(([budget, rate]) => ({ type: "rect", x0: budgets.indexOf(budget) - 0.48, x1: budgets.indexOf(budget) + 0.48,
      y0: place(rate) - 0.47, y1: place(rate) + 0.47, line: { color: css("--ink"), width: 2.2 } }));
    layout.showlegend = false;
    Object.assign(layout.xaxis, { tickvals: names.map((_, i) => i), ticktext: names, ticks: "" });
    Object.assign(layout.yaxis, { tickvals: rates.map((_, i) => i), ticktext: rates.map((r) => plain(r, 2)), showgrid: false, ticks: "" });
    layout.xaxis.title.text = figure.x_log ? "pre-training tokens" : "checkpoint";
    layout.yaxis.title.text = "learning rate";
    return { traces, layout };
  }

  function draw(element) {
    const figure = data.figures[element.dataset.figure];
    const { traces, layout } = figure.kind === "heat" ? heat(figure) : curves(figure);
    const config = { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: false, showTips: false };
    const entries = figure.legend_title ? figure.traces.filter((trace) => trace.legend !== null).length : 0;
    if (entries > 12) element.style.height = `${100 + 19.5 * entries}px`;
    const first = !drawn.has(element);
    drawn.add(element);
    Plotly.react(element, traces, layout, config);
    if (first) element.on("plotly_click", (event) => clicked(figure, event.points[0]));
  }

  function clicked(figure, hit) {
    const index = hit.data.meta;
    if (index < 0) return;
    const trace = figure.traces[index];
    const point = figure.kind === "heat" ? hit.customdata : hit.pointNumber;
    if (point === null || point === undefined) return;
    openPanel(figure, trace, trace.points[point], figure.kind === "heat" ? `rate ${plain(figure.rows[point])}` : figure.legend_title && trace.hue !== -1 ? `${figure.legend_title} ${trace.name}` : trace.name);
  }

  // Panel ------------------------------------------------------------------------------------------------------
  const panel = document.getElementById("panel");
  const ROLES = {
    mean: { m: "Values", v: "Validation loss that chose the rate" }, difference: { m: "After the modification", b: "Before" },
    rate: { v: "Validation task loss at every rate" }, optimum: { v: "Validation task loss at every rate" },
    reused: { m: "Values", v: "Validation losses that chose the rate, at the middle budget" }, against: { m: "Loss", d: "Distance moved" },
    parabola: { m: "Shown loss at the three rates", v: "Validation task loss at the three rates" },
  };

  function make(tag, text, className) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (className) element.className = className;
    return element;
  }

  function openPanel(figure, trace, point, name) {
    const k = factor(figure, trace), unit = unitName(figure);
    panel.replaceChildren();
    panel.dataset.kind = point.kind;
    panel.dataset.value = point.y;
    panel.dataset.figure = figure.id;
    const close = make("button", "×", "close");
    close.setAttribute("aria-label", "Close");
    close.addEventListener("click", closePanel);
    const value = make("p", show(point.y * k), "value");
    value.append(" ", make("small", unit || figure.y_name));
    panel.append(close, make("h2", figure.title), make("p", `${name} at ${point.where || tick(figure, point.x)}`), value);
    if (point.low !== null) panel.append(make("p", `95 % interval ${show(point.low * k)} to ${show(point.high * k)}`));
    panel.append(make("p", point.method, "small"));
    if (unit && unit !== "nats/token") panel.append(make("p", `${show(point.y, 6)} nats/token, times ${show(k, 4)}`, "small"));
    const isLoss = figure.factor && !/sensitivity/i.test(figure.y_name);
    if (isLoss) panel.append(make("p", `perplexity ${show(Math.exp(point.y), 2)} a token`, "small"));
    panel.append(make("h3", "How it is computed"), make("p", data.formulas[point.kind]));
    for (const [role, title] of Object.entries(ROLES[point.kind])) {
      if (point.sources[role]?.length) panel.append(make("h3", title), ...records(role, point.sources[role]));
    }
    if (data.truncated && Object.values(point.sources).some((numbers) => !numbers.length)) {
      panel.append(make("p", "Too many records for this page: results.parquet of the study has them.", "small"));
    }
    const units = figure.factor ? "Values are nats per token. " : "";
    panel.append(make("p", `${units}Paths are relative to the folder of the study ${figure.study}.`, "small"));
    panel.hidden = false;
    panel.scrollTop = 0;
  }

  function records(role, numbers) {
    const r = data.readings, groups = new Map();
    for (const i of numbers) groups.set(r.record[i], [...(groups.get(r.record[i]) || []), i]);
    return [...groups].map(([record, members]) => {
      const box = make("div", undefined, "record"), first = members[0];
      const what = [`run ${r.run[first]}`, r.strength[first] ? `strength ${plain(r.strength[first])}` : "", r.split[first] || "", r.metric[first], r.tensor[first] || ""];
      box.append(make("code", r.records[record]), make("p", what.filter(Boolean).join(" · "), "small"));
      const list = make("div", undefined, "readings");
      for (const i of members) list.append(reading(role, i));
      box.append(list);
      return box;
    });
  }

  function reading(role, i) {
    const r = data.readings, item = make("span", show(r.value[i], 5), "reading");
    if (r.draw[i] !== null) {
      const sign = r.sign[i] === null ? "" : r.sign[i] > 0 ? "+" : "−";
      item.prepend(make("i", `draw ${r.draw[i]}${sign} `));
    }
    const facts = { role, run: r.run[i], record: r.records[r.record[i]], metric: r.metric[i], split: r.split[i], draw: r.draw[i], sign: r.sign[i],
      tensor: r.tensor[i], strength: r.strength[i], value: r.value[i] };
    for (const [key, fact] of Object.entries(facts)) item.dataset[key] = fact === null ? "" : fact;
    return item;
  }

  function closePanel() { panel.hidden = true; }
  addEventListener("keydown", (event) => { if (event.key === "Escape") closePanel(); });

  // Controls ---------------------------------------------------------------------------------------------------
  const unitButton = document.getElementById("unit"), themeButton = document.getElementById("theme");
  function refresh() {
    themeButton.textContent = isDark() ? "light" : "dark";
    unitButton.textContent = state.unit === "bits" ? "show nats/token" : "show bits/byte";
    for (const span of document.querySelectorAll(".loss")) {
      const value = Number(span.dataset.nats) * (state.unit === "bits" ? Number(span.dataset.factor) : 1);
      span.textContent = (value < 0 ? "−" : "plain" in span.dataset ? "" : "+") + Math.abs(value).toFixed(3);
    }
    for (const span of document.querySelectorAll(".unit-name")) span.textContent = state.unit === "bits" ? span.dataset.unit : "nats/token";
    for (const element of drawn) draw(element);
  }
  unitButton.hidden = !hasUnits;
  unitButton.addEventListener("click", () => { state.unit = state.unit === "bits" ? "nats" : "bits"; refresh(); closePanel(); });
  themeButton.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; refresh(); });
  media.addEventListener("change", refresh);

  // Figures are drawn as they come near the window: a page of fifty opens at once.
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watcher.unobserve(entry.target); draw(entry.target); }
  }, { rootMargin: "600px" });
  for (const element of document.querySelectorAll(".plot")) watcher.observe(element);
  addEventListener("beforeprint", () => { for (const element of document.querySelectorAll(".plot")) if (!drawn.has(element)) draw(element); });
  refresh();
})();
