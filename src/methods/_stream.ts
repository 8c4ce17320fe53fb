/** What zlib, zstd and qatzip share: a packet's pages are one piece of payload. */
import type { CodecFormat, Engine } from "../engines/engine.ts";
import { checkStreamPayloadSize, type Method, type MethodContext } from "./method.ts";

/** Makes a method whose payload is what one codec makes of all pages. */
export function streamMethod(
  name: string,
  flag: number,
  format: CodecFormat,
  levels: NonNullable<Method["levels"]>,
): Method {
  return {
    name,
    flag,
    levels,
    format,
    checkPayloadSize: checkStreamPayloadSize,
    sendSetup(context) {
      const encoder = engineOf(name, context).packetEncoder(format, context);
      return {
        prepare: (pages, out) => encoder.encode(pages, out),
        counts: () => encoder.counts?.(),
        cleanup: () => encoder.close(),
      };
    },
    receiveSetup(context) {
      const decoder = engineOf(name, context).packetDecoder(format, context);
      return {
        receive: (payload, pages) => decoder.decode(payload, pages),
        counts: () => decoder.counts?.(),
        cleanup: () => decoder.close(),
      };
    },
  };
}

/** The context's engine, which every compressing method needs. */
export function engineOf(method: string, context: MethodContext): Engine {
  if (context.engine === undefined) throw new TypeError(`Method ${method} needs an engine`);
  return context.engine;
}
