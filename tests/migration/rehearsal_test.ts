/** What a receiver does while it waits must work, or it rehearses nothing. */
import { test } from "node:test";
import { rehearse } from "../../src/migration/rehearsal.ts";

test("rehearse() receives its two pages", async () => {
  await rehearse();
});
