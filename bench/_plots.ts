/** The page's plots: plain figures in, SVG out. */
import { element, label, line, picture, scaleTo, ticksTo } from "./_svg.ts";
import type { Spread } from "./_statistics.ts";

/** Colours by what is plotted; CSS knows them by these names. */
export type Series = "reference" | "deno" | "bun";

/** A bar with its range. */
export interface Bar {
  series: Series;
  value: Spread;
}

/** Neighbouring bars over two lines of text. */
export interface BarGroup {
  label: string;
  detail: string;
  bars: Bar[];
}

const WIDTH = 960;
const LEFT = 60;

/** Groups of upright bars, each with its number on it. */
export function barPlot(title: string, unit: string, groups: readonly BarGroup[]): string {
  const [top, bottom, height] = [48, 290, 340];
  const values = groups.flatMap(({ bars }) => bars.map(({ value }) => value.max));
  const ticks = ticksTo(Math.max(...values));
  const y = scaleTo(ticks, bottom, top);
  const groupWidth = (WIDTH - LEFT - 10) / groups.length;
  const content = ticks.flatMap((tick) => [
    line(LEFT, y(tick), WIDTH - 10, y(tick), "grid"),
    label(LEFT - 6, y(tick) + 4, String(tick), { "text-anchor": "end" }),
  ]);
  content.push(label(LEFT, 16, unit));
  for (const [i, group] of groups.entries()) {
    const start = LEFT + i * groupWidth + groupWidth * 0.1;
    const width = groupWidth * 0.8 / group.bars.length;
    for (const [j, { series, value }] of group.bars.entries()) {
      const x = start + j * width;
      const middle = x + width / 2;
      const at = {
        x: x + 1,
        y: y(value.median),
        width: width - 2,
        height: bottom - y(value.median),
      };
      content.push(element("rect", { ...at, class: `fill ${series}` }));
      content.push(line(middle, y(value.min), middle, y(value.max), "range"));
      const above = { transform: `translate(${middle + 4} ${y(value.max) - 5}) rotate(-90)` };
      content.push(label(0, 0, value.median.toFixed(0), { ...above, class: "value" }));
    }
    const center = { "text-anchor": "middle" };
    content.push(label(start + groupWidth * 0.4, bottom + 18, group.label, center));
    content.push(label(start + groupWidth * 0.4, bottom + 34, group.detail, center));
  }
  return picture(WIDTH, height, title, content);
}

/** A point with the number that is written into it. */
export interface Point {
  series: Series;
  x: number;
  y: number;
  mark: string;
}

/** Points over two axes from zero. */
export function pointPlot(
  title: string,
  axes: { x: string; y: string },
  points: readonly Point[],
): string {
  const [width, height, top, bottom, right] = [310, 270, 50, 225, 290];
  const xTicks = ticksTo(Math.max(...points.map((point) => point.x)) * 1.1, 4);
  const yTicks = ticksTo(Math.max(...points.map((point) => point.y)) * 1.1, 4);
  const x = scaleTo(xTicks, LEFT - 10, right);
  const y = scaleTo(yTicks, bottom, top);
  const content = [label(LEFT - 10, 18, title, { class: "title" }), label(LEFT - 10, 36, axes.y)];
  for (const tick of yTicks) {
    content.push(line(LEFT - 10, y(tick), right, y(tick), "grid"));
    content.push(label(LEFT - 16, y(tick) + 4, String(tick), { "text-anchor": "end" }));
  }
  for (const tick of xTicks) {
    content.push(line(x(tick), top, x(tick), bottom, "grid"));
    content.push(label(x(tick), bottom + 18, String(tick), { "text-anchor": "middle" }));
  }
  content.push(label((LEFT - 10 + right) / 2, bottom + 38, axes.x, { "text-anchor": "middle" }));
  for (const point of points) {
    const [cx, cy] = [x(point.x), y(point.y)];
    content.push(element("circle", { cx, cy, r: 8, class: `fill ${point.series}` }));
    content.push(label(cx, cy + 4, point.mark, { "text-anchor": "middle", class: "mark" }));
  }
  return picture(width, height, title, content);
}

/** A ratio to one, its range, its limit, and what comes of it. */
export interface RatioCell {
  value: Spread;
  limit: number | undefined;
  verdict: string;
}

/** Ratios of one program, by the columns' order; undefined leaves a column empty. */
export interface RatioRow {
  series: Series;
  label: string;
  cells: (RatioCell | undefined)[];
}

/** Rows of ratios around one, in columns side by side. */
export function ratioPlot(
  title: string,
  columns: readonly string[],
  rows: readonly RatioRow[],
): string {
  const [labels, gap, top, rowHeight, verdictWidth] = [150, 20, 44, 20, 96];
  const columnWidth = (WIDTH - labels) / columns.length - gap;
  const height = top + rows.length * rowHeight + 30;
  const bottom = height - 26;
  const content: string[] = [];
  const rowY = (i: number): number => top + (i + 0.5) * rowHeight;
  for (const [i, row] of rows.entries()) content.push(label(0, rowY(i) + 4, row.label));
  for (const [i, column] of columns.entries()) {
    const from = labels + i * (columnWidth + gap);
    const cells = rows.map((row) => row.cells[i]);
    const ticks = ticksTo(Math.max(1.2, ...cells.map((cell) => cell?.value.max ?? 0)), 4);
    const x = scaleTo(ticks, from, from + columnWidth - verdictWidth);
    content.push(label(from, 18, column, { class: "title" }));
    for (const tick of ticks) {
      content.push(line(x(tick), top, x(tick), bottom, "grid"));
      content.push(label(x(tick), bottom + 18, String(tick), { "text-anchor": "middle" }));
    }
    content.push(line(x(1), top, x(1), bottom, "one"));
    for (const [j, cell] of cells.entries()) {
      if (cell !== undefined) content.push(...ratioCell(cell, rows[j]!.series, x, rowY(j)));
      if (cell !== undefined) {
        const text = `${cell.value.median.toFixed(2)} ${cell.verdict}`;
        const look = { class: cell.verdict.split(" ").at(-1)! };
        content.push(label(from + columnWidth - verdictWidth + 14, rowY(j) + 4, text, look));
      }
    }
  }
  return picture(WIDTH, height, title, content);
}

function ratioCell(
  { value, limit }: RatioCell,
  series: Series,
  x: (value: number) => number,
  y: number,
): string[] {
  const parts = [
    line(x(value.min), y, x(value.max), y, `stroke ${series}`),
    element("circle", { cx: x(value.median), cy: y, r: 5, class: `fill ${series}` }),
  ];
  if (limit !== undefined) parts.push(line(x(limit), y - 8, x(limit), y + 8, "limit"));
  return parts;
}
