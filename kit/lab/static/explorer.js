// The image explorer: a list of layers, and the tree of files of the one that is selected. The kernel sends a
// directory's rows when it is opened; a row is [name, how, size, attributes, note, whether something is below].

const MARKS = { added: "+", changed: "~", removed: "−" };

const made = (tag, attributes = {}, ...children) => {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

const chip = (how, text) => made("span", { class: `kit-chip kit-${how}` }, text);

const render = ({ model, el }) => {
  const layers = model.get("layers"), whole = made("input", { type: "checkbox" });
  let selected = 0, rows = {}, opened = new Set(), current = null;  // of the tree: paths like "usr/lib"

  // The picture that stands in the widget's place in a stored notebook, hidden while the widget is here.
  const twin = made("style", {}, `.${model.get("twin")} { display: none; }`);
  const list = made("div", { role: "listbox", tabindex: "0", class: "kit-layers", "aria-label": "layers, the lowest first" });
  const tree = made("div", { role: "tree", class: "kit-files" });
  const status = made("span", { role: "status" });
  const legend = made("span", { class: "kit-legend" },
    ...Object.entries(MARKS).flatMap(([how, mark]) => [chip(how, mark), ` ${how}  `]));
  const bar = made("div", { class: "kit-bar" }, status, made("label", {}, whole, " with all that was there already"), legend);
  // JupyterLab's own shortcuts would take the arrow keys.
  const root = made("div", { class: "kit-explorer", "data-lm-suppress-shortcuts": "true" }, twin,
    made("header", {}, made("strong", {}, model.get("title")), " ", made("span", {}, model.get("headline"))),
    list, bar, tree, ...wasted(model.get("wasted")));
  el.append(root);

  const total = Math.max(1, layers.reduce((sum, layer) => sum + layer.bytes, 0));
  let done = 0;
  layers.forEach((layer, index) => {
    const part = made("i"), hidden = made("b");
    part.style.left = `${Math.min(98, 100 * done / total)}%`;
    part.style.width = layer.bytes ? `max(3px, ${100 * layer.bytes / total}%)` : "0";
    hidden.style.width = `${100 * layer.hidden / Math.max(1, layer.bytes)}%`;
    part.append(hidden);
    done += layer.bytes;
    const counts = made("span", { class: "kit-counts" });
    Object.keys(MARKS).forEach((how, i) => layer.counts[i] && counts.append(chip(how, MARKS[how] + layer.counts[i].toLocaleString("en"))));
    const option = made("div", { role: "option", id: `${model.get("twin")}-${index}`, title: layer.by },
      made("strong", {}, index + 1), made("span", { class: "kit-part", "aria-hidden": "true" }, part),
      made("span", { class: "kit-size", title: `${layer.packed} packed` }, layer.unpacked), counts,
      made("code", {}, layer.by));
    option.addEventListener("click", () => select(index));
    list.append(option);
  });

  const ask = (open) => model.send({ layer: selected + 1, whole: whole.checked, ...(open === undefined ? {} : { open }) });

  const select = (index) => {
    if (!layers.length) return;
    selected = Math.max(0, Math.min(layers.length - 1, index));
    [...list.children].forEach((option, i) => option.setAttribute("aria-selected", i === selected));
    list.setAttribute("aria-activedescendant", list.children[selected].id);
    list.children[selected].scrollIntoView({ block: "nearest" });
    ask();
  };

  const receive = (message) => {
    if (message.layer !== selected + 1 || message.whole !== whole.checked) return;  // an answer that came too late
    if ("" in message.rows) [rows, opened, current] = [message.rows, new Set(Object.keys(message.rows)), null];
    else for (const [path, found] of Object.entries(message.rows)) { rows[path] = found; opened.add(path); }
    show();
  };

  const show = () => {
    const hadFocus = tree.contains(document.activeElement);
    const lines = [];
    const visit = (path, level) => rows[path].forEach((row) => {
      const here = path ? `${path}/${row[0]}` : row[0];
      const open = opened.has(here) && Boolean(rows[here]);
      lines.push(line(here, row, level, open));
      if (open) visit(here, level + 1);
    });
    visit("", 1);
    tree.replaceChildren(...(lines.length ? lines : [made("p", {}, "This layer has no files.")]));
    tree.setAttribute("aria-label", `files of layer ${selected + 1}`);
    root.dataset.layer = selected + 1;
    status.textContent = `layer ${selected + 1} of ${layers.length}: what it changed`;
    const now = lines.find((one) => one.dataset.path === current) ?? lines[0];
    if (now) now.tabIndex = 0;
    if (now && hadFocus) now.focus();
  };

  const line = (path, [name, how, size, attributes, note, branch], level, open) => {
    const mark = how ? chip(how, MARKS[how]) : made("span", { class: "kit-chip" });
    if (how) mark.setAttribute("aria-label", how);
    const item = made("div", { role: "treeitem", tabindex: "-1", "aria-level": level, class: `kit-row kit-is-${how}` },
      mark, made("span", { class: "kit-name" }, made("i", { "aria-hidden": "true" }, branch ? (open ? "▾" : "▸") : ""),
        made("span", {}, name)),
      made("span", { class: "kit-size" }, size), made("span", { class: "kit-note" }, note),
      made("code", {}, attributes));
    item.style.setProperty("--level", level - 1);
    item.dataset.path = path;
    if (branch) item.setAttribute("aria-expanded", open);
    return item;
  };

  const toggle = (item, open) => {
    const path = current = item.dataset.path;
    if (!open) opened.delete(path);
    else if (rows[path]) opened.add(path);
    else return ask(path);
    show();
  };
  const move = (item) => {
    if (!item) return;
    tree.querySelectorAll("[tabindex='0']").forEach((one) => { one.tabIndex = -1; });
    current = item.dataset.path;
    item.tabIndex = 0;
    item.focus();
  };

  tree.addEventListener("click", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    move(item);
    if (item.ariaExpanded) toggle(item, item.ariaExpanded === "false");
  });
  tree.addEventListener("keydown", (event) => {
    const item = event.target.closest("[role=treeitem]");
    if (!item) return;
    const parent = item.dataset.path.split("/").slice(0, -1).join("/");
    const act = {
      ArrowDown: () => move(item.nextElementSibling), ArrowUp: () => move(item.previousElementSibling),
      Home: () => move(tree.firstElementChild), End: () => move(tree.lastElementChild),
      ArrowRight: () => item.ariaExpanded === "false" ? toggle(item, true) : item.ariaExpanded && move(item.nextElementSibling),
      ArrowLeft: () => item.ariaExpanded === "true" ? toggle(item, false) : move([...tree.children].find((one) => one.dataset.path === parent)),
      Enter: () => item.ariaExpanded && toggle(item, item.ariaExpanded === "false"),
    }[event.key === " " ? "Enter" : event.key];
    if (act) { event.preventDefault(); act(); }
  });
  list.addEventListener("keydown", (event) => {
    const index = { ArrowDown: selected + 1, ArrowUp: selected - 1, Home: 0, End: layers.length - 1 }[event.key];
    if (index !== undefined) { event.preventDefault(); select(index); }
  });
  whole.addEventListener("change", () => ask());

  model.on("msg:custom", receive);
  select(layers.length - 1);
  return () => model.off("msg:custom", receive);
};

const wasted = (rows) => {
  if (!rows.length) return [];
  const body = rows.map(([path, size, why]) => made("tr", {}, made("td", {}, size), made("td", {}, why), made("td", {}, path)));
  const head = made("tr", {}, ...["size", "of", "path"].map((name) => made("th", { scope: "col" }, name)));
  return [made("details", {}, made("summary", {}, "Wasted: kept and sent, but hidden by a later layer"),
    made("table", {}, made("thead", {}, head), made("tbody", {}, ...body)))];
};

export default { render };
