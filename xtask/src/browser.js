// Looks at the pages in `PAGES` at each width in frames of this page, and replaces this page's text by one line for each finding.

/** The relative luminance of WCAG 2.2. */
function luminance([r, g, b]) {
  const linear = (c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
  return 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
}

function contrast(a, b) {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return (high + 0.05) / (low + 0.05);
}

const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });

/** Red, green, blue from 0 to 255 and alpha from 0 to 1 of a CSS colour. */
function colour(css) {
  canvas.clearRect(0, 0, 1, 1);
  canvas.fillStyle = css;
  canvas.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
}

function over([r, g, b, a], below) {
  return [r, g, b].map((c, i) => c * a + below[i] * (1 - a));
}

/** What an element paints behind the text upon it. */
function paint(element, view) {
  const style = view.getComputedStyle(element);
  const css = element instanceof view.SVGGeometryElement ? style.fill : style.backgroundColor;
  // A line has a colour to fill it with, but nothing to fill.
  if (css === "none" || element instanceof view.SVGLineElement) return [0, 0, 0, 0];
  const [r, g, b, a] = colour(css);
  return [r, g, b, a * (element instanceof view.SVGGeometryElement ? style.fillOpacity * style.opacity : 1)];
}

/** The colour behind the middle of a text, from all that lies under it. */
function background(element, box, view) {
  const [x, y] = [(box.left + box.right) / 2, (box.top + box.bottom) / 2];
  const stack = view.document.elementsFromPoint(x, y);
  const below = stack.includes(element) ? stack.slice(stack.indexOf(element) + (element instanceof view.SVGElement ? 1 : 0)) : ancestors(element);
  return below.reverse().reduce((under, each) => over(paint(each, view), under), [255, 255, 255]);
}

function ancestors(element) {
  const chain = [];
  for (let each = element; each; each = each.parentElement) chain.push(each);
  return chain;
}

/** Texts whose contrast is below that of WCAG 2.2, level AA: 4.5, or 3 for large ones. */
function faint(view) {
  const found = [];
  const walker = view.document.createTreeWalker(view.document.body, NodeFilter.SHOW_TEXT);
  for (let text = walker.nextNode(); text; text = walker.nextNode()) {
    const element = text.parentElement;
    if (!text.data.trim() || ["STYLE", "SCRIPT", "TITLE", "DESC", "title", "desc", "style"].includes(element.tagName)) continue;
    element.scrollIntoView({ block: "center", inline: "center" });
    const range = view.document.createRange();
    range.selectNodeContents(text);
    const box = range.getBoundingClientRect();
    const style = view.getComputedStyle(element);
    if (box.width <= 1 || box.height <= 1 || style.visibility !== "visible") continue;
    const below = background(element, box, view);
    const drawn = element instanceof view.SVGElement ? style.fill : style.color;
    const ratio = contrast(over(colour(drawn), below), below);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    if (ratio < (large ? 3 : 4.5) - 0.005) {
      found.push(`contrast ${ratio.toFixed(2)} of ${drawn} on rgb(${below.map(Math.round).join(", ")}): "${text.data.trim().slice(0, 40)}"`);
    }
  }
  return found;
}

/** The elements that make a page scroll sideways. */
function wide(view, width) {
  const page = view.document.documentElement;
  if (page.scrollWidth <= width) return [];
  const scrolls = (element) => ancestors(element.parentElement).some((each) => ["auto", "scroll", "hidden"].includes(view.getComputedStyle(each).overflowX));
  const reaches = [...view.document.body.querySelectorAll("*")].filter((each) => each.getBoundingClientRect().right > width + 0.5 && !scrolls(each));
  const names = reaches.slice(-1).map((each) => `${each.tagName.toLowerCase()}.${each.getAttribute("class") ?? ""}`);
  return [`scrolls sideways: ${page.scrollWidth} px wide, up to ${names.join(", ") || "the body"}`];
}

function load(frame, page) {
  return new Promise((done) => {
    frame.onload = done;
    frame.src = page;
  });
}

async function look() {
  const lines = [];
  const scheme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  let seen = 0;
  for (const page of PAGES) {
    for (const width of WIDTHS) {
      const frame = document.createElement("iframe");
      frame.style.cssText = `border: 0; width: ${width}px; height: 900px`;
      document.body.replaceChildren(frame);
      await load(frame, page);
      const view = frame.contentWindow;
      // A line for each: texts and sources of the page may hold tabs and line ends.
      const report = (problem) => lines.push(`problem\t${page}\t${width}\t${scheme}\t${problem.replace(/\s+/g, " ")}`);
      if (!view.document.body?.textContent.trim()) report("the page is empty");
      // What is folded away is seen too.
      view.document.querySelectorAll("details").forEach((each) => (each.open = true));
      const broken = [...view.document.images].filter((each) => !each.naturalWidth).map((each) => `no such picture: ${each.getAttribute("src")}`);
      [...wide(view, width), ...faint(view), ...broken].forEach(report);
      seen += 1;
    }
  }
  lines.push(`looked\t${seen}\t${scheme}`);
  document.body.replaceChildren(Object.assign(document.createElement("pre"), { textContent: `\n${lines.join("\n")}\n` }));
}

look().catch((error) => (document.body.textContent = `\nproblem\t-\t0\t-\t${error.stack}\n`));
