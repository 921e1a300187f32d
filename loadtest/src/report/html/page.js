// Only adds to a page that is complete without it: a switch for the theme, and read-outs for whoever points at a plot.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  // A page from a file may have no storage; the choice then lasts as long as the page.
  const stored = (value) => { try { return value ? localStorage.setItem("theme", value) : localStorage.getItem("theme"); } catch { return null; } };
  const asked = new URLSearchParams(location.search).get("theme") || stored();
  if (asked === "dark" || asked === "light") root.dataset.theme = asked;
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; stored(root.dataset.theme); });

  const digits = (value) => Number(value.toPrecision(3)).toLocaleString("en", { maximumFractionDigits: 6 });
  const units = {
    count: digits,
    micros: (v) => v >= 1e6 ? digits(v / 1e6) + " s" : v >= 1e3 ? digits(v / 1e3) + " ms" : digits(v) + " µs",
    seconds: (v) => digits(v) + " s",
    cores: (v) => digits(v) + " cores",
    share: (v) => digits(100 * v) + " %",
    // As many digits as it takes to tell it from 100 %.
    quantile: (v) => (100 * (1 - 1 / v)).toFixed(Math.max(0, Math.ceil(Math.log10(v)) - 1)) + " %",
  };
  const axis = (text, from, to) => {
    const [spread, low, high, unit] = text.split(" ");
    const [a, b] = [Number(low), Number(high)];
    return (place) => {
      const share = (place - from) / (to - from);
      return units[unit](spread === "log" ? a * (b / a) ** share : a + (b - a) * share);
    };
  };
  // What can be pointed at: a line is its corners, a dot is itself.
  const marks = (svg) => [...svg.querySelectorAll("[data-name]")].map((mark) => ({
    name: mark.dataset.name,
    colour: getComputedStyle(mark).getPropertyValue("--c"),
    points: mark.tagName === "circle"
      ? [[Number(mark.getAttribute("cx")), Number(mark.getAttribute("cy"))]]
      : [...mark.getAttribute("d").matchAll(/[ML]([\d.]+) ([\d.]+)/g)].map((m) => [Number(m[1]), Number(m[2])]),
  })).filter((mark) => mark.points.length);

  const tip = document.createElement("div");
  tip.id = "tip"; tip.hidden = true;
  document.body.append(tip);
  const line = (text, colour) => {
    const row = document.createElement(colour ? "div" : "b");
    if (colour) { const dot = document.createElement("span"); dot.textContent = "● "; dot.style.color = colour; row.append(dot); }
    row.append(text);
    return row;
  };
  const show = (svg, event) => {
    const place = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM().inverse());
    const [left, top, right, bottom] = svg.dataset.frame.split(" ").map(Number);
    if (place.x < left - 8 || place.x > right + 8 || place.y < top - 8 || place.y > bottom + 8) return hide(svg);
    const x = axis(svg.dataset.x, left, right), y = axis(svg.dataset.y, bottom, top);
    const all = marks(svg);
    if (!all.length) return;
    const distance = (point) => Math.abs(point[0] - place.x) + Math.abs(point[1] - place.y) / 20;
    const nearest = (points) => points.reduce((best, point) => distance(point) < distance(best) ? point : best);
    const at = nearest(all.map((mark) => nearest(mark.points)))[0];
    const rows = new Map();
    for (const mark of all) {
      const point = nearest(mark.points);
      if (Math.abs(point[0] - at) < 6 && !rows.has(mark.name)) rows.set(mark.name, { ...mark, point });
    }
    tip.replaceChildren(line(x(at)), ...[...rows.values()].sort((a, b) => a.point[1] - b.point[1])
      .map((mark) => line(mark.name + "  " + y(mark.point[1]), mark.colour)));
    tip.hidden = false;
    let cursor = svg.querySelector(".cursor");
    if (!cursor) { cursor = document.createElementNS(svg.namespaceURI, "line"); cursor.setAttribute("class", "cursor"); svg.append(cursor); }
    for (const [name, value] of Object.entries({ x1: at, x2: at, y1: top, y2: bottom })) cursor.setAttribute(name, value);
    const room = root.clientWidth - tip.offsetWidth - 8;
    tip.style.left = Math.max(4, Math.min(event.clientX + 14, room)) + scrollX + "px";
    tip.style.top = event.clientY + 18 + scrollY + "px";
  };
  const hide = (svg) => { tip.hidden = true; svg.querySelector(".cursor")?.remove(); };
  for (const svg of document.querySelectorAll("svg[data-frame]")) {
    svg.addEventListener("pointermove", (event) => show(svg, event));
    svg.addEventListener("pointerleave", () => hide(svg));
  }
})();
