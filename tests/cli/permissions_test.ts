/** Each verb with exactly the flags that README's table gives it, and with one of them missing. */
import fs from "node:fs";
import net from "node:net";
import path from "node:path";
import { test } from "node:test";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { receive } from "../../mod.ts";
import { denoPath, root } from "../_tools.ts";
import { Authority, NO_OPENSSL } from "../_certificates.ts";
import { lastingDirectory, mixedPages } from "../migration/_migrate.ts";
import { here, type Outcome, start } from "./_command.ts";
import { flagsOf, runWith, withoutOne } from "./_permissions.ts";

const directory = lastingDirectory();

/** A directory of its own for each file that a flag may name: none gets what another has. */
function place(name: string): string {
  const folder = path.join(directory, name);
  fs.mkdirSync(folder, { recursive: true });
  return folder;
}

const image = path.join(place("image"), "guest.ram");
fs.writeFileSync(image, mixedPages(64, 4096, 1));
const saved = path.join(place("saved"), "vm");
const recording = path.join(place("recording"), "all");

/** What a verb is called with, and what README's placeholders stand for. */
interface Use {
  use: string;
  run(flags: string[]): Promise<Outcome>;
  where: Record<string, string>;
  /** Why it cannot be tried here. */
  skip?: string | false;
}

let count = 0;
/** A path where nothing is yet, in a directory of its own. */
const fresh = (parent: string): string => path.join(parent, `out${count++}`);

/** A recv with those flags, and a send that may do anything; or the other way round. */
async function migrate(
  flags: string[],
  verb: "send" | "recv",
  args: string[],
  peersArgs: string[] = [],
): Promise<Outcome> {
  if (verb === "recv") {
    return await runWith(
      flags,
      ["recv", "--channels", "1", "--timeout", "20", ...args],
      (address) => {
        start(here, ["send", image, "--to", address, "--channels", "1", ...peersArgs]);
      },
    );
  }
  const out = fresh(place("other"));
  const recv = start(here, ["recv", out, "--channels", "1", ...peersArgs]);
  const address = await recv.line(/^listening on (.*)$/);
  const outcome = await runWith(flags, [
    "send",
    image,
    "--to",
    address!,
    "--channels",
    "1",
    ...args,
  ]);
  if (outcome.code === 0) await recv.outcome;
  else recv.child.kill("SIGKILL");
  return outcome;
}

const PARENT = place("parent");
const RECORD = place("record");
const HOST = "127.0.0.1";

const report = path.join(place("report"), "advice.html");

/** A PEM file in a directory of its own. */
const pem = (name: string): string => path.join(place(name), `${name}.pem`);
const showing = ["--tls-cert", pem("cert"), "--tls-key", pem("key")];
if (!NO_OPENSSL && here === "bun") {
  const authority = new Authority(path.join(directory, "authority"));
  const { cert, key } = authority.issue({ hosts: ["IP:127.0.0.1"] });
  for (const [name, file] of Object.entries({ ca: authority.cert, cert, key })) {
    fs.copyFileSync(file, pem(name));
  }
}

const USES: Use[] = [
  { use: "send", where: { HOST, IMAGE: image }, run: (flags) => migrate(flags, "send", []) },
  {
    use: "recv",
    where: { HOST, PARENT },
    run: (flags) => migrate(flags, "recv", [fresh(PARENT)]),
  },
  {
    use: "recv --record",
    where: { HOST, PARENT, RECORD },
    run: (flags) => migrate(flags, "recv", [fresh(PARENT), "--record", fresh(RECORD)]),
  },
  { use: "inspect", where: { PATH: saved }, run: (flags) => runWith(flags, ["inspect", saved]) },
  {
    use: "inspect --extract",
    where: { PATH: recording, PARENT },
    run: (flags) => runWith(flags, ["inspect", recording, "--extract", fresh(PARENT)]),
  },
  {
    use: "convert",
    where: { PATH: saved, PARENT },
    run: (flags) =>
      runWith(flags, ["convert", saved, "--out", fresh(PARENT), "--format", "mapped-ram"]),
  },
  {
    use: "advise --quick",
    where: { PATH: image },
    run: (flags) =>
      runWith(flags, ["advise", image, "--quick", "--method", "none", "--sample", "1M"]),
  },
  {
    use: "advise --report",
    where: { PATH: image, FILE: report },
    run: (flags) =>
      runWith(flags, [
        ...["advise", image, "--quick", "--method", "none", "--sample", "1M"],
        ...["--report", report],
      ]),
  },
  {
    use: "send --tls-ca",
    where: { HOST, IMAGE: image, PEM: pem("ca") },
    skip: NO_OPENSSL,
    run: (flags) => migrate(flags, "send", ["--tls-ca", pem("ca")], showing),
  },
  {
    use: "recv --tls-cert",
    where: { HOST, PARENT, CERT: pem("cert"), KEY: pem("key") },
    skip: NO_OPENSSL,
    run: (flags) => migrate(flags, "recv", [fresh(PARENT), ...showing], ["--tls-ca", pem("ca")]),
  },
  { use: "completion", where: {}, run: (flags) => runWith(flags, ["completion", "bash"]) },
];

const skip = denoPath() === undefined ? "no Deno" : false;
/** Once is enough, whichever runtime runs the tests: Bun's runner is done sooner. */
function once(name: string, run: () => Promise<void>, whyNot: string | false = skip): void {
  if (here === "bun") test(name, { skip: whyNot }, run);
}

once("a VM and a recording are there to be looked at", async () => {
  await receive({
    listen: "127.0.0.1:0",
    into: saved,
    record: recording,
    onEvent: (event) => {
      if (event.type === "listening") start(here, ["send", image, "--to", event.address]);
    },
  });
});

for (const { use, where, run, skip: whyNot = false } of USES) {
  once(
    `multifd ${use} needs Deno's flags of README, each of them and no others`,
    async () => {
      const flags = flagsOf(use, where);
      const without = withoutOne(flags).map(({ missing, left }) => ({ missing, end: run(left) }));
      const { code, stderr } = await run(flags);
      assertEquals(code, 0, stderr);
      for (const { missing, end } of without) {
        const { code, stderr } = await end;
        assertEquals(code, 1, `without ${missing}: ${stderr}`);
        assertMatch(stderr, new RegExp(`^multifd ${use.split(" ")[0]}: .*${missing}\\b`, "m"));
        assert(!/^ +at /m.test(stderr), stderr);
      }
    },
    skip || whyNot,
  );
}

/** The shim's own, beside a verb's; `--transport native` says what it lacks. */
const shim = (where: Record<string, string>, use: string): string[] => {
  const DIRECTORY = path.join(root, "native-shim", "build");
  const merged = new Map<string, string>();
  for (
    const flag of [...flagsOf(use, where), ...flagsOf("the shim", { DIRECTORY, PACKAGE: root })]
  ) {
    const [name, list] = flag.split("=") as [string, string];
    merged.set(name, merged.has(name) ? `${merged.get(name)},${list}` : list);
  }
  return [...merged].map(([name, list]) => `${name}=${list}`);
};

once("multifd send and recv on native sockets need the shim's flags, too", async () => {
  const recv = (flags: string[]): Promise<Outcome> =>
    migrate(flags, "recv", [fresh(PARENT), "--transport", "native"]);
  const send = (flags: string[]): Promise<Outcome> =>
    migrate(flags, "send", ["--transport", "native"]);
  for (
    const [run, use, where] of [
      [recv, "recv", { HOST, PARENT }],
      [send, "send", { HOST, IMAGE: image }],
    ] as const
  ) {
    const flags = shim(where, use);
    const { code, stdout, stderr } = await run(flags);
    assertEquals(code, 0, stderr);
    assertMatch(stdout, /transport native/);
    const withoutShim = await run(flagsOf(use, where));
    assertEquals(withoutShim.code, 1);
    assertMatch(withoutShim.stderr, /--allow-(ffi|read)/);
  }
});

once(
  "a run without --allow-net for that host refuses before it connects or listens",
  async () => {
    let connections = 0;
    const server = net.createServer((socket) => {
      connections++;
      socket.destroy();
    });
    await new Promise<void>((resolve) => server.listen(0, HOST, resolve));
    const { port } = server.address() as net.AddressInfo;
    const elsewhere = { HOST: "192.0.2.1", IMAGE: image, PARENT };
    const socket = path.join(place("sockets"), "recv.sock");
    for (const transport of ["native", "runtime"]) {
      const args = ["--transport", transport];
      const to = ["--to", `${HOST}:${port}`];
      for (
        const { code, stderr } of await Promise.all([
          runWith(shim(elsewhere, "send"), ["send", image, ...to, ...args]),
          runWith(shim(elsewhere, "recv"), ["recv", fresh(PARENT), ...args]),
          runWith(shim(elsewhere, "recv"), [
            "recv",
            fresh(PARENT),
            "--listen",
            `unix:${socket}`,
            ...args,
          ]),
        ])
      ) {
        assertEquals(code, 1, stderr);
        assertMatch(
          stderr,
          new RegExp(`^multifd (send|recv): .*net access to .*(127|unix).*--allow-net`, "m"),
        );
        assert(!stderr.includes("listening on"), stderr);
      }
    }
    assertEquals(connections, 0);
    assert(!fs.existsSync(socket));
    server.close();
  },
);
