"use strict";
(() => {
  const { media, isDark, css, colour, baseLayout, logAxis, plain, escapeText } = look;
  const NARROW = 420; // pixels: below, the legend goes on top
  const panels = JSON.parse(document.getElementById("data").textContent);

  function trace(panel, line) {
    const c = colour(line), name = panel.legend_title && !line.markers ? `${panel.legend_title} ${line.name}` : line.name;
    return {
      type: "scatter", mode: line.markers ? "lines+markers" : "lines", x: line.x, y: line.y, name: escapeText(line.name), showlegend: line.legend,
      text: line.x.map((x, i) => `<b>${escapeText(name)}</b>, time ${plain(x)}<br>${plain(line.y[i], 4)}`), hoverinfo: "text",
      line: { color: c, dash: line.dash, simplify: false, width: line.wide ? 3.2 : line.markers ? 1.2 : 1.9 },
      marker: { size: 6, color: css("--paper"), line: { color: css("--ink"), width: 1.4 } },
    };
  }

  function draw(element) {
    const panel = panels[element.id], layout = baseLayout();
    const [first] = panel.lines;
    Object.assign(layout.xaxis, { type: "log", range: [Math.log10(first.x[0]), Math.log10(first.x.at(-1))], dtick: 1 });
    layout.xaxis.title.text = "pre-training time";
    layout.yaxis.title.text = escapeText(panel.y_name);
    layout.yaxis.rangemode = "tozero";
    layout.xaxis.automargin = layout.yaxis.automargin = false; // labels are short, and with the legend's margin plotly would not settle
    if (panel.y_log) Object.assign(layout.yaxis, logAxis(panel.lines.flatMap((line) => line.y)));
    if (element.clientWidth > NARROW) Object.assign(layout.legend, { orientation: "v", x: 1.01, y: 1, yanchor: "top" });
    layout.legend.title.text = escapeText(panel.legend_title);
    Plotly.react(element, panel.lines.map((line) => trace(panel, line)), layout,
      { displaylogo: false, responsive: true, displayModeBar: false, doubleClick: false, showTips: false });
  }

  const themeButton = document.getElementById("theme");
  function refresh() {
    themeButton.textContent = isDark() ? "light" : "dark";
    for (const element of document.querySelectorAll(".plot")) draw(element);
  }
  themeButton.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; refresh(); });
  media.addEventListener("change", refresh);
  refresh();
})();
