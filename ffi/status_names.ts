/** Names of the statuses that libqpl and QATzip give (being written). */
export function statusName(library: "qpl" | "qatzip", status: number): string {
  return `${library} ${status}`;
}
export function statusAdvice(_library: "qpl" | "qatzip", _status: number): string | undefined {
  return undefined;
}
