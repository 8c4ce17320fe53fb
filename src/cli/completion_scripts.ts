/** Completion for bash, zsh and fish, made of the verbs' tables of options. */
import { optionsOf, type OptionSpec, type Verb } from "./args.ts";

/** What a value or an operand is completed with: words, files, or nothing. */
type Candidates = readonly string[] | "files" | "none";

/** Placeholders of values that are files; an address is none, though it may hold one. */
const FILES = /^(DIR|FILE|OUT|PATH|SOCKET)$/;

function valuesOf({ choices, value }: OptionSpec): Candidates {
  return choices ?? (FILES.test(value ?? "") ? "files" : "none");
}

/** By how the usage begins: `bash|zsh`, `IMAGE...`, or an option. */
function operandsOf({ usage }: Verb): Candidates {
  const [first] = usage.split(" ");
  if (/^[a-z]+(\|[a-z]+)+$/.test(first!)) return first!.split("|");
  return /^[A-Z]/.test(first!) ? "files" : "none";
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** The function for bash. */
export function bashScript(verbs: readonly Verb[]): string {
  const complete = (candidates: Candidates): string => {
    if (candidates === "none") return "COMPREPLY=()";
    const what = candidates === "files" ? "-f" : `-W ${quote(candidates.join(" "))}`;
    return `mapfile -t COMPREPLY < <(compgen ${what} -- "$word")`;
  };
  const cases = verbs.map((verb) => {
    const options = Object.entries(optionsOf(verb));
    const values = options.filter(([, { kind }]) => kind !== "flag")
      .map(([name, spec]) => `        --${name}) ${complete(valuesOf(spec))}; return ;;`);
    return [
      `    ${verb.name})`,
      `      case $previous in`,
      ...values,
      `      esac`,
      `      if [[ $word == -* ]]; then ${complete(options.map(([name]) => `--${name}`))}`,
      `      else ${complete(operandsOf(verb))}; fi ;;`,
    ].join("\n");
  });
  return `_multifd() {
  local word=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD-1]}
  # bash takes "--option=value" for three words
  if [[ $word == = ]]; then word=; elif [[ $previous == = ]]; then previous=\${COMP_WORDS[COMP_CWORD-2]}; fi
  if ((COMP_CWORD == 1)); then ${complete(verbs.map(({ name }) => name))}; return; fi
  case \${COMP_WORDS[1]} in
${cases.join("\n")}
  esac
}
complete -o filenames -F _multifd multifd`;
}

/** The function for zsh; in a file of fpath named _multifd it works, too. */
export function zshScript(verbs: readonly Verb[]): string {
  const action = (candidates: Candidates): string => {
    if (candidates === "files") return "_files";
    return candidates === "none" ? " " : `(${candidates.join(" ")})`;
  };
  // these end a part of what _arguments takes
  const plain = (text: string): string => text.replaceAll(/[[\]:\\]/g, "\\$&");
  const cases = verbs.map((verb) => {
    const options = Object.entries(optionsOf(verb)).map(([name, spec]) => {
      const isFlag = spec.kind === "flag";
      const value = isFlag ? "" : `:${plain(spec.value ?? "")}:${action(valuesOf(spec))}`;
      return quote(`--${name}${isFlag ? "" : "="}[${plain(spec.help)}]${value}`);
    });
    const operands = operandsOf(verb);
    if (operands !== "none") options.push(quote(`*:operand:${action(operands)}`));
    return `    ${verb.name}) _arguments ${options.join(" \\\n      ")} ;;`;
  });
  const list = verbs.map(({ name, summary }) => quote(`${name}:${summary.replaceAll(":", "\\:")}`));
  return `#compdef multifd
_multifd() {
  local -a verbs=(
    ${list.join("\n    ")}
  )
  if ((CURRENT == 2)); then _describe verb verbs; return; fi
  local verb=$words[2]
  shift words; ((CURRENT--))
  case $verb in
${cases.join("\n")}
  esac
}
if [[ $funcstack[1] == _multifd ]]; then _multifd "$@"; else compdef _multifd multifd; fi`;
}

/** The commands for fish. */
export function fishScript(verbs: readonly Verb[]): string {
  const quoteFish = (text: string): string => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const values = (candidates: Candidates): string => {
    if (candidates === "files") return "-r -F";
    return candidates === "none" ? "-x" : `-x -a ${quoteFish(candidates.join(" "))}`;
  };
  const lines = ["complete -c multifd -f"];
  for (const verb of verbs) {
    const summary = quoteFish(verb.summary);
    lines.push(`complete -c multifd -n __fish_use_subcommand -a ${verb.name} -d ${summary}`);
    const inVerb = `complete -c multifd -n '__fish_seen_subcommand_from ${verb.name}'`;
    for (const [name, spec] of Object.entries(optionsOf(verb))) {
      const value = spec.kind === "flag" ? "" : ` ${values(valuesOf(spec))}`;
      lines.push(`${inVerb} -l ${name}${value} -d ${quoteFish(spec.help)}`);
    }
    const operands = operandsOf(verb);
    if (operands === "files") lines.push(`${inVerb} -F`);
    else if (operands !== "none") lines.push(`${inVerb} -a ${quoteFish(operands.join(" "))}`);
  }
  return lines.join("\n");
}
