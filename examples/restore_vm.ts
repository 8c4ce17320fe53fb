/**
 * Restores a saved guest into a QEMU that was started like the old one, with `-incoming defer`.
 *
 * deno run -A examples/restore_vm.ts saved-vm /run/new.qmp
 */
import process from "node:process";
import { restoreVm } from "@multifd/multifd";

const [image, qmp] = process.argv.slice(2);
if (image === undefined || qmp === undefined) throw new Error("Usage: restore_vm.ts DIR QMP");

const { sent, guest } = await restoreVm({ image, qmp, channels: 4 });
console.log(`${sent.ram.total} bytes of RAM; the guest is ${guest.after}`);
