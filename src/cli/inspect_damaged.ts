/** What `multifd inspect` tells of a recording that is damaged: what of it can be read. */
import type { MultifdError } from "../errors.ts";
import type { RecordingOptions } from "../inspect/recording_reader.ts";
import { type BlockSurvey, type RecordingSurvey, surveyRecording } from "../inspect/survey.ts";
import { hex } from "../protocol/bytes.ts";
import { exitCodeOf } from "./exit_code.ts";
import { damageJson, damageText } from "./inspect_packets.ts";
import { printRounds } from "./inspect_text.ts";
import { failureJson, formatBytes, print, table, tell } from "./output.ts";

/** Stretches of missing pages that are shown of a block. */
const SHOWN_STRETCHES = 3;
/** Damages that are shown. */
const SHOWN_DAMAGES = 20;

/**
 * Tells what of a recording can be read.
 *
 * @param error What a receiver ended with.
 * @returns The exit code of that.
 */
export async function tellDamaged(
  recording: string,
  error: MultifdError,
  options: RecordingOptions,
  asJson: boolean,
): Promise<number> {
  const survey = await surveyRecording(recording, options);
  if (asJson) print(JSON.stringify({ ...failureJson(error), ...surveyJson(survey) }));
  else printSurvey(survey);
  tell(`multifd inspect: ${error.message}`);
  return exitCodeOf(error);
}

function surveyJson(survey: RecordingSurvey): Record<string, unknown> {
  return {
    kind: "recording",
    machine: survey.machine ?? null,
    "page-size": survey.pageSize,
    "main-bytes": survey.mainBytes,
    "per-channel": survey.channels.map((channel) => ({
      id: channel.id,
      packets: channel.packets,
      syncs: channel.syncs,
      normal: channel.normalPages,
      duplicate: channel.zeroPages,
      bytes: channel.bytes,
      "file-bytes": channel.fileBytes,
      "whole-rounds": channel.wholeRounds,
    })),
    rounds: survey.rounds,
    "whole-rounds": survey.wholeRounds,
    blocks: survey.blocks.map(({ name, usedLength, pages, arrived, missing }) => ({
      name,
      "used-length": usedLength,
      "missing-pages": pages - arrived,
      missing,
    })),
    damages: survey.damages.map(damageJson),
    "damage-count": survey.damageCount,
  };
}

function printSurvey(survey: RecordingSurvey): void {
  const { machine, channels, rounds, wholeRounds, blocks, damages, damageCount } = survey;
  print(
    `recording${machine === undefined ? "" : ` of ${machine}`}, damaged; what can be read of it:`,
  );
  print(table([
    ["channel", "packets", "pages", "zero pages", "rounds", "whole rounds", "bytes", "of"],
    ...channels.map((channel) =>
      [
        channel.id,
        channel.packets,
        channel.normalPages,
        channel.zeroPages,
        channel.syncs,
        channel.wholeRounds,
        channel.bytes,
        channel.fileBytes,
      ].map(String)
    ),
  ]));
  printRounds(rounds);
  if (blocks.length > 0) {
    print(table([
      ["block", "length", "pages", "arrived", "missing"],
      ...blocks.map((block) => [
        block.name,
        formatBytes(block.usedLength),
        String(block.pages),
        String(block.arrived),
        missingText(block),
      ]),
    ]));
  }
  print(`rounds that are whole on all channels: ${wholeRounds} of ${rounds.length}`);
  for (const damage of damages.slice(0, SHOWN_DAMAGES)) print(damageText(damage));
  const more = damageCount - SHOWN_DAMAGES;
  if (more > 0) print(`${more} more are in --packets`);
}

function missingText({ pages, arrived, missing }: BlockSurvey): string {
  if (arrived === pages) return "-";
  const shown = missing.slice(0, SHOWN_STRETCHES).map(({ offset, length }) =>
    `${hex(offset)} to ${hex(offset + length)}`
  );
  return `${pages - arrived}: ${shown.join(", ")}${missing.length > shown.length ? "…" : ""}`;
}
