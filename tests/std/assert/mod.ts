/** Stand-ins for what the tests and examples use of jsr:@std/assert, over node:assert. */
import assertModule from "node:assert/strict";

export function assert(expr: unknown, msg = ""): asserts expr {
  assertModule.ok(expr, msg);
}

export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    assertModule.deepEqual(actual, expected);
  } catch (error) {
    // the difference first, as the real one has it
    if (msg !== undefined) (error as Error).message += `\n${msg}`;
    throw error;
  }
}

export function assertNotEquals<T>(actual: T, expected: T): void {
  assertModule.notDeepEqual(actual, expected);
}

export function assertMatch(actual: string, expected: RegExp): void {
  assertModule.match(actual, expected);
}

export function assertStringIncludes(actual: string, expected: string): void {
  assertModule.ok(actual.includes(expected), `"${actual}" does not include "${expected}"`);
}

// deno-lint-ignore no-explicit-any
type ErrorConstructor<E extends Error> = new (...args: any[]) => E;

function checkError<E extends Error>(
  error: unknown,
  ErrorClass: ErrorConstructor<E>,
  msgIncludes = "",
): E {
  assertModule.ok(
    error instanceof ErrorClass,
    `expected ${ErrorClass.name}, got ${(error as Error)?.name}: ${(error as Error)?.message}`,
  );
  assertStringIncludes(error.message, msgIncludes);
  return error;
}

export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): E {
  try {
    fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes);
  }
  throw new assertModule.AssertionError({
    message: msg ?? `expected ${ErrorClass.name} to be thrown`,
  });
}

export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorConstructor<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E> {
  try {
    await fn();
  } catch (error) {
    return checkError(error, ErrorClass, msgIncludes);
  }
  throw new assertModule.AssertionError({
    message: msg ?? `expected ${ErrorClass.name} to be rejected`,
  });
}
