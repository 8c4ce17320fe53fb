/** Listening with the shim's sockets, in a thread that may not block. */
import { errorName, nativeIo } from "../../ffi/io.ts";
import { nodeFs } from "../builtin_modules.ts";
import { PeerClosedError } from "../errors.ts";
import { type Address, formatAddress, isLocal } from "./address.ts";
import type { Connection, Listener } from "./connection.ts";
import { nativePlace, PolledConnection, SHUTDOWN_BOTH, sleep } from "./native.ts";

/**
 * How long it sleeps until it looks for connections, in milliseconds: at first, since a peer's
 * others come right behind its first, and at most.
 */
const ACCEPT_MS = 1;
const MAX_ACCEPT_MS = 100;
/** What part of the time since it began, or somebody came, it lets pass until it looks again. */
const IDLE_PART = 1 / 16;
/**
 * How long nothing may arrive before a listener counts as drained, in milliseconds. On this
 * machine a connection that a peer has opened is there, and only its turn has to come.
 */
const DRAIN_MS = 50;
const LOCAL_DRAIN_MS = 5;
/** After so many such times it does, whoever still comes: a source has connected long before. */
const MAX_LOOKS = 40;
/** Most connections that are taken before anything else has its turn. */
const ACCEPT_AT_ONCE = 64;
/** What passes by itself: this process or the system has too much open just now. */
const NO_ROOM = ["EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"];

/**
 * Blocks in another thread until a listening socket has a connection or is shut down.
 *
 * @param socket The listening socket.
 * @param begin Asked right before whether it still shall.
 */
export type Watch = (socket: number, begin: () => boolean) => Promise<void>;

/**
 * Listens on an address, with sockets that can be handed to workers.
 *
 * @param address Where; port 0 takes any.
 * @param onConnection Gets each connection.
 * @param onError Gets an error of the listener itself.
 * @param watch A thread that waits for the first connection; without one, somebody looks now and
 *   then.
 * @throws {PeerClosedError} If the address cannot be had.
 */
export function listenNatively(
  address: Address,
  onConnection: (connection: Connection) => void,
  onError: (error: Error) => void,
  watch?: Watch,
): Listener & { stopWatching(): void } {
  const io = nativeIo();
  const fd = io.net_listen(...nativePlace(address));
  const failed = (result: number): PeerClosedError =>
    new PeerClosedError(`Cannot listen on ${formatAddress(address)}`, { code: errorName(result) });
  if (fd < 0) throw failed(fd);
  const drainTime = isLocal(address) ? LOCAL_DRAIN_MS : DRAIN_MS;
  let accepted = 0;
  let since = performance.now();
  let isClosed = false;
  /** Takes who waits. */
  const acceptSome = (): void => {
    for (let i = 0; i < ACCEPT_AT_ONCE && !isClosed; i++) {
      const connection = io.net_accept(fd);
      if (connection >= 0) {
        since = performance.now();
        onConnection(new PolledConnection(connection, `connection ${accepted++}`));
        continue;
      }
      const code = errorName(connection);
      if (code !== "EAGAIN" && !NO_ROOM.includes(code)) onError(failed(connection));
      return;
    }
  };
  const accept = (): void => {
    acceptSome();
    if (isClosed) return;
    const patience = Math.min(IDLE_PART * (performance.now() - since), MAX_ACCEPT_MS);
    timer = setTimeout(accept, Math.max(patience, ACCEPT_MS));
  };
  let timer = setTimeout(accept, ACCEPT_MS);
  /** A thread blocks on the socket, and nobody looks. */
  let isWatched = false;
  const begin = (): boolean => {
    if (isClosed || accepted > 0) return false;
    clearTimeout(timer);
    return isWatched = true;
  };
  watch?.(fd, begin).then(() => {
    if (!isWatched) return;
    isWatched = false;
    if (isClosed) io.io_close(fd);
    else accept();
  });
  const actual = "path" in address ? address : { ...address, port: io.net_port(fd) };
  return {
    address: formatAddress(actual),
    async drain() {
      for (let before = -1, looks = 0; before !== accepted && looks < MAX_LOOKS; looks++) {
        before = accepted;
        await sleep(drainTime);
        // the timer may be more patient than this
        acceptSome();
      }
    },
    stopWatching() {
      if (isWatched) io.net_shutdown(fd, SHUTDOWN_BOTH);
    },
    close() {
      isClosed = true;
      clearTimeout(timer);
      // the thread that blocks on it wakes, and only then is its number free
      if (isWatched) this.stopWatching();
      else io.io_close(fd);
      if ("path" in address) removeSocket(address.path);
    },
  };
}

/** As the runtime's listeners do; a name that is still there could not be listened on again. */
function removeSocket(path: string): void {
  try {
    nodeFs().rmSync(path, { force: true });
  } catch {
    // Deno did not grant it
  }
}
