/**
 * What can compute each method on this machine, and what one of them makes of an image.
 *
 * deno run -A examples/choose_engine.ts zlib
 */
import process from "node:process";
import { engineNames, EngineUnavailableError, MemoryImage, receive, send } from "@multifd/multifd";

const method = process.argv[2] ?? "zlib";
const text = new TextEncoder().encode("a guest's memory, some of it ".repeat(200_000));
const length = 4 * 1024 * 1024;

for (const engine of engineNames()) {
  const { promise: address, resolve: listening } = Promise.withResolvers<string>();
  const stop = new AbortController();
  const received = receive({
    listen: "127.0.0.1:0",
    into: new MemoryImage({}),
    signal: stop.signal,
    onEvent: (event) => event.type === "listening" && listening(event.address),
  });
  try {
    const image = new MemoryImage({ "pc.ram": text.slice(0, length) });
    const info = await send({ image, to: await address, method, engine });
    console.log(
      `${engine.padEnd(11)} ${info.ram.transferred} bytes for ${length} (${info.engine})`,
    );
  } catch (error) {
    if (!(error instanceof EngineUnavailableError)) throw error;
    console.log(`${engine.padEnd(11)} ${error.summary.split(/[;\n]/)[0]}`);
    stop.abort();
  }
  await Promise.allSettled([received]);
}
