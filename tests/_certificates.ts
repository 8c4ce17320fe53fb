/** Certificates for tests, made with openssl in the file names that QEMU expects. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";

/** Why nothing can be made here; false where it can. */
export const NO_OPENSSL: string | false = spawnSync("openssl", ["version"]).status === 0
  ? false
  : "openssl is missing";

/** A certificate and its private key, files in PEM. */
export interface Identity {
  cert: string;
  key: string;
}

/** What a certificate says. */
export interface Claims {
  /** The common name. Default `test`. */
  name?: string;
  /** The hosts that a listener's is for, e.g. `IP:127.0.0.1`; without any it is a client's. */
  hosts?: string[];
  /** Whether it has expired. */
  isExpired?: boolean;
}

function openssl(...args: string[]): void {
  const { status, stderr, error } = spawnSync("openssl", args, { encoding: "utf8" });
  if (status !== 0) throw new Error(`openssl ${args[0]}: ${error?.message ?? stderr}`);
}

const NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

/** A CA of its own, in a directory of its own. */
export class Authority {
  /** Its certificate. */
  readonly cert: string;
  readonly #directory: string;
  readonly #key: string;

  constructor(directory: string) {
    fs.mkdirSync(directory);
    this.#directory = directory;
    this.cert = path.join(directory, "ca-cert.pem");
    this.#key = path.join(directory, "ca-key.pem");
    openssl(
      ...["req", "-x509", ...NEW_KEY, "-keyout", this.#key, "-out", this.cert, "-days", "2"],
      ...["-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign"],
    );
  }

  /** Signs a certificate. */
  issue({ name = "test", hosts = [], isExpired = false }: Claims): Identity {
    const side = hosts.length > 0 ? "server" : "client";
    const start = path.join(fs.mkdtempSync(path.join(this.#directory, "issued-")), side);
    const [cert, key, request, extensions] = ["-cert.pem", "-key.pem", ".csr", ".ext"]
      .map((end) => start + end) as [string, string, string, string];
    openssl("req", ...NEW_KEY, "-keyout", key, "-out", request, "-subj", `/CN=${name}`);
    const lines = ["basicConstraints=CA:false", `extendedKeyUsage=${side}Auth`];
    // QEMU wants both
    lines.push("keyUsage=critical,digitalSignature,keyEncipherment");
    if (hosts.length > 0) lines.push(`subjectAltName=${hosts.join(",")}`);
    fs.writeFileSync(extensions, lines.join("\n"));
    openssl(
      ...["x509", "-req", "-in", request, "-out", cert, "-days", isExpired ? "-1" : "2"],
      ...["-CA", this.cert, "-CAkey", this.#key, "-CAcreateserial", "-extfile", extensions],
    );
    return { cert, key };
  }

  /** A directory as QEMU wants it: one side's files, and this CA's certificate. */
  qemuFolder(identity: Identity | undefined): string {
    const folder = identity === undefined
      ? fs.mkdtempSync(path.join(this.#directory, "nobody-"))
      : path.dirname(identity.cert);
    fs.copyFileSync(this.cert, path.join(folder, "ca-cert.pem"));
    return folder;
  }
}
