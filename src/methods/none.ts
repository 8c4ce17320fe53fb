/** Method `none`: pages as they are, in offset order. */
import { ProtocolError } from "../errors.ts";
import type { Method } from "./method.ts";

/** Pages travel uncompressed. */
export const none: Method = {
  name: "none",
  flag: 0x00,
  levels: undefined,
  format: undefined,
  checkPayloadSize(size, normalPages, pageSize) {
    if (size === normalPages * pageSize) return;
    throw new ProtocolError("Payload has a wrong size", {
      expected: normalPages * pageSize,
      received: size,
    });
  },
  sendSetup: () => ({
    prepare(pages, out) {
      out.set(pages);
      return pages.length;
    },
    cleanup() {},
  }),
  receiveSetup: () => ({
    receive(payload, pages) {
      pages.set(payload);
    },
    cleanup() {},
  }),
};
