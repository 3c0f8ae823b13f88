"use strict";
// What the figures of every page share: colours for light and dark, axes, escaping.
const look = (() => {
  const root = document.documentElement;
  const media = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : media.matches);
  const css = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const HUES = {
    light: ["#0b5cad", "#c05000", "#1b7f5c", "#9a4f96", "#7a6a00", "#6b7078"],
    dark: ["#6db1f2", "#f2a65a", "#5fc9a0", "#d99ad3", "#d4c45a", "#a9aeb6"],
  };
  // Perceptually ordered (viridis), cut so that weak strengths recede into the page and strong ones stand out.
  const VIRIDIS = [[68, 1, 84], [72, 40, 120], [62, 74, 137], [49, 104, 142], [38, 130, 142], [31, 158, 137],
    [53, 183, 121], [110, 206, 88], [181, 222, 43], [253, 231, 37]];
  const viridis = (t) => {
    const at = Math.min(Math.max(t, 0), 1) * (VIRIDIS.length - 1), i = Math.min(Math.floor(at), VIRIDIS.length - 2);
    const mix = VIRIDIS[i].map((c, k) => Math.round(c + (at - i) * (VIRIDIS[i + 1][k] - c)));
    return `rgb(${mix.join(",")})`;
  };
  const colour = (trace) => {
    if (trace.tone !== null) return viridis(isDark() ? 0.32 + 0.66 * trace.tone : 0.74 - 0.74 * trace.tone);
    if (trace.hue === -1) return css("--faint");
    const hues = HUES[isDark() ? "dark" : "light"];
    return hues[trace.hue % hues.length];
  };
  const fade = (rgb, alpha) => {
    const n = rgb.startsWith("#") ? [1, 3, 5].map((i) => parseInt(rgb.slice(i, i + 2), 16)) : rgb.match(/\d+/g);
    return `rgba(${n.join(",")},${alpha})`;
  };

  function baseLayout() {
    const axis = () => ({ gridcolor: css("--grid"), linecolor: css("--rule"), zeroline: false, ticks: "outside", tickcolor: css("--rule"),
      automargin: true, title: { font: { size: 12 }, standoff: 8 }, tickfont: { size: 11.5 } });
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: css("--sans"), color: css("--soft"), size: 12 },
      margin: { l: 56, r: 12, t: 8, b: 44 }, hovermode: "closest", dragmode: false, showlegend: true,
      hoverlabel: { bgcolor: css("--raised"), bordercolor: css("--rule"), font: { color: css("--ink"), family: css("--sans"), size: 12.5 } },
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", font: { size: 11.5 }, itemsizing: "trace", itemwidth: 30, tracegroupgap: 0,
        bgcolor: "rgba(0,0,0,0)", title: { font: { size: 11.5 } } },
      xaxis: { ...axis(), showgrid: false }, yaxis: axis(),
    };
  }

  function escapeText(text) {
    return String(text).replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  }

  const plain = (value, digits = 3) => String(Number(value.toPrecision(digits))).replaceAll("-", "−");

  // A logarithmic axis around the positive values of `ys`, with round numbers.
  function logAxis(ys) {
    const logs = ys.filter((y) => y > 0).map(Math.log10), low = Math.min(...logs), high = Math.max(...logs), pad = 0.06 * (high - low) + 0.05;
    const range = [low - pad, high + pad], steps = range[1] - range[0] > 2.2 ? [1, 3] : range[1] - range[0] > 0.8 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 7];
    const values = [];
    for (let decade = Math.floor(range[0]); decade <= range[1]; decade++) for (const step of steps) values.push(step * 10 ** decade);
    return { type: "log", range, tickvals: values, ticktext: values.map((v) => plain(v)) };
  }

  return { media, isDark, css, viridis, colour, fade, baseLayout, logAxis, plain, escapeText };
})();
