/** A plot of lines on logarithmic axes as SVG, with each line's name beside its end. */

/** A line, or with one point a dot. */
export interface Series {
  /** Its name. */
  name: string;
  /** Any CSS colour. */
  colour: string;
  /** Its points, left to right; above zero. */
  points: readonly (readonly [x: number, y: number])[];
}

/** An axis. */
export interface Axis {
  /** What it shows, with the unit. */
  title: string;
  /** Values that may be marked, in order. */
  marks: readonly number[];
  /** A value as text. */
  format: (value: number) => string;
}

/** A plot. */
export interface Plot {
  /** What it shows. */
  title: string;
  x: Axis;
  y: Axis;
  series: readonly Series[];
}

const [WIDTH, HEIGHT] = [900, 420];
/** Room for the axes' words and, to the right, for the lines' names. */
const MARGIN = { left: 92, right: 230, top: 18, bottom: 56 };
/** Heights that names take. */
const LINE_HEIGHT = 17;
/** More marks than this stand in each other's way. */
const MOST_MARKS = 11;
/** Room at both ends of an axis, as a share of it. */
const ROOM = 0.04;

/** 1, 2 and 5 of each power of ten from one to another. */
export function decades(from: number, to: number): number[] {
  const marks: number[] = [];
  for (let power = from; power <= to; power++) {
    for (const step of [1, 2, 5]) marks.push(Number(`${step}e${power}`));
  }
  return marks;
}

/** Text as it may stand in HTML and SVG. */
export function escapeText(text: string): string {
  const entities: Record<string, string> = {
    "&": "&amp;",
    "<": "&lt;",
    ">": "&gt;",
    '"': "&quot;",
  };
  return text.replace(/[&<>"]/g, (char) => entities[char]!);
}

/** Draws a plot. */
export function drawPlot(plot: Plot): string {
  const shown = plot.series.filter(({ points }) => points.length > 0);
  const points = shown.flatMap(({ points }) => points);
  if (points.length === 0) return "<p>There is nothing to plot.</p>";
  const x = scaleOf(points.map(([x]) => x), plot.x, MARGIN.left, WIDTH - MARGIN.right);
  const y = scaleOf(points.map(([, y]) => y), plot.y, HEIGHT - MARGIN.bottom, MARGIN.top);
  const lines = shown.map((series) => drawSeries(series, x, y));
  return `<svg viewBox="0 0 ${WIDTH} ${HEIGHT}" role="img" aria-label="${
    escapeText(plot.title)
  }">\n${[...drawAxes(plot, x, y), ...lines, ...drawNames(shown, x, y)].join("\n")}\n</svg>`;
}

/** A logarithmic scale. */
interface Scale {
  at(value: number): number;
  marks: number[];
}

function scaleOf(values: readonly number[], { marks }: Axis, from: number, to: number): Scale {
  const [least, most] = [Math.log10(Math.min(...values)), Math.log10(Math.max(...values))];
  // values that are all the same still want marks around them
  const room = Math.max(ROOM * (most - least), most - least < 0.3 ? 0.2 : 0);
  const [low, high] = [least - room, most + room];
  const inside = marks.filter((mark) => Math.log10(mark) >= low && Math.log10(mark) <= high);
  const every = Math.ceil(inside.length / MOST_MARKS);
  return {
    at: (value) => from + (Math.log10(value) - low) / (high - low) * (to - from),
    marks: inside.filter((_, i) => i % every === 0),
  };
}

function drawAxes({ x: xAxis, y: yAxis }: Plot, x: Scale, y: Scale): string[] {
  const [bottom, right] = [HEIGHT - MARGIN.bottom, WIDTH - MARGIN.right];
  const centre = (MARGIN.left + right) / 2;
  const middle = (MARGIN.top + bottom) / 2;
  return [
    ...x.marks.map((mark) =>
      `<path class="grid" d="M${px(x.at(mark))} ${MARGIN.top}V${bottom}"/>` +
      `<text x="${px(x.at(mark))}" y="${bottom + 18}" text-anchor="middle">${
        escapeText(xAxis.format(mark))
      }</text>`
    ),
    ...y.marks.map((mark) =>
      `<path class="grid" d="M${MARGIN.left} ${px(y.at(mark))}H${right}"/>` +
      `<text x="${MARGIN.left - 8}" y="${px(y.at(mark) + 4)}" text-anchor="end">${
        escapeText(yAxis.format(mark))
      }</text>`
    ),
    `<path class="frame" d="M${MARGIN.left} ${MARGIN.top}V${bottom}H${right}"/>`,
    `<text x="${centre}" y="${HEIGHT - 10}" text-anchor="middle" class="title">${
      escapeText(xAxis.title)
    }</text>`,
    `<text transform="translate(16 ${middle}) rotate(-90)" text-anchor="middle" class="title">${
      escapeText(yAxis.title)
    }</text>`,
  ];
}

function drawSeries({ colour, points }: Series, x: Scale, y: Scale): string {
  const path = points.map(([px_, py], i) =>
    `${i === 0 ? "M" : "L"}${px(x.at(px_))} ${px(y.at(py))}`
  );
  const dots = points.length > 12
    ? []
    : points.map(([px_, py]) =>
      `<circle cx="${px(x.at(px_))}" cy="${px(y.at(py))}" r="3.5" fill="${colour}"/>`
    );
  return `<path class="line" stroke="${colour}" d="${path.join("")}"/>${dots.join("")}`;
}

/** Names to the right, as near their lines' ends as they can be without touching each other. */
function drawNames(shown: readonly Series[], x: Scale, y: Scale): string[] {
  const ends = shown.map(({ name, colour, points }) => {
    const [endX, endY] = points.at(-1)!;
    return { name, colour, x: x.at(endX), y: y.at(endY) };
  }).sort((a, b) => a.y - b.y);
  const places = spreadOut(ends.map(({ y }) => y));
  const left = WIDTH - MARGIN.right + 22;
  return ends.map(({ name, colour, x, y }, i) => {
    const at = places[i]!;
    return `<path class="leader" stroke="${colour}" d="M${px(x + 5)} ${px(y)}L${left - 6} ${
      px(at)
    }"/>` +
      `<text x="${left}" y="${px(at + 4)}" style="fill:${colour}" class="name">${
        escapeText(name)
      }</text>`;
  });
}

/** Moves heights apart, top to bottom, and back up where they would leave the plot. */
function spreadOut(heights: readonly number[]): number[] {
  const places: number[] = [];
  for (const [i, height] of heights.entries()) {
    places.push(Math.max(height, i === 0 ? MARGIN.top + 6 : places[i - 1]! + LINE_HEIGHT));
  }
  let floor = HEIGHT - MARGIN.bottom;
  for (let i = places.length - 1; i >= 0; i--) {
    places[i] = Math.min(places[i]!, floor);
    floor = places[i]! - LINE_HEIGHT;
  }
  return places;
}

function px(value: number): string {
  return value.toFixed(1);
}
