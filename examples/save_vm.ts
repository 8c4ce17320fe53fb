/**
 * Saves the guest of a running QEMU, looks at what was saved, and lets the guest go on.
 * RAM and device state only: disks are not part of it.
 *
 * deno run -A examples/save_vm.ts /run/vm.qmp saved-vm
 */
import process from "node:process";
import { inspect, QemuError, saveVm } from "@multifd/multifd";

const [qmp, into] = process.argv.slice(2);
if (qmp === undefined || into === undefined) throw new Error("Usage: save_vm.ts QMP DIR");

try {
  const { received, qemu, guest } = await saveVm({ qmp, into, method: "zlib", resume: true });
  console.log(`${received.machine}, ${received.ram.transferred} bytes on the wire`);
  console.log(`QEMU waited ${qemu.downtime} ms; the guest is ${guest.after}`);
} catch (error) {
  // the guest goes on as before, and QEMU has its settings back
  if (!(error instanceof QemuError)) throw error;
  console.error(`QEMU refuses: ${error.message}`);
  process.exit(1);
}

const { blocks, tail } = await inspect(into);
console.log(`${blocks.length} RAM blocks verified, ${tail.devices.length} devices`);
