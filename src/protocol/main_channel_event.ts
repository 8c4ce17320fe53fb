/** What the main channel's reader tells. */
import type { Configuration } from "./configuration.ts";
import type { SyncMode } from "./main_channel.ts";
import type { MappedPages } from "./mapped_ram.ts";
import type { RamBlock } from "./ram_packet.ts";
import type { VmTail } from "./vm_tail.ts";

/** One thing read off the main channel. */
export type MainChannelEvent =
  | ({ /** The stream's head is in. */ type: "configuration" } & Configuration)
  | { /** The source wants an answer on this connection. */ type: "return-path" }
  | { /** The source wants `value` back. */ type: "ping"; value: number }
  | { /** The source's guest has stopped. */ type: "switchover-start" }
  | (
    & { /** A mapped-ram file has a block's pages here. */ type: "mapped-pages" }
    & RamBlock
    & MappedPages
  )
  | { /** All RAM blocks are known. */ type: "blocks"; blocks: RamBlock[] }
  | {
    /** Every channel has sent, or will send, one SYNC for this marker. */
    type: "sync";
    mode: SyncMode;
    section: "start" | "part" | "end";
  }
  | { /** A page that is all zero. */ type: "zero"; block: string; offset: number }
  | { /** A page with its data. */ type: "page"; block: string; offset: number; data: Uint8Array }
  | { /** The last RAM section is over. */ type: "ram-end" }
  | { /** The stream is over and its tail is whole. */ type: "end"; tail: VmTail };
