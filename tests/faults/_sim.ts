/** The simulated devices, as the tests hold them: schedules in, the device's own counts out. */
import { findLibrary } from "../../ffi/find.ts";
import { cString } from "../../ffi/io.ts";
import { statusName } from "../../ffi/status_names.ts";
import type { NativeCalls } from "../../ffi/open.ts";
import type { NativeSymbols } from "../../ffi/symbols.ts";

/** native-shim/sim/device.h. */
const SIM_SYMBOLS = {
  sim_configure: { parameters: [/* text */ "buffer"], result: "i32" },
  sim_counts: { parameters: [/* counts */ "buffer"], result: "void" },
} as const satisfies NativeSymbols;
/** SIM_COUNTS, and where its parts are. */
const SIM_COUNTS = 86;
const [BUSY, MOST_IN_FLIGHT, IN_FLIGHT, THREADS, SESSIONS] = [1, 2, 3, 4, 5] as const;
const ENCODE_FAULTS = 6;
const DECODE_FAULTS = 14;
const STATUSES = 22;

/** enum sim_fault, from 1. */
export const FAULTS = [
  "busy on submit",
  "busy on wait",
  "status",
  "wrong length",
  "corrupt output",
  "delay",
  "lost",
] as const;

/** A simulated device's library, by the method it serves. */
const LIBRARIES = { qpl: "sim/qpl", qatzip: "sim/qatzip" } as const;
/** A method with a device. */
export type DeviceMethod = keyof typeof LIBRARIES;

/** What a device says of itself. */
export interface SimCounts {
  busy: number;
  mostInFlight: number;
  /** Jobs, threads and sessions that are alive. */
  left: number;
  /** Faults fired, by direction, then by fault. */
  fired: { encode: number[]; decode: number[] };
  /** How often each status was reported, by name. */
  statuses: Record<string, number>;
}

/** A simulated device. */
export class Sim {
  readonly #calls: NativeCalls<typeof SIM_SYMBOLS>;
  readonly #method: DeviceMethod;

  /** @throws {EngineUnavailableError} If its library was not built: `make -C native-shim sim`. */
  constructor(method: DeviceMethod) {
    this.#calls = findLibrary(LIBRARIES[method], SIM_SYMBOLS).calls;
    this.#method = method;
  }

  /** Takes a schedule and forgets all counts. */
  configure(text: string): void {
    const result = this.#calls.sim_configure(cString(text));
    if (result !== 0) throw new Error(`Schedule "${text}" is wrong at ${-result}`);
  }

  /** What it has counted since. */
  counts(): SimCounts {
    const counts = new BigInt64Array(SIM_COUNTS);
    this.#calls.sim_counts(counts);
    const at = (index: number): number => Number(counts[index]);
    const fired = (first: number): number[] => FAULTS.map((_, i) => at(first + 1 + i));
    const statuses: Record<string, number> = {};
    for (let i = STATUSES; i < SIM_COUNTS && at(i) !== 0; i += 2) {
      statuses[statusName(this.#method, at(i))] = at(i + 1);
    }
    return {
      busy: at(BUSY),
      mostInFlight: at(MOST_IN_FLIGHT),
      left: at(IN_FLIGHT) + at(THREADS) + at(SESSIONS),
      fired: { encode: fired(ENCODE_FAULTS), decode: fired(DECODE_FAULTS) },
      statuses,
    };
  }
}
