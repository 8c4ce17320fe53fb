/** A worker that does nothing but stay. */
const thread = globalThis as unknown as Pick<Worker, "onmessage" | "postMessage">;
// a worker that listens stays
thread.onmessage = () => {};
thread.postMessage("ready");
