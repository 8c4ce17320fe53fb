/**
 * Sends an image to whoever listens, and tells how it goes.
 *
 * deno run --allow-net --allow-read examples/send.ts guest.ram 127.0.0.1:4444
 */
import process from "node:process";
import { PeerClosedError, send } from "@multifd/multifd";

const [image, to] = process.argv.slice(2);
if (image === undefined || to === undefined) throw new Error("Usage: send.ts IMAGE ADDRESS");

try {
  const info = await send({
    image,
    to,
    method: "zstd",
    channels: 4,
    onEvent: (event) => {
      if (event.type === "progress") console.error(`${event.pages} of ${event.totalPages} pages`);
    },
  });
  console.log(
    `${info.ram.total} bytes of RAM, ${info.ram.transferred} sent, engine ${info.engine}`,
  );
} catch (error) {
  // every error is a class of its own, with its facts as fields
  if (!(error instanceof PeerClosedError)) throw error;
  console.error(`Nobody takes it: ${error.facts.code}`);
  process.exitCode = 1;
}
