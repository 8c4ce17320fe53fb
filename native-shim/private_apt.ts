/**
 * Debian packages without installing them: an apt of its own over the mirror and the keys of this
 * machine's own apt. That one's state stays as it is, and no root is needed.
 */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import process from "node:process";

const KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg";

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
export interface Source {
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

/**
 * The source that has this machine's own release.
 *
 * @param otherwise What a person can do where there is none.
 * @throws {Error} If this is no Debian on x86-64.
 */
export function ownSource(otherwise: string): Source {
  const release = fs.existsSync("/etc/os-release")
    ? fs.readFileSync("/etc/os-release", "utf8")
    : "";
  const isDebian = /^ID="?debian"?$/m.test(release) && fs.existsSync("/usr/bin/apt-get");
  if (!isDebian || process.arch !== "x64") {
    throw new Error(`this machine is not Debian on x86-64: ${otherwise}`);
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
export class PrivateApt {
  readonly #directory: string;
  readonly #suite: string;
  readonly #options: string[];

  /**
   * Makes it in a directory that is nobody else's, and reads the suites' lists.
   *
   * @param types `deb`, and `deb-src` for {@linkcode unpackSource}.
   */
  constructor(directory: string, source: Source, suites: string[], types: string[] = ["deb"]) {
    this.#directory = directory;
    this.#suite = source.suite;
    const keys = source.signedBy ?? (fs.existsSync(KEYRING) ? KEYRING : undefined);
    const stanza = [
      `Types: ${types.join(" ")}`,
      `URIs: ${source.uri}`,
      `Suites: ${[...new Set(suites)].join(" ")}`,
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
    run("apt-get", [...this.#options, "-qq", "update"], directory);
  }

  /** Downloads packages and unpacks them beside one another; a name may have a suite. */
  unpack(packages: string[], into: string): void {
    const downloads = fs.mkdtempSync(path.join(this.#directory, "download-"));
    const wanted = packages.map((name) => name.includes("/") ? name : `${name}/${this.#suite}`);
    run("apt-get", [...this.#options, "-qq", "download", ...wanted], downloads);
    this.#unpackAll(downloads, into);
  }

  /** The same with everything that the packages depend on, down to libc, all of one suite. */
  unpackWithDependencies(packages: string[], suite: string, into: string): void {
    const options = ["-qq", "--yes", "--no-install-recommends", `--target-release=${suite}`];
    const command = [...options, "--download-only", "install", ...packages];
    run("apt-get", [...this.#options, ...command], this.#directory);
    this.#unpackAll(path.join(this.#directory, "cache", "archives"), into);
  }

  /** Downloads a package's sources and unpacks them, with Debian's patches; their folder. */
  unpackSource(name: string): string {
    const folder = fs.mkdtempSync(path.join(this.#directory, "source-"));
    run("apt-get", [...this.#options, "-qq", "source", name], folder);
    const tree = fs.readdirSync(folder, { withFileTypes: true }).find((file) => file.isDirectory());
    if (tree === undefined) throw new Error(`${name} has no sources`);
    return path.join(folder, tree.name);
  }

  #unpackAll(folder: string, into: string): void {
    for (const name of fs.readdirSync(folder).filter((name) => name.endsWith(".deb"))) {
      run("dpkg", ["-x", path.join(folder, name), into], this.#directory);
    }
  }
}
