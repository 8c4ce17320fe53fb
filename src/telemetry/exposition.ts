/** Prometheus' text exposition format, version 0.0.4. */

/** A value and the labels that tell it from others of its family. */
export interface Sample {
  /** Labels by name. */
  labels: Readonly<Record<string, string>>;
  /** The value. */
  value: number;
}

/** A metric: its name, what it means, and its samples. */
export interface MetricFamily {
  /** Its name. */
  name: string;
  /** Whether it only grows. */
  type: "counter" | "gauge";
  /** What it means, in a line. */
  help: string;
  /** Its samples; a family without any is left out. */
  samples: readonly Sample[];
}

/**
 * Writes metrics as Prometheus reads them.
 *
 * @param families The metrics.
 * @param common Labels of every sample.
 */
export function formatMetrics(
  families: readonly MetricFamily[],
  common: Readonly<Record<string, string>>,
): string {
  return families.filter(({ samples }) => samples.length > 0).map(
    ({ name, type, help, samples }) =>
      [
        `# HELP ${name} ${help}`,
        `# TYPE ${name} ${type}`,
        ...samples.map(({ labels, value }) =>
          `${name}{${formatLabels({ ...common, ...labels })}} ${value}`
        ),
      ].map((line) => `${line}\n`).join(""),
  ).join("");
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels).map(([name, value]) => `${name}="${escape(value)}"`).join(",");
}

function escape(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}
