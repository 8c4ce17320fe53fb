import { OptionError } from "../errors.ts";
import { didYouMean, type Verb } from "./args.ts";
import { bashScript, fishScript, zshScript } from "./completion_scripts.ts";
import { EXIT } from "./exit_code.ts";
import { print } from "./output.ts";

const SHELLS: Record<string, (verbs: readonly Verb[]) => string> = {
  bash: bashScript,
  zsh: zshScript,
  fish: fishScript,
};
const names = Object.keys(SHELLS);

/**
 * `multifd completion`.
 *
 * @param verbs Gives all verbs, this one among them.
 */
export function completion(verbs: () => Promise<readonly Verb[]>): Verb {
  return {
    name: "completion",
    summary: "Prints what makes a shell complete this command.",
    usage: names.join("|"),
    options: {},
    examples: [
      ['eval "$(multifd completion bash)"', "in ~/.bashrc"],
      ['eval "$(multifd completion zsh)"', "in ~/.zshrc, after compinit"],
      ["multifd completion fish | source", "in ~/.config/fish/config.fish"],
    ],
    async run(options) {
      const [shell, ...more] = options.operands;
      if (shell === undefined) throw new OptionError("The shell is missing: bash, zsh or fish");
      if (more.length > 0) throw new OptionError(`Argument ${more[0]} is one too many`);
      const script = SHELLS[shell];
      if (script === undefined) {
        throw new OptionError(
          `Shell ${shell} is unknown${didYouMean(shell, names)}; there are: ${names.join(", ")}`,
        );
      }
      const text = script(await verbs());
      print(
        options.flag("json") ? JSON.stringify({ status: "completed", shell, script: text }) : text,
      );
      return EXIT.done;
    },
  };
}
