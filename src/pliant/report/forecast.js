"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const root = document.documentElement, media = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  // Viridis cut as in the report: weak strengths recede into the page and strong ones stand out.
  const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137],
    [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
  const colour = (tone, alpha = 1) => {
    const at = (isDark() ? 0.32 + 0.66 * tone : 0.74 - 0.74 * tone) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
    return `rgba(${VIRIDIS[i].map((c, k) => Math.round(c + (at - i) * (VIRIDIS[i + 1][k] - c))).join(",")},${alpha})`;
  };
  const column = (rows, k) => rows.map((row) => row[k]);
  const tokens = (x) => [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e3, "K"], [1, ""]].filter(([s]) => x >= s).slice(0, 1)
    .map(([s, name]) => Number((x / s).toPrecision(3)) + name)[0];
  const escapeText = (text) => String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const breaking = (text) => escapeText(text).replace(/(.{1,58})(\s|$)/g, "$1<br>");

  function law(rows, c, faint, dash, group) {
    if (rows.length < 2) return [];
    return [
      { type: "scatter", mode: "lines", x: [...column(rows, 0), ...column(rows, 0).reverse()], y: [...column(rows, 3), ...column(rows, 2).reverse()],
        fill: "toself", fillcolor: faint, line: { width: 0 }, hoverinfo: "skip", showlegend: false, legendgroup: group },
      { type: "scatter", mode: "lines", x: column(rows, 0), y: column(rows, 1), line: { color: c, width: 1.8, dash }, hoverinfo: "skip",
        showlegend: false, legendgroup: group },
    ];
  }

  // Fitted points filled, the others hollow: two traces, so that the legend shows a filled one.
  function measured(points, used, c, name) {
    return [true, false].map((fitted) => {
      const some = points.filter((_, i) => used[i] === fitted), none = used.every((u) => !u);
      return { type: "scatter", mode: "markers", x: column(some, 0), y: column(some, 1), name: escapeText(name), legendgroup: name, showlegend: fitted !== none,
        text: some.map(([x, y]) => `<b>${escapeText(name)}</b>, ${tokens(x)}<br>${y.toFixed(4)}${fitted ? "" : " (not fitted)"}`), hoverinfo: "text",
        meta: fitted ? "fitted" : "not fitted", marker: { size: 7, color: fitted ? c : css("--paper"), line: { color: c, width: 1.5 } } };
    });
  }

  function star(s, c) {
    const span = s.span ? { type: "data", symmetric: false, array: [s.span[1] - s.star[0]], arrayminus: [s.star[0] - s.span[0]],
      color: c, thickness: 2, width: 5 } : undefined;
    return { type: "scatter", mode: "markers", x: [s.star[0]], y: [s.star[1]], error_x: span, text: [breaking(s.text)], hoverinfo: "text",
      legendgroup: s.name, showlegend: false, meta: "star",
      marker: { symbol: "diamond", size: 12, color: s.ahead_star ? css("--paper") : c, line: { color: s.ahead_star ? c : css("--paper"), width: s.ahead_star ? 2.2 : 1.2 } } };
  }

  function draw(figure, place) {
    const grey = css("--faint"), paper = (alpha) => (isDark() ? `rgba(163,167,173,${alpha})` : `rgba(92,96,102,${alpha})`);
    const base = figure.base, traces = [
      ...law(base.line, grey, paper(0.12), "solid", "no noise"), ...law(base.ahead, grey, paper(0.07), "dash", "no noise"),
      ...measured(base.points, base.points.map(([x]) => x >= figure.window[0] && x <= figure.window[1]), grey, "no noise")];
    for (const s of figure.series) {
      const c = colour(s.tone);
      traces.push(...law(s.line, c, colour(s.tone, 0.13), "solid", s.name), ...law(s.ahead, c, colour(s.tone, 0.07), "dash", s.name));
      if (s.points.length) traces.push(...measured(s.points, s.used, c, s.name));
      else traces.push({ type: "scatter", mode: "lines", x: [null], y: [null], name: escapeText(s.name), legendgroup: s.name, line: { color: c } });
    }
    for (const s of figure.series) if (s.star) traces.push(star(s, colour(s.tone)));
    const axis = () => ({ gridcolor: css("--grid"), linecolor: css("--rule"), zeroline: false, ticks: "outside", tickcolor: css("--rule"),
      automargin: true, title: { font: { size: 12 }, standoff: 8 }, tickfont: { size: 11.5 } });
    const every = Math.ceil(figure.ticks.length / (innerWidth < 600 ? 4 : 9)), last = figure.ticks.length - 1;
    const ticks = figure.ticks.filter((_, i) => (last - i) % every === 0);
    const layout = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: css("--sans"), color: css("--soft"), size: 12 },
      margin: { l: 56, r: 12, t: 8, b: 44 }, hovermode: "closest", dragmode: false,
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--rule"), align: "left", font: { color: css("--ink"), family: css("--sans"), size: 12.5 } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 12 }, bgcolor: "rgba(0,0,0,0)" },
      xaxis: { ...axis(), type: "log", range: figure.x, showgrid: false, tickvals: ticks.map((t) => t[0]), ticktext: ticks.map((t) => t[1]) },
      yaxis: { ...axis(), range: figure.y },
      shapes: [{ type: "rect", xref: "x", yref: "paper", x0: figure.window[1], x1: 10 ** figure.x[1], y0: 0, y1: 1, layer: "below",
        line: { width: 0 }, fillcolor: paper(0.06) }] };
    layout.xaxis.title.text = "pre-training tokens";
    layout.yaxis.title.text = escapeText(`loss, ${figure.unit}`);
    Plotly.react(`figure-${place}`, traces, layout, { displayModeBar: false, responsive: true });
  }

  const button = document.getElementById("theme");
  function refresh() {
    button.textContent = isDark() ? "light" : "dark";
    data.figures.forEach(draw);
  }
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; refresh(); });
  media.addEventListener("change", refresh);
  refresh();
})();
