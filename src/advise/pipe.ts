/** What a migration costs besides its codec: looking for zero pages, copies, sockets, writes. */
import { medianOf } from "./statistics.ts";

/** Seconds of one core, of a sender or a receiver. */
export interface SideCosts {
  /** Once per migration. */
  fixed: number;
  /** Per page, zero or not: a sender reads it and looks whether it is zero. */
  perPage: number;
  /** Per page with data, on top of that. */
  perDataPage: number;
  /** Per byte on the wire. */
  perWireByte: number;
}

/** The costs of the pipe. */
export interface PipeCosts {
  /** Where the figures are from. */
  origin: "measured" | "typical";
  /** Whether each channel has a thread of its own; else one thread has them all. */
  isThreaded: boolean;
  /** Seconds before the first page and after the last. */
  setup: number;
  /** The sender's. */
  send: SideCosts;
  /** The receiver's. */
  receive: SideCosts;
}

/** A migration that was made to see what it costs. */
export interface CalibrationRun {
  /** Pages of the image: all zero, or all with data. */
  pages: number;
  /** Bytes on the wire. */
  wireBytes: number;
  /** CPU seconds of the sender. */
  sendCpu: number;
  /** CPU seconds of the receiver. */
  receiveCpu: number;
  /** Seconds it took. */
  time: number;
}

/** The images that tell the costs apart, each moved several times. */
export interface CalibrationRuns {
  /** A few pages with data, uncompressed: mostly what every migration costs. */
  small: CalibrationRun[];
  /** Zero pages. */
  zero: CalibrationRun[];
  /** Pages with data that method zstd makes almost nothing of: no bytes on the wire. */
  packed: CalibrationRun[];
  /** Pages with data, uncompressed. */
  plain: CalibrationRun[];
}

/** Seconds that the codec itself takes for a page of the packed image. */
export interface PackedCodec {
  encode: number;
  decode: number;
}

/** Tells the costs apart, by the middle one of several runs. */
export function fitPipe(
  runs: CalibrationRuns,
  codec: PackedCodec,
  isThreaded: boolean,
): PipeCosts {
  const pagesOf = (of: readonly CalibrationRun[]): number => of[0]!.pages;
  const { small, zero, packed, plain } = runs;
  const side = (cpu: "sendCpu" | "receiveCpu", perPackedPage: number): SideCosts => {
    const middle = (of: readonly CalibrationRun[]): number => medianOf(of.map((run) => run[cpu]));
    const slope = (middle(plain) - middle(small)) / (pagesOf(plain) - pagesOf(small));
    const fixed = Math.max(0, middle(small) - pagesOf(small) * slope);
    const beyond = (of: readonly CalibrationRun[], perPage: number): number =>
      Math.max(0, middle(of) - fixed - perPage * pagesOf(of));
    const perPage = beyond(zero, 0) / pagesOf(zero);
    const perDataPage = beyond(packed, perPage + perPackedPage) / pagesOf(packed);
    const perWireByte = beyond(plain, perPage + perDataPage) / plain[0]!.wireBytes;
    return { fixed, perPage, perDataPage, perWireByte };
  };
  const send = side("sendCpu", codec.encode);
  const receive = side("receiveCpu", codec.decode);
  const passOf = ({ perPage, perDataPage, perWireByte }: SideCosts): number =>
    pagesOf(small) * (perPage + perDataPage) + small[0]!.wireBytes * perWireByte;
  const time = medianOf(small.map(({ time }) => time));
  return {
    origin: "measured",
    isThreaded,
    setup: Math.max(0, time - Math.max(passOf(send), passOf(receive))),
    send,
    receive,
  };
}

/**
 * The costs of `multifd` and of QEMU 10.0 on one machine, a virtual one with 2 cores of an AMD
 * EPYC, into memory: see docs/advise.md.
 */
export const TYPICAL: PipeCosts = {
  origin: "typical",
  isThreaded: true,
  setup: 0.02,
  send: { fixed: 0.01, perPage: 0.9e-6, perDataPage: 0.05e-6, perWireByte: 0.08e-9 },
  receive: { fixed: 0.01, perPage: 0.3e-6, perDataPage: 1.4e-6, perWireByte: 0.2e-9 },
};
const TYPICAL_QEMU: PipeCosts = {
  ...TYPICAL,
  setup: 0.04,
  send: { fixed: 0.01, perPage: 0.5e-6, perDataPage: 0.4e-6, perWireByte: 0.06e-9 },
  receive: { fixed: 0.01, perPage: 0.05e-6, perDataPage: 0.7e-6, perWireByte: 0.15e-9 },
};

/** What a QEMU costs where `multifd` costs this: both are as much faster as the machine is. */
export function asQemuPipe(ours: PipeCosts): PipeCosts {
  const perPage = ({ perPage, perDataPage, perWireByte }: SideCosts): number =>
    perPage + perDataPage + 4096 * perWireByte;
  const scale = (qemu: SideCosts, side: "send" | "receive"): SideCosts => {
    const factor = perPage(ours[side]) / perPage(TYPICAL[side]);
    return {
      fixed: qemu.fixed,
      perPage: qemu.perPage * factor,
      perDataPage: qemu.perDataPage * factor,
      perWireByte: qemu.perWireByte * factor,
    };
  };
  return {
    ...TYPICAL_QEMU,
    send: scale(TYPICAL_QEMU.send, "send"),
    receive: scale(TYPICAL_QEMU.receive, "receive"),
  };
}
