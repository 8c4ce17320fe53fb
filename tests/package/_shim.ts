/** What packaging the shim needs of the machine. */
import { spawnSync } from "node:child_process";

const HEADERS = ["isa-l/igzip_lib.h", "libdeflate.h", "zstd.h"];
const TOOLS = ["cc", "make", "readelf", "objdump", "ldd", "dpkg"];

/** Why the shim cannot be packaged here; undefined where it can. */
export function whyNotPackaged(): string | undefined {
  const tool = TOOLS.find((name) => spawnSync(name, ["--version"]).error);
  if (tool !== undefined) return `${tool} is missing`;
  const header = HEADERS.find((name) =>
    spawnSync("cc", ["-E", "-"], { input: `#include <${name}>\n` }).status !== 0
  );
  return header && `${header} is missing`;
}
