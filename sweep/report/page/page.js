"use strict";
(async () => {
  const inflate = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).text();
  };
  const plots = [...document.querySelectorAll(".plot")];
  if (!plots.length) return;
  const library = document.createElement("script");
  library.textContent = await inflate(document.getElementById("plotly").textContent);
  document.head.append(library);
  const touch = matchMedia("(pointer: coarse)").matches;
  const options = { displayModeBar: false, responsive: true, showTips: false };
  for (const plot of plots) {
    const figure = JSON.parse(plot.nextElementSibling.textContent);
    if (touch) figure.layout.dragmode = false; // a finger that scrolls the page must not zoom the chart
    await Plotly.newPlot(plot, figure.data, figure.layout, options);
  }
  // Paper is narrower than a screen. 680 pixels are the width of A4 between its margins.
  addEventListener("beforeprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: 680 })));
  addEventListener("afterprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));
  document.body.dataset.charts = "drawn";
})();
