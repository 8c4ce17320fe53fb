/** SVG as text: elements, and axes with round numbers. */

/** Attributes of an element. */
export type Attributes = Record<string, string | number>;

/** Text that may stand in XML. */
export function escapeText(text: string): string {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}

function valueText(value: string | number): string {
  return typeof value === "number" ? String(Math.round(value * 100) / 100) : escapeText(value);
}

/** An element; its children are markup. */
export function element(name: string, attributes: Attributes, ...children: string[]): string {
  const list = Object.entries(attributes).map(([key, value]) => ` ${key}="${valueText(value)}"`);
  const inside = children.join("");
  return inside === ""
    ? `<${name}${list.join("")}/>`
    : `<${name}${list.join("")}>${inside}</${name}>`;
}

/** A line of text at a point. */
export function label(x: number, y: number, text: string, attributes: Attributes = {}): string {
  return element("text", { x, y, ...attributes }, escapeText(text));
}

/** A line between two points. */
export function line(x1: number, y1: number, x2: number, y2: number, kind: string): string {
  return element("line", { x1, y1, x2, y2, class: kind });
}

/** A picture of its own. */
export function picture(width: number, height: number, title: string, content: string[]): string {
  const box = { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" };
  return element("svg", box, element("title", {}, escapeText(title)), ...content);
}

/** Round numbers from zero to at least `most`, about `count` of them. */
export function ticksTo(most: number, count = 5): number[] {
  const rough = most / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((step) => step >= rough)!;
  const steps = Math.ceil(most / step - 1e-9);
  return Array.from({ length: steps + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

/** Where the numbers from zero to the last tick lie between two coordinates. */
export function scaleTo(ticks: readonly number[], from: number, to: number) {
  const most = ticks.at(-1)!;
  return (value: number): number => from + (to - from) * Math.min(value, most) / most;
}
