/**
 * Watches what a run allocates. Memory that is asked for and not touched takes no room, so a
 * process's size would not tell of a length that was believed; the constructors do.
 */

const WATCHED = [
  "ArrayBuffer",
  "SharedArrayBuffer",
  "Uint8Array",
  "Uint32Array",
  "Int32Array",
  "Float64Array",
] as const;

type Constructor = new (...args: unknown[]) => { byteLength: number };

/** What was allocated so far, and the most that may be. */
interface Watch {
  total: number;
  readonly most: number;
}

let watch: Watch | undefined;

function check(bytes: number): void {
  if (watch === undefined) return;
  watch.total += bytes;
  if (watch.total <= watch.most) return;
  const { total, most } = watch;
  watch = undefined;
  throw new Error(`it allocates ${total} bytes, more than ${most}`);
}

function watched(Original: Constructor): Constructor {
  const size = (Original as unknown as { BYTES_PER_ELEMENT?: number }).BYTES_PER_ELEMENT ?? 1;
  return new Proxy(Original, {
    construct(target, args, newTarget) {
      // only a number asks for memory; a view of a buffer takes none
      if (typeof args[0] === "number") check(args[0] * size);
      return Reflect.construct(target, args, newTarget);
    },
  });
}

const all = globalThis as unknown as Record<string, Constructor>;
const REAL = WATCHED.map((name) => [name, all[name]!] as const);
const PROXIES = REAL.map(([name, Original]) => [name, watched(Original)] as const);

function install(constructors: readonly (readonly [name: string, Constructor])[]): void {
  for (const [name, constructor] of constructors) all[name] = constructor;
}

/**
 * Runs something that may allocate so many bytes in all.
 *
 * @throws {Error} From inside of it, where it wants more.
 */
export async function withinMemory<T>(most: number, run: () => T | Promise<T>): Promise<T> {
  watch = { total: 0, most };
  install(PROXIES);
  try {
    return await run();
  } finally {
    install(REAL);
    watch = undefined;
  }
}
