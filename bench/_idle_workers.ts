/** A runtime with idle workers and nothing else, for bench/growth.ts: `_idle_workers.ts COUNT`. */
import process from "node:process";

const count = Number(process.argv[2]);
let ready = 0;
for (let i = 0; i < count; i++) {
  const worker = new Worker(new URL("./_idle_worker.ts", import.meta.url), { type: "module" });
  worker.onmessage = () => {
    if (++ready === count) console.error("listening on nothing");
  };
}
