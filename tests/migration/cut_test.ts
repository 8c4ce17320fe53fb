/** A wire that fails at any point: both sides end with an error, soon, and nothing is kept. */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { test } from "node:test";
import { assert, assertEquals } from "@std/assert";
import {
  MemoryImage,
  MultifdError,
  PeerClosedError,
  PeerFailedError,
  ProtocolError,
  send,
  TimedOutError,
} from "../../mod.ts";
import { Random } from "../_random.ts";
import { count } from "../durability/_outcomes.ts";
import { sharedPages, startReceiver, temporaryDirectory, TRANSPORTS } from "./_migrate.ts";
import { faultyWire, type Strike } from "./_wire.ts";

const CASES = Number(process.env.CUTS ?? 18);
/** Bytes that tell what a connection is. */
const GREETING_START = 4;
/** How long a wire stalls for those who wait for it, in milliseconds, and both timeouts. */
const STALL_MS = Number(process.env.STALL_MS ?? 1500);
const TIMEOUTS_MS = [STALL_MS / 2, 20_000 + STALL_MS];

async function errorOf(promise: Promise<unknown>): Promise<MultifdError | undefined> {
  try {
    await promise;
  } catch (error) {
    if (error instanceof MultifdError) return error;
    throw error;
  }
}

const image = new MemoryImage({ "pc.ram": sharedPages(4096, 4096, 1) });
const random = new Random(20261120);

/** Migrates over a wire that fails; each side's error, and what it leaves is checked. */
async function migrateOver(
  strike: Strike,
  options: { transport: typeof TRANSPORTS[number]; timeout: number; channels?: number },
): Promise<(MultifdError | undefined)[]> {
  const directory = temporaryDirectory();
  // a main channel that is reset at once leaves a receiver that nobody came to
  const acceptTimeout = 15_000;
  const into = path.join(directory, "vm");
  const receiver = await startReceiver({ into, acceptTimeout, ...options });
  const wire = await faultyWire(receiver.port, strike);
  const { transport, timeout } = options;
  const errors = await Promise.all([
    errorOf(send({ image, to: wire.address, method: "none", timeout, transport })),
    errorOf(receiver.received),
  ]);
  wire.close();
  // who has little patience may be gone before
  assert(wire.hasStruck || timeout < STALL_MS, "Nothing happened to the wire");
  const isWhole = errors[1] === undefined;
  assertEquals(fs.readdirSync(directory), isWhole ? ["vm"] : []);
  fs.rmSync(directory, { recursive: true });
  return errors;
}

/** What the main channel carries here is short, what a channel carries is about 400 KiB. */
function strikeOf(fault: Strike["fault"], ordinal: number): Strike {
  return { fault, ordinal, after: random.below(ordinal === 0 ? 150 : 400_000) };
}

const nameOf = (ordinal: number): string =>
  ordinal === 0 ? "the main channel" : `channel ${ordinal - 1}`;

for (let i = 0; i < CASES; i++) {
  const fault = (["cut", "reset", "half-close"] as const)[Math.floor(i / 6) % 3]!;
  const transport = TRANSPORTS[i & 1]!;
  const strike = strikeOf(fault, i % 3);
  const name = `a ${fault} of ${nameOf(i % 3)} after ${strike.after}`;
  test(`send() and receive() end on ${transport} sockets with ${name}`, async () => {
    const channels = i % 4 < 2 ? { channels: 2 } : {};
    const [sent, received] = await migrateOver(strike, { transport, timeout: 5000, ...channels });
    // a connection that said nothing is waited for, and a reset takes back what was not read yet
    const isSilent = strike.after < GREETING_START || fault === "reset";
    const isLate = isSilent && received instanceof TimedOutError;
    const isMissing = isSilent && received instanceof ProtocolError &&
      received.message.includes("Channel is missing");
    assert(isLate || isMissing || received instanceof PeerClosedError, String(received));
    assert(sent instanceof PeerClosedError || sent instanceof PeerFailedError, String(sent));
    const end = isLate ? "--timeout ends it, nothing left" : "both sides say so, nothing left";
    count(`a connection: ${fault}`, end);
  });
}

for (const transport of TRANSPORTS) {
  for (const timeout of TIMEOUTS_MS) {
    const isPatient = timeout > STALL_MS;
    const ends = isPatient ? `go on after a stall of ${STALL_MS} ms` : "give up in a stall";
    test(`send() and receive() on ${transport} sockets, timeout ${timeout} ms, ${ends}`, async () => {
      await Promise.all([0, 1, 2].map(async (ordinal) => {
        // who has no patience is held for good: a busy machine makes any time too short for a timeout
        const stall = isPatient ? { stall: STALL_MS } : {};
        const strike = { ...strikeOf("stall", ordinal), ...stall };
        const errors = await migrateOver(strike, { transport, timeout, channels: 2 });
        const [sent, received] = errors;
        const kind = `a stall${isPatient ? ` of ${STALL_MS / 1000} s` : ""}, timeout ${
          timeout / 1000
        } s`;
        if (isPatient) {
          assertEquals(errors, [undefined, undefined]);
          return count(kind, "whole");
        }
        assert(errors.some((error) => error instanceof TimedOutError), errors.join());
        assert(sent !== undefined, "The sender took a stalled wire for a finished migration");
        for (const error of received === undefined ? [sent] : [sent, received]) {
          const isNamed = [TimedOutError, PeerClosedError, PeerFailedError]
            .some((one) => error instanceof one);
          assert(isNamed, String(error));
        }
        // where only the destination's answer was held up
        count(kind, received === undefined ? "whole, the sender gives up" : "nothing left");
      }));
    });
  }
}
