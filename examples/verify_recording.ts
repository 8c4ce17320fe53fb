/**
 * Rebuilds a recorded migration's RAM in memory, and proves every byte of it on the way.
 *
 * deno run --allow-read examples/verify_recording.ts tests/testdata/recordings/zstd
 */
import process from "node:process";
import { inspect, ProtocolError, VerificationError } from "@multifd/multifd";

const [recording] = process.argv.slice(2);
if (recording === undefined) throw new Error("Usage: verify_recording.ts DIR");

try {
  const report = await inspect(recording);
  console.log(`${report.machine}: ${report.tail.devices.length} devices`);
  for (const { name, sha256 } of report.blocks) console.log(name, sha256);
} catch (error) {
  if (error instanceof ProtocolError) console.error("Not what QEMU would send:", error.message);
  else if (error instanceof VerificationError) console.error("Damaged:", error.message);
  else throw error;
  process.exitCode = 1;
}
