/**
 * QEMU's multifd live migration outside QEMU: save, restore, send, receive, inspect and
 * verify a VM's memory over N parallel channels, in all of QEMU's compression methods.
 * RAM and device state only, no disks.
 *
 * @example Receive a VM into a directory
 * ```ts no-eval
 * import { receive } from "@multifd/multifd";
 *
 * const vm = await receive({ listen: "127.0.0.1:4444", into: "guest" });
 * console.log(vm.machine, vm.blocks);
 * ```
 *
 * @example Save a QEMU's guest and restore it into another QEMU
 * ```ts no-eval
 * import { restoreVm, saveVm } from "@multifd/multifd";
 *
 * await saveVm({ qmp: "/run/vm.qmp", into: "saved-vm" });
 * await restoreVm({ image: "saved-vm", qmp: "/run/new.qmp" });
 * ```
 *
 * @module
 */
export * from "./src/errors.ts";
export { send, type SendOptions } from "./src/migration/send.ts";
export { receive, type ReceiveOptions } from "./src/migration/receive.ts";
export {
  type GuestStates,
  type QemuEvent,
  type SavedVm,
  type SaveOptions,
  saveVm,
} from "./src/qemu/save.ts";
export { type RestoredVm, type RestoreOptions, restoreVm } from "./src/qemu/restore.ts";
export type { QemuMigration } from "./src/qemu/migration_status.ts";
export {
  type DirectoryReport,
  inspect,
  type InspectOptions,
  type MappedRamBlock,
  type MappedRamReport,
  type RecordingReport,
} from "./src/migration/inspect.ts";
export * from "./src/inspect/mod.ts";
export { convert, type Converted, type ConvertOptions } from "./src/migration/convert.ts";
export type { ReadingOptions } from "./src/migration/reading.ts";
export type {
  EventHandler,
  Metrics,
  MigrationEvent,
  MigrationInfo,
  Progress,
  RamInfo,
  Received,
} from "./src/migration/info.ts";
export * from "./src/advise/mod.ts";
export type { ZeroPages } from "./src/channels/sending_channel.ts";
export type { Transport } from "./src/migration/transports.ts";
export type { TlsOptions } from "./src/transport/tls_credentials.ts";
export type { ChannelCounters } from "./src/channels/counters.ts";
export type { ImageFormat } from "./src/ram/image_format.ts";
export { type BlockMemory, MemoryImage, type MemoryImageOptions } from "./src/ram/memory_image.ts";
export type { ManifestCounters, ManifestSource, RoundPages } from "./src/ram/manifest.ts";
export type {
  FinishedBlock,
  RamSource,
  RamTarget,
  ReceivedVm,
  SharedFile,
  SharedPiece,
  SharedPresentPages,
  SharedRam,
} from "./src/ram/target.ts";
export { engineNames } from "./src/engines/select.ts";
export type { SyncMode } from "./src/protocol/main_channel.ts";
export type { RamBlock } from "./src/protocol/ram_packet.ts";
export type { DeviceState, VmTail } from "./src/protocol/vm_tail.ts";
export { methodNames, registerMethod } from "./src/methods/registry.ts";
export type { Method, MethodContext, MethodReceiver, MethodSender } from "./src/methods/method.ts";
export type {
  CodecFault,
  CodecFormat,
  CodecOptions,
  Engine,
  EngineCounts,
  PacketDecoder,
  PacketEncoder,
  PageDecoder,
  PageEncoder,
} from "./src/engines/engine.ts";
export { CodecError } from "./src/engines/engine.ts";
export type { MaybePromise } from "./src/maybe_promise.ts";
