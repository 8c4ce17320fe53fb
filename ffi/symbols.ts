/** The shim's functions as data, in the words of Deno.dlopen; ffi/open.ts renders them for Bun. */

/** Types that cross the boundary: numbers, 64-bit numbers as bigint, views of memory. */
export type NativeType = "i32" | "u32" | "i64" | "u64" | "f64" | "buffer" | "void";

/** A function of the shim. */
export interface NativeFunction {
  /** Its parameters' types. */
  readonly parameters: readonly NativeType[];
  /** Its result's type. */
  readonly result: NativeType;
}

/** Functions of a shared object, by name. */
export type NativeSymbols = Readonly<Record<string, NativeFunction>>;

/** The ABI of codec.h that is expected: CODEC_ABI. */
export const CODEC_ABI = 2;

/** codec.h. */
export const CODEC_SYMBOLS = {
  codec_abi: { parameters: [], result: "u32" },
  codec_probe: { parameters: [/* text */ "buffer", /* room */ "u32"], result: "u32" },
  codec_device: { parameters: [], result: "i32" },
  codec_open: {
    parameters: [
      /* format */ "u32",
      /* direction */ "u32",
      /* page_size */ "u32",
      /* level */ "i32",
      /* flags */ "u32",
    ],
    result: "u64",
  },
  codec_encode: {
    parameters: [
      /* codec */ "u64",
      /* pages */ "buffer",
      /* size */ "u32",
      /* out */ "buffer",
      /* room */ "u32",
      /* lengths */ "buffer",
    ],
    result: "i32",
  },
  codec_decode: {
    parameters: [
      /* codec */ "u64",
      /* in */ "buffer",
      /* size */ "u32",
      /* lengths */ "buffer",
      /* out */ "buffer",
      /* out_size */ "u32",
      /* fault */ "buffer",
    ],
    result: "i32",
  },
  codec_stats: { parameters: [/* codec */ "u64", /* counts */ "buffer"], result: "void" },
  codec_reset: { parameters: [/* codec */ "u64"], result: "void" },
  codec_close: { parameters: [/* codec */ "u64"], result: "void" },
} as const satisfies NativeSymbols;

/** The ABI of io.h that is expected: IO_ABI. */
export const IO_ABI = 9;

/** io.h. */
export const IO_SYMBOLS = {
  io_abi: { parameters: [], result: "u32" },
  io_error_name: {
    parameters: [/* error */ "i32", /* text */ "buffer", /* room */ "u32"],
    result: "void",
  },
  thread_begin: { parameters: [], result: "i32" },
  thread_is_alive: { parameters: [/* id */ "i32"], result: "i32" },
  net_listen: { parameters: [/* host */ "buffer", /* port */ "i32"], result: "i32" },
  net_port: { parameters: [/* fd */ "i32"], result: "i32" },
  net_pair: { parameters: [/* fds */ "buffer"], result: "i32" },
  net_accept: { parameters: [/* fd */ "i32"], result: "i32" },
  net_connect: {
    parameters: [/* host */ "buffer", /* port */ "i32", /* timeout_ms */ "i32"],
    result: "i32",
  },
  net_connect_begin: { parameters: [/* host */ "buffer", /* port */ "i32"], result: "i32" },
  net_connect_end: { parameters: [/* fd */ "i32"], result: "i32" },
  net_recv: {
    parameters: [
      /* fd */ "i32",
      /* into */ "buffer",
      /* size */ "u32",
      /* ahead */ "buffer",
      /* room */ "u32",
    ],
    result: "i32",
  },
  net_recv_some: {
    parameters: [/* fd */ "i32", /* into */ "buffer", /* size */ "u32"],
    result: "i32",
  },
  net_send: {
    parameters: [
      /* fd */ "i32",
      /* first */ "buffer",
      /* first_size */ "u32",
      /* second */ "buffer",
      /* second_size */ "u32",
    ],
    result: "i32",
  },
  net_poll: {
    parameters: [
      /* fds */ "buffer",
      /* count */ "u32",
      /* for_sending */ "u32",
      /* waits */ "u32",
      /* ready */ "buffer",
    ],
    result: "i32",
  },
  net_send_some: {
    parameters: [/* fd */ "i32", /* bytes */ "buffer", /* size */ "u32"],
    result: "i32",
  },
  net_send_pages: {
    parameters: [
      /* fd */ "i32",
      /* header */ "buffer",
      /* header_size */ "u32",
      /* pages */ "buffer",
      /* ordinals */ "buffer",
      /* count */ "u32",
      /* page_size */ "u32",
    ],
    result: "i32",
  },
  net_shutdown: { parameters: [/* fd */ "i32", /* how */ "i32"], result: "i32" },
  file_open: { parameters: [/* path */ "buffer", /* for_writing */ "u32"], result: "i32" },
  file_read: {
    parameters: [/* fd */ "i32", /* into */ "buffer", /* size */ "u32", /* offset */ "f64"],
    result: "i32",
  },
  file_next_data: { parameters: [/* fd */ "i32", /* offset */ "f64"], result: "f64" },
  file_write_pages: {
    parameters: [
      /* fd */ "i32",
      /* pages */ "buffer",
      /* offsets */ "buffer",
      /* count */ "u32",
      /* page_size */ "u32",
    ],
    result: "i32",
  },
  pages_sort: {
    parameters: [
      /* pages */ "buffer",
      /* count */ "u32",
      /* page_size */ "u32",
      /* first */ "f64",
      /* ordinals */ "buffer",
      /* offsets */ "buffer",
    ],
    result: "i32",
  },
  offsets_read: {
    parameters: [
      /* from */ "buffer",
      /* count */ "u32",
      /* page_size */ "u32",
      /* used_length */ "f64",
      /* into */ "buffer",
    ],
    result: "i32",
  },
  offsets_write: {
    parameters: [/* offsets */ "buffer", /* count */ "u32", /* into */ "buffer"],
    result: "i32",
  },
  pages_mark: {
    parameters: [
      /* words */ "buffer",
      /* word_count */ "u32",
      /* offsets */ "buffer",
      /* count */ "u32",
      /* page_size */ "u32",
      /* again */ "buffer",
    ],
    result: "i32",
  },
  bytes_to_aligned: { parameters: [/* bytes */ "buffer", /* unit */ "u32"], result: "u32" },
  io_close: { parameters: [/* fd */ "i32"], result: "i32" },
} as const satisfies NativeSymbols;
