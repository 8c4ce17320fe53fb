/** The two ends of a measured migration, each `multifd` or a QEMU, in fresh processes. */
import fs from "node:fs";
import path from "node:path";
import {
  type Ends,
  type Figures,
  migrationCpu,
  recvCommand,
  type Running,
  sendCommand,
  start,
  wholeTime,
} from "./_process.ts";
import { BLOCK, destinationArgs, Qemu, type QemuProgram, sourceArgs } from "./_qemu.ts";

/** What one end measured. */
export interface EndFigures {
  /** From the first connection to all pages held, in milliseconds; a QEMU destination has none. */
  time?: number;
  /** To the destination's word that all is well, in milliseconds. */
  wholeTime?: number;
  /** CPU seconds without start-up. */
  cpu: number;
  /** Bytes on the wire; a QEMU destination tells none. */
  bytes?: number;
  /** All it said. */
  said: object;
}

/** The end that sends. */
export interface SendingEnd {
  /** Makes everything ready. */
  prepare(): Promise<void>;
  /** Migrates. */
  send(to: string): Promise<EndFigures>;
  /** Ends its process. */
  close(): Promise<void>;
}

/** The end that receives. */
export interface ReceivingEnd {
  /** Makes everything ready; returns the address. */
  listen(): Promise<string>;
  /** Waits for the migration's end. */
  received(): Promise<EndFigures>;
  /** Ends its process. */
  close(): Promise<void>;
}

function figuresOf(figures: Figures): EndFigures {
  return {
    time: figures["total-time"],
    wholeTime: wholeTime(figures),
    cpu: migrationCpu(figures),
    bytes: figures.ram.transferred!,
    said: figures,
  };
}

/** `multifd send`. */
export class OurSource implements SendingEnd {
  readonly #runtime: string;
  readonly #image: string;
  readonly #ends: Ends;

  constructor(runtime: string, image: string, ends: Ends) {
    this.#runtime = runtime;
    this.#image = image;
    this.#ends = ends;
  }

  async prepare(): Promise<void> {}

  async send(to: string): Promise<EndFigures> {
    const command = sendCommand(this.#runtime, [this.#image], to, this.#ends);
    return figuresOf(await start(command).figures);
  }

  async close(): Promise<void> {}
}

/** `multifd recv`. */
export class OurDestination implements ReceivingEnd {
  readonly #running: Running;

  constructor(runtime: string, out: string, ends: Ends, hash: "sha256" | "none") {
    this.#running = start(recvCommand(runtime, out, ends, hash));
  }

  listen(): Promise<string> {
    return this.#running.listening;
  }

  async received(): Promise<EndFigures> {
    return figuresOf(await this.#running.figures);
  }

  async close(): Promise<void> {
    this.#running.child.kill();
    await this.#running.figures.catch(() => {});
  }
}

/** A QEMU whose guest's RAM is an image. */
export class QemuSource implements SendingEnd {
  readonly #qemu: Qemu;
  readonly #ends: Ends;

  constructor(program: QemuProgram, image: string, ends: Ends) {
    this.#qemu = new Qemu(program, sourceArgs(image));
    this.#ends = ends;
  }

  async prepare(): Promise<void> {
    await this.#qemu.configure(this.#ends.method, this.#ends.channels);
  }

  async send(to: string): Promise<EndFigures> {
    const before = this.#qemu.cpuSeconds();
    await this.#qemu.execute("migrate", { uri: `tcp:${to}` });
    const figures = await this.#qemu.completed();
    return {
      time: figures["total-time"],
      wholeTime: figures["total-time"],
      cpu: this.#qemu.cpuSeconds() - before,
      bytes: figures.ram.transferred,
      said: figures,
    };
  }

  async close(): Promise<void> {
    await this.#qemu.quit();
  }
}

/** A QEMU that waits for its guest; its RAM is the file that `multifd recv` makes, or memory. */
export class QemuDestination implements ReceivingEnd {
  readonly #qemu: Qemu;
  readonly #ends: Ends;
  #before = 0;

  constructor(program: QemuProgram, size: number, out: string | undefined, ends: Ends) {
    if (out !== undefined) fs.mkdirSync(out);
    const file = out === undefined ? undefined : path.join(out, BLOCK);
    this.#qemu = new Qemu(program, destinationArgs(size, file));
    this.#ends = ends;
  }

  async listen(): Promise<string> {
    await this.#qemu.configure(this.#ends.method, this.#ends.channels);
    const port = await this.#qemu.listen();
    this.#before = this.#qemu.cpuSeconds();
    return `127.0.0.1:${port}`;
  }

  async received(): Promise<EndFigures> {
    const said = await this.#qemu.completed();
    return { cpu: this.#qemu.cpuSeconds() - this.#before, said };
  }

  async close(): Promise<void> {
    await this.#qemu.quit();
  }
}
