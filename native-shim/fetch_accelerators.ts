/**
 * Fetches libqpl and libqatzip where the system has none, for the shim to be built with:
 * `deno task fetch:accelerators`, or under Bun `bun native-shim/fetch_accelerators.ts`.
 *
 * They are Debian's packages of newer suites, by the mirror and the keys of this machine's
 * own apt, unpacked into `native-shim/vendor/`. Nothing is installed, and apt's own state stays
 * as it is. Needs no root.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const vendor = path.join(here, "vendor");
const LIBRARY_FOLDER = "usr/lib/x86_64-linux-gnu";
const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

/** What is fetched together, where the system or the vendor folder has no such files. */
interface Library {
  name: string;
  /** Files that show that the system has it. */
  system: string[];
  /** Files that show that it was fetched. */
  fetched: string[];
  /** Debian's packages, with their suites; without one, of this machine's own. */
  packages: string[];
}

const LIBRARIES: Library[] = [
  {
    name: "libqpl",
    system: ["/usr/include/qpl/qpl.h", "/usr/local/include/qpl/qpl.h"],
    fetched: ["include/qpl/qpl.h", "lib/libqpl.a"],
    packages: ["libqpl-dev/sid"],
  },
  {
    name: "libaccel-config",
    system: [`/${LIBRARY_FOLDER}/libaccel-config.so.1`, "/usr/lib64/libaccel-config.so.1"],
    fetched: ["lib/libaccel-config.so.1"],
    // newer ones need a newer glibc
    packages: ["libaccel-config1"],
  },
  {
    name: "libqatzip",
    system: ["/usr/include/qatzip.h", "/usr/local/include/qatzip.h"],
    fetched: ["include/qatzip.h", "lib/libqatzip.so.3", "lib/libqat.so.4", "lib/libusdm.so.0"],
    packages: ["libqatzip-dev/trixie", "libqatzip3/trixie", "libqat4/trixie", "libusdm0/trixie"],
  },
];

/** What they load beside one another, by the package of this machine's own suite that has it. */
const LOADED: Record<string, string> = {
  "libcrypto.so.3": "libssl3",
  "libjson-c.so.5": "libjson-c5",
  "liblz4.so.1": "liblz4-1",
  "libnuma.so.1": "libnuma1",
  "libuuid.so.1": "libuuid1",
  "libz.so.1": "zlib1g",
};

/** Runs a command; its output, or an error with the line that says why. */
function run(command: string, args: string[], cwd: string): string {
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd,
    encoding: "utf8",
    timeout: 300_000,
    env: { ...process.env, LC_ALL: "C", DEBIAN_FRONTEND: "noninteractive" },
  });
  if (error) throw new Error(`${command}: ${error.message}`);
  if (status !== 0) {
    const said = stderr.split("\n").find((line) => /^(E:|W: Failed)/.test(line)) ?? stderr;
    throw new Error(`${command}: ${said.trim()}`);
  }
  return stdout;
}

/** Where this machine's apt gets Debian from. */
interface Source {
  uri: string;
  suite: string;
  /** The keyring's file; missing where none is named, or a key itself. */
  signedBy: string | undefined;
}

/** Reads one line of the old form: `deb [signed-by=KEYRING] URI SUITE COMPONENT...`. */
function parseLine(line: string): Source[] {
  const match = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+(.*)$/.exec(line.trim());
  if (!match || !match[4]!.split(/\s+/).includes("main")) return [];
  const signedBy = /signed-by=(\S+)/i.exec(match[1] ?? "")?.[1];
  return [{ uri: match[2]!, suite: match[3]!, signedBy }];
}

/** Reads a stanza of the new form, deb822. */
function parseStanza(stanza: string): Source[] {
  const lines = stanza.split("\n").filter((line) => !line.startsWith("#"));
  // a line that starts with a space goes on with the one before
  const fields = new Map(
    lines.join("\n").replaceAll(/\n[ \t]+/g, " ").split("\n").map((line) => {
      const [name, ...value] = line.split(":");
      return [name!.toLowerCase(), value.join(":").trim()];
    }),
  );
  const words = (name: string): string[] => fields.get(name)?.split(/\s+/) ?? [];
  if (!words("types").includes("deb") || !words("components").includes("main")) return [];
  if (fields.get("enabled") === "no") return [];
  const signedBy = /^\/\S+/.exec(fields.get("signed-by") ?? "")?.[0];
  return words("uris").flatMap((uri) => words("suites").map((suite) => ({ uri, suite, signedBy })));
}

/** All sources of this machine's apt. */
function readSources(): Source[] {
  const parts = "/etc/apt/sources.list.d";
  const files = fs.existsSync(parts) ? fs.readdirSync(parts).map((name) => `${parts}/${name}`) : [];
  if (fs.existsSync("/etc/apt/sources.list")) files.unshift("/etc/apt/sources.list");
  return files.flatMap((file) => {
    if (!/\.(list|sources)$/.test(file)) return [];
    const text = fs.readFileSync(file, "utf8");
    if (file.endsWith(".list")) return text.split("\n").flatMap(parseLine);
    return text.split(/\n\s*\n/).flatMap(parseStanza);
  });
}

/** The source that has this machine's own release. */
function ownSource(): Source {
  const release = fs.existsSync("/etc/os-release")
    ? fs.readFileSync("/etc/os-release", "utf8")
    : "";
  const isDebian = /^ID="?debian"?$/m.test(release) && fs.existsSync("/usr/bin/apt-get");
  if (!isDebian || process.arch !== "x64") {
    throw new Error(
      "this machine is not Debian on x86-64: install libqpl and libqatzip (with their headers) " +
        "by its own means",
    );
  }
  const codename = /^VERSION_CODENAME="?(\w+)"?$/m.exec(release)?.[1];
  const own = readSources().filter(({ suite }) =>
    suite === codename || ["stable", "testing", "unstable", "sid"].includes(suite)
  );
  const source = own.find(({ uri }) => /\/debian\/?$/.test(uri)) ?? own[0];
  if (!source) throw new Error(`apt's sources have no suite ${codename} with the component main`);
  return source;
}

/** An apt of its own: private lists, cache and status, and sources on the machine's own mirror. */
class PrivateApt {
  readonly #directory: string;
  readonly #suite: string;
  readonly #options: string[];

  constructor(directory: string, source: Source) {
    this.#directory = directory;
    this.#suite = source.suite;
    const keys = source.signedBy ?? (fs.existsSync(KEYRING) ? KEYRING : undefined);
    const suites = [...new Set([source.suite, "trixie", "sid"])].join(" ");
    const stanza = [
      "Types: deb",
      `URIs: ${source.uri}`,
      `Suites: ${suites}`,
      "Components: main",
      ...(keys ? [`Signed-By: ${keys}`] : []),
    ];
    fs.writeFileSync(path.join(directory, "own.sources"), stanza.join("\n") + "\n");
    fs.writeFileSync(path.join(directory, "status"), "");
    for (const name of ["lists/partial", "cache/archives/partial"]) {
      fs.mkdirSync(path.join(directory, name), { recursive: true });
    }
    this.#options = [
      `Dir::Etc::SourceList=${path.join(directory, "own.sources")}`,
      "Dir::Etc::SourceParts=-",
      "Dir::Etc::Preferences=-",
      "Dir::Etc::PreferencesParts=-",
      `Dir::State=${directory}`,
      `Dir::State::Lists=${path.join(directory, "lists")}`,
      `Dir::State::Status=${path.join(directory, "status")}`,
      `Dir::Cache=${path.join(directory, "cache")}`,
      "Acquire::Languages=none",
      "Acquire::http::Timeout=20",
      "Acquire::https::Timeout=20",
      "APT::Update::Error-Mode=any",
      // the directory is nobody else's
      "APT::Sandbox::User=root",
    ].flatMap((option) => ["-o", option]);
  }

  update(): void {
    run("apt-get", [...this.#options, "-qq", "update"], this.#directory);
  }

  /** Downloads packages and unpacks them beside one another; a name may have a suite. */
  unpack(packages: string[], into: string): void {
    const downloads = fs.mkdtempSync(path.join(this.#directory, "download-"));
    const wanted = packages.map((name) => name.includes("/") ? name : `${name}/${this.#suite}`);
    run("apt-get", [...this.#options, "-qq", "download", ...wanted], downloads);
    for (const name of fs.readdirSync(downloads)) {
      run("dpkg", ["-x", path.join(downloads, name), into], this.#directory);
    }
  }
}

/** Packages of what the libraries in a folder load and would not find. */
function missingPackages(folder: string): string[] {
  const files = fs.readdirSync(folder).filter((name) => /\.so\.\d+$/.test(name));
  const { stdout } = spawnSync("ldd", files.map((name) => path.join(folder, name)), {
    encoding: "utf8",
    env: { ...process.env, LD_LIBRARY_PATH: folder },
  });
  const names = [...(stdout ?? "").matchAll(/^\s*(\S+) => not found/gm)].map(([, name]) => name!);
  return [...new Set(names)].flatMap((name) => LOADED[name] ?? []);
}

/** Keeps headers and libraries of unpacked packages. */
function keep(unpacked: string, into: string): void {
  const from = (name: string): string => path.join(unpacked, name);
  fs.mkdirSync(path.join(into, "lib"), { recursive: true });
  if (fs.existsSync(from("usr/include"))) {
    fs.cpSync(from("usr/include"), path.join(into, "include"), { recursive: true });
  }
  for (const folder of [LIBRARY_FOLDER, "lib/x86_64-linux-gnu"]) {
    if (!fs.existsSync(from(folder))) continue;
    for (const name of fs.readdirSync(from(folder))) {
      // the name that programs load; what it links to is copied with it
      if (!/\.so\.\d+$|\.a$/.test(name)) continue;
      fs.copyFileSync(path.join(from(folder), name), path.join(into, "lib", name));
    }
  }
}

/**
 * Fetches what is missing.
 *
 * @returns Names of what was fetched; none where the system, or an earlier call, had everything.
 * @throws {Error} If this is no Debian, or its mirror does not answer.
 */
export function fetchAccelerators(): string[] {
  const missing = LIBRARIES.filter(({ system, fetched }) =>
    !system.some((file) => fs.existsSync(file)) &&
    !fetched.every((file) => fs.existsSync(path.join(vendor, file)))
  );
  if (missing.length === 0) return [];
  const source = ownSource();
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "multifd-apt-"));
  try {
    const apt = new PrivateApt(directory, source);
    const unpacked = path.join(directory, "unpacked");
    apt.update();
    apt.unpack(missing.flatMap(({ packages }) => packages), unpacked);
    const loaded = missingPackages(path.join(unpacked, LIBRARY_FOLDER));
    if (loaded.length > 0) apt.unpack(loaded, unpacked);
    keep(unpacked, vendor);
  } finally {
    fs.rmSync(directory, { recursive: true, force: true });
  }
  return missing.map(({ name }) => name);
}

if (import.meta.main) {
  try {
    const fetched = fetchAccelerators();
    const said = fetched.length > 0 ? `Fetched ${fetched.join(", ")}` : "Nothing to fetch";
    console.log(`${said}; deno task build:native builds what needs them`);
  } catch (error) {
    console.error(`Cannot fetch libqpl and libqatzip: ${(error as Error).message}`);
    process.exitCode = 1;
  }
}
