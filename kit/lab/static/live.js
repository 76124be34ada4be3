// A live plot of what cgroups use. Frames come from the kernel in small increments; nothing is kept anywhere else.
// A frame is [t, group, group, ...]; a group is [cpu %, throttled %, memory bytes, cpu limit % | null, memory limit | null].

const MIB = 1 << 20;
const LOOKS = [  // Okabe and Ito's hues, each with a dash of its own (palette.py says the same)
  { colour: "#0072b2", dash: [] }, { colour: "#d55e00", dash: [10, 4] },
  { colour: "#009e73", dash: [2, 3] }, { colour: "#cc79a7", dash: [12, 4, 2, 4] },
];
const LIMIT = { colour: "#d55e00", dash: [7, 4] };
const PANELS = [
  { name: "CPU", height: 150, at: 0, limit: 3, scale: 1, unit: "% of one CPU", least: 20, step: 10 },
  { name: "throttled", height: 46, at: 1, limit: null, scale: 1, unit: "% of periods", least: 100, fill: "#d55e00" },
  { name: "memory", height: 114, at: 2, limit: 4, scale: MIB, unit: "MiB", least: 4, step: 1, times: true },
];
const MARGIN = { left: 44, right: 16, top: 8, bottom: 6 };

const made = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const swatch = (look) => {
  const holder = made("span");
  holder.innerHTML = `<svg viewBox="0 0 26 10" aria-hidden="true"><line x1="0" y1="5" x2="26" y2="5" stroke-width="2.5"
    stroke="${look.colour}" stroke-dasharray="${look.dash.join(" ") || "none"}"/></svg>`;
  return holder.firstChild;
};

/** A round number at or above `value`: 1, 2, 2.5 or 5 times a power of ten. */
const roundUp = (value) => {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= value * 0.9999);
};

export default () => {
  const frames = [];        // one for all views of this model, so that a second view shows the whole story
  const views = new Set();

  const receive = (message, model) => {
    if (!message.frames) return;
    if (message.from > frames.length) return model.send({ want: frames.length });  // we missed some: ask for them
    message.frames.forEach((frame, i) => { frames[message.from + i] = frame; });
    views.forEach((draw) => draw());
  };

  const render = ({ model, el }) => {
    const groups = model.get("groups");
    const clock = made("span", { class: "kit-clock" });
    const stop = made("button", { type: "button" }, "Stop");
    stop.setAttribute("aria-label", `Stop the live view of ${groups.join(", ")}`);
    stop.addEventListener("click", () => { stop.disabled = true; model.send({ stop: true }); });
    const plot = made("div", { role: "img", tabindex: "0" });
    const status = made("span", { role: "status", class: "kit-clock", style: "margin:0" });
    const root = made("div", { class: "kit-live" },
      made("header", {}, made("strong", {}, model.get("title")), status, clock, stop), plot);
    el.append(root);

    const panels = PANELS.map((spec) => {
      const caption = made("div", { class: "kit-caption" }, made("b", {}, spec.name));
      const values = groups.map((group, i) => {
        const value = made("span"), text = document.createTextNode("");
        value.append(swatch(LOOKS[i]), text);
        caption.append(value);
        return text;
      });
      const limit = made("span", { class: "kit-limit" });
      if (spec.limit !== null) caption.append(limit);
      const canvas = made("canvas", { "aria-hidden": "true", style: `height:${spec.height}px` });
      plot.append(caption, canvas);
      return { ...spec, values, limitText: limit, canvas };
    });

    const draw = () => {
      const last = frames.at(-1);
      const t = last ? last[0] : 0;
      const span = Math.min(model.get("seconds"), model.get("window"));
      const from = Math.max(0, t - span);
      clock.textContent = `${t.toFixed(0)} of ${model.get("seconds")} s`;
      const css = getComputedStyle(root);
      const ink = { text: css.color, font: css.fontFamily, grid: "rgba(138,138,138,.35)" };
      for (const panel of panels) drawPanel(panel, frames, groups, from, span, ink);
      if (!last) return;
      root.dataset.t = t;
      root.dataset.cpu = last.slice(1).map((g) => g[0].toFixed(1)).join(" ");
      root.dataset.cpuLimit = last.slice(1).map((g) => g[3] ?? "max").join(" ");
      root.dataset.memory = last.slice(1).map((g) => g[2]).join(" ");
      if (Math.floor(t) !== draw.said) {  // once a second is enough for a screen reader
        draw.said = Math.floor(t);
        plot.setAttribute("aria-label", describe(last, groups));
      }
    };

    const ended = () => {
      const why = model.get("ended");
      stop.disabled = Boolean(why);
      status.textContent = why ? `ended: ${why}` : "";
    };
    const resized = new ResizeObserver(() => draw());
    resized.observe(root);
    model.on("change:ended", ended);
    views.add(draw);
    ended();
    draw();
    model.send({ want: frames.length });
    return () => { views.delete(draw); resized.disconnect(); model.off("change:ended", ended); };
  };

  return { initialize: ({ model }) => { model.on("msg:custom", (message) => receive(message, model)); }, render };
};

const describe = (frame, groups) => groups.map((group, i) => {
  const [cpu, throttled, memory, cpuLimit, memoryLimit] = frame[i + 1];
  return `${group}: CPU ${cpu.toFixed(0)} % of one CPU, limit ${cpuLimit === null ? "none" : cpuLimit + " %"}, `
    + `throttled in ${throttled.toFixed(0)} % of periods, memory ${(memory / MIB).toFixed(1)} MiB, `
    + `limit ${memoryLimit === null ? "none" : (memoryLimit / MIB).toFixed(0) + " MiB"}`;
}).join("; ");

const drawPanel = (panel, frames, groups, from, span, ink) => {
  const { canvas, scale } = panel;
  const ratio = window.devicePixelRatio || 1;
  const width = canvas.clientWidth, height = panel.height;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const shown = frames.filter((frame) => frame[0] >= from);
  const last = frames.at(-1);
  let most = panel.least;
  for (const frame of shown) {
    for (const group of frame.slice(1)) {
      most = Math.max(most, group[panel.at] / scale, panel.limit === null ? 0 : (group[panel.limit] ?? 0) / scale);
    }
  }
  const top = panel.step ? most * 1.12 : most;
  const x = (t) => MARGIN.left + (t - from) / span * (width - MARGIN.left - MARGIN.right);
  const bottom = panel.times ? 24 : MARGIN.bottom;
  const y = (value) => height - bottom - value / top * (height - MARGIN.top - bottom);
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);

  g.font = `12px ${ink.font}`;
  g.textAlign = "right";
  g.textBaseline = "middle";
  g.fillStyle = ink.text;
  g.strokeStyle = ink.grid;
  g.lineWidth = 1;
  g.setLineDash([]);
  const tick = panel.step ? Math.max(panel.step, roundUp(top / 4)) : 50;
  for (let value = 0; value <= top; value += tick) {
    const at = Math.round(y(value)) + 0.5;
    g.beginPath(); g.moveTo(MARGIN.left, at); g.lineTo(width - MARGIN.right, at); g.stroke();
    g.fillText(value, MARGIN.left - 8, at);
  }

  if (panel.times) {
    const every = roundUp(span / 8);
    g.textAlign = "center";
    for (let t = Math.ceil(from / every) * every; t <= from + span; t += every) g.fillText(`${t} s`, x(t), height - 8);
  }

  const line = (pick, look, { thick = 2, close = 0, stepped = false }) => {
    g.beginPath();
    let pen = false, before = 0;
    for (const frame of shown) {
      const value = pick(frame);
      if (value === null) { pen = false; continue; }
      const at = [x(frame[0]), y(value / scale)];
      if (pen && stepped) g.lineTo(at[0], before);  // a limit jumps, it does not glide
      if (pen) g.lineTo(...at); else g.moveTo(...at);
      before = at[1];
      pen = true;
    }
    if (close) {
      if (!shown.length) return;
      g.lineTo(x(shown.at(-1)[0]), y(0)); g.lineTo(x(shown[0][0]), y(0)); g.closePath();
      g.fillStyle = look.colour; g.globalAlpha = close; g.fill(); g.globalAlpha = 1;
      return;
    }
    g.strokeStyle = look.colour; g.lineWidth = thick; g.setLineDash(look.dash); g.stroke(); g.setLineDash([]);
  };
  groups.forEach((_, i) => {
    const use = (frame) => frame[i + 1][panel.at];
    const fill = panel.fill && groups.length === 1 ? { colour: panel.fill } : LOOKS[i];
    if (panel.fill || groups.length === 1) line(use, fill, { close: panel.fill ? 0.4 : 0.12 });
    line(use, LOOKS[i], { thick: panel.fill ? 1.2 : 2 });
    if (panel.limit !== null) {
      const look = groups.length === 1 ? LIMIT : { ...LOOKS[i], dash: LIMIT.dash };
      line((frame) => frame[i + 1][panel.limit], look, { thick: 1.5, stepped: true });
    }
    const now = last ? (use(last) / scale).toFixed(panel.at === 2 ? 1 : 0) : "–";
    panel.values[i].data = `${groups.length > 1 ? groups[i] + " " : ""}${now} ${panel.unit}`;
  });
  if (panel.limit !== null && last) {
    const said = last.slice(1).map((group) => group[panel.limit])
      .map((value) => value === null ? "none" : `${+(value / scale).toFixed(1)} ${panel.unit.replace(" of one CPU", "")}`);
    panel.limitText.replaceChildren(...(groups.length === 1 ? [swatch(LIMIT)] : []), `limit ${said.join(", ")}`);
  }
};
