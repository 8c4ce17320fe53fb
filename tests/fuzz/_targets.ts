/** Everything that is fuzzed. */
import { FILE_TARGETS } from "./_files.ts";
import { MAIN_CHANNEL_TARGETS } from "./_main_channel.ts";
import { PAYLOAD_TARGETS } from "./_payloads.ts";
import { PROTOCOL_TARGETS } from "./_protocol.ts";
import { RECEIVER_TARGETS } from "./_receiver.ts";
import type { Target } from "./_target.ts";

/** All targets, the whole receiver last. */
export const TARGETS: readonly Target[] = [
  ...PROTOCOL_TARGETS,
  ...MAIN_CHANNEL_TARGETS,
  ...FILE_TARGETS,
  ...PAYLOAD_TARGETS,
  ...RECEIVER_TARGETS,
];

/** The target of a name. */
export function targetNamed(name: string): Target {
  const target = TARGETS.find((target) => target.name === name);
  if (target !== undefined) return target;
  throw new Error(
    `"${name}" is not fuzzed; there are: ${TARGETS.map(({ name }) => name).join(", ")}`,
  );
}
