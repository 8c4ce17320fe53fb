/** Simulated devices say that they are, by their engines' names. */

/** Whether an engine's device is simulated. */
export function isSimulated(engine: string): boolean {
  return engine.endsWith("-simulated");
}
