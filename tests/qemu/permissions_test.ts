/** `multifd save` and `multifd restore` with exactly the flags that README's table gives them. */
import path from "node:path";
import fs from "node:fs";
import { assert, assertEquals, assertMatch } from "@std/assert";
import { flagsOf, runWith, withoutOne } from "../cli/_permissions.ts";
import { qemuTest } from "./_lab.ts";
import { within } from "./_wait.ts";

const version = "10.0";

qemuTest(
  version,
  "save and restore need Deno's flags of README, each of them and no others",
  async (lab) => {
    const parent = lab.path("parent");
    fs.mkdirSync(parent);
    const vm = path.join(parent, "vm");
    const run = async (
      verb: string,
      flags: string[],
      args: string[],
      missing?: string,
    ): Promise<void> => {
      const ended = runWith(flags, [verb, ...args, "--timeout", "20"]);
      const { code, stderr } = await within(`multifd ${verb} ends`, ended);
      assertEquals(code, missing === undefined ? 0 : 1, `without ${missing}: ${stderr}`);
      if (missing === undefined) return;
      assertMatch(stderr, new RegExp(`^multifd ${verb}: .*${missing}\\b`, "m"));
      assert(!/^ +at /m.test(stderr), stderr);
    };

    const source = await lab.running({ version });
    const save = ["--qmp", source.qmpSocket, "--out", vm];
    const saveFlags = flagsOf("save", { SOCKET: source.qmpSocket, PARENT: parent });
    for (const { missing, left } of withoutOne(saveFlags)) {
      await run("save", left, save, missing);
      assertEquals(await source.state(), "running");
    }
    await run("save", saveFlags, save);

    const attempts = withoutOne(flagsOf("restore", { SOCKET: "SOCKET", IMAGE: vm }));
    for (const i of [...attempts.keys(), -1]) {
      // one that was told to listen cannot try again
      const target = await lab.waiting({ version });
      const flags = flagsOf("restore", { SOCKET: target.qmpSocket, IMAGE: vm });
      const { missing, left } = withoutOne(flags)[i] ?? { left: flags };
      await run("restore", left, [vm, "--qmp", target.qmpSocket], missing);
      if (missing === undefined) await target.guestGoesOn();
    }
  },
);
