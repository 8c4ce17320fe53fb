/**
 * Receives one migration into a directory; Ctrl-C gives up and leaves nothing behind.
 *
 * deno run --allow-net --allow-read=. --allow-write=. examples/receive.ts 127.0.0.1:4444 saved-vm
 */
import process from "node:process";
import { receive } from "@multifd/multifd";

const [listen, into] = process.argv.slice(2);
if (listen === undefined || into === undefined) throw new Error("Usage: receive.ts ADDRESS DIR");

const cancel = new AbortController();
process.once("SIGINT", () => cancel.abort());

const vm = await receive({
  listen,
  into,
  signal: cancel.signal,
  onEvent: (event) => {
    if (event.type === "listening") console.error(`listening on ${event.address}`);
  },
});
for (const { name, usedLength, sha256 } of vm.blocks) console.log(name, usedLength, sha256);
