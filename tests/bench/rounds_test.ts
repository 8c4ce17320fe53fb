import { test } from "node:test";
import { assertEquals } from "@std/assert";
import { interleave, type Move, type Program } from "../../bench/_rounds.ts";

const MOVE: Move = {
  time: 1,
  wholeTime: 1,
  sendCpu: 1,
  receiveCpu: 1,
  bytes: 1,
  sent: {},
  received: {},
};

function makePrograms(method: string, count: number, ran: string[]): Program[] {
  return Array.from({ length: count }, (_, i) => ({
    method,
    channels: 2,
    name: `${method} ${i}`,
    run() {
      ran.push(`${method} ${i}`);
      return Promise.resolve(MOVE);
    },
  }));
}

for (const count of [3, 4, 7]) {
  test(`interleave() has each of ${count} programs behind each other twice in ${2 * count} rounds`, async () => {
    const ran: string[] = [];
    const runs = await interleave(makePrograms("none", count, ran), 2 * count);
    const followers = new Map<string, number>();
    const counted = ran.slice(count);
    for (let i = 0; i < counted.length; i++) {
      if (i % count === 0) continue;
      const pair = `${counted[i - 1]} > ${counted[i]}`;
      followers.set(pair, (followers.get(pair) ?? 0) + 1);
    }
    assertEquals(followers.size, count * (count - 1));
    assertEquals([...new Set(followers.values())], [2]);
    // as given, whatever the order was, and each round once
    const rounds = Array.from({ length: 2 * count }, (_, i) => i + 1);
    assertEquals(
      runs.map(({ program, round }) => `${program}, ${round}`),
      Array.from({ length: count }, (_, i) => rounds.map((round) => `none ${i}, ${round}`)).flat(),
    );
  });
}

test("interleave() keeps the programs of a method together", async () => {
  const ran: string[] = [];
  await interleave([...makePrograms("none", 3, ran), ...makePrograms("zstd", 3, ran)], 1);
  const methods = ran.map((name) => name.split(" ")[0]).join(" ");
  assertEquals(methods, "none none none zstd zstd zstd none none none zstd zstd zstd");
});
