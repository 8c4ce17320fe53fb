/**
 * Hostile sources against a receiver: each attack ends, with its own error. `deno task hostile` does
 * all of them on both transports, to a receiver in this process and to a command whose memory is
 * watched; `deno task test` does each on one transport, and a seeded few to a command: SEED.
 */
import fs from "node:fs";
import path from "node:path";
import process from "node:process";
import { after, test } from "node:test";
import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { TimedOutError } from "../../mod.ts";
import { Random } from "../_random.ts";
import { here, start } from "../cli/_command.ts";
import { startReceiver, temporaryDirectory, TRANSPORTS } from "../migration/_migrate.ts";
import { type Attack, ATTACKS } from "./_attacks.ts";

const HAS_ALL = process.env.HOSTILE === "all";
const SEED = Number(process.env.SEED ?? 1);
/** How many attacks on a command are in `deno task test`. */
const SAMPLE = 3;
/** Most memory that an attack may cost, in MiB. */
const MEMORY = 200;

const directory = temporaryDirectory();
after(() => fs.rmSync(directory, { recursive: true }));

/** Attacks a receiver in this process. */
async function attack(
  { options, run }: Attack,
  transport: (typeof TRANSPORTS)[number],
): Promise<void> {
  const receiver = await startReceiver({ transport, ...options });
  const attacked = run({ port: receiver.port }).catch(() => {});
  await receiver.received.finally(() => attacked);
}

const isSlow = ({ ErrorClass }: Attack): boolean => ErrorClass === TimedOutError;
const light = ATTACKS.filter(({ isHeavy }) => !isHeavy);

for (const [i, transport] of TRANSPORTS.entries()) {
  const here = light.filter((_, row) => HAS_ALL || (row + SEED) % TRANSPORTS.length === i);
  for (const rows of [here.filter((row) => !isSlow(row)), here.filter(isSlow)]) {
    let ends: Map<Attack, Promise<void>> | undefined;
    for (const row of rows) {
      test(`receive() on ${transport} sockets ends ${row.name}`, async () => {
        // at the same time: what waits does not wait alone
        ends ??= new Map(rows.map((row) => [row, attack(row, transport)]));
        for (const end of ends.values()) end.catch(() => {});
        const error = await assertRejects(() => ends!.get(row)!, row.ErrorClass);
        assertMatch(error.message, row.says);
      });
    }
  }
}

/** The most memory that a process has had, in MiB; undefined once it is gone. */
function peakMemory(pid: number): number | undefined {
  try {
    const status = fs.readFileSync(`/proc/${pid}/status`, "utf8");
    const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(status)?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) / 1024;
  } catch {
    return undefined;
  }
}

/** How often that is looked at, in milliseconds. */
const LOOK_MS = 5;

function commandArgs({ options = {} }: Attack): string[] {
  const { channels, maxChannels, maxRam, timeout } = options;
  const args: string[] = [];
  if (channels !== undefined) args.push("--channels", `${channels}`);
  if (maxChannels !== undefined) args.push("--max-channels", `${maxChannels}`);
  if (maxRam !== undefined) args.push("--max-ram", `${maxRam}`);
  // nobody waits for an attack that hangs for the default minute
  return [...args, "--timeout", `${(timeout ?? 5000) / 1000}`];
}

let outs = 0;

async function attackCommand(row: Attack, transport: string): Promise<number> {
  const out = path.join(directory, `vm${outs++}`);
  const args = ["recv", out, "--transport", transport, "--json", ...commandArgs(row)];
  const { line, child, outcome } = start(here, args);
  const address = await line(/^listening on (.*)$/);
  const before = peakMemory(child.pid!)!;
  let peak = before;
  const timer = setInterval(() => peak = peakMemory(child.pid!) ?? peak, LOOK_MS);
  await row.run({ port: Number(address!.split(":").at(-1)) }).catch(() => {});
  const { code, stdout, stderr } = await outcome;
  clearInterval(timer);
  assertEquals(code, row.code, stderr);
  assertMatch(stderr, row.says);
  assertEquals(JSON.parse(stdout)["error-class"], row.ErrorClass.name);
  assert(!stderr.includes("    at "), `A stack: ${stderr}`);
  assertEquals(fs.readdirSync(directory), []);
  return peak - before;
}

const all = ATTACKS.flatMap((row) => TRANSPORTS.map((transport) => [row, transport] as const));
const random = new Random(SEED);
const samples = all.filter(([row]) => light.includes(row));
const chosen = HAS_ALL ? all : Array.from({ length: SAMPLE }, () => random.pick(samples));

for (const [row, transport] of chosen) {
  test(`recv on ${transport} sockets outlives in little memory: ${row.name}`, async () => {
    const cost = await attackCommand(row, transport);
    if (HAS_ALL) console.log(`${transport}, ${row.name}: ${Math.round(cost)} MiB`);
    const most = row.memory ?? MEMORY;
    assert(cost <= most, `It cost ${Math.round(cost)} MiB, at most ${most} were allowed`);
  });
}
