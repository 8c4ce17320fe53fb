/** A recording taken apart: its packets, one page's history, what of a damaged one can be read. */
export type { Damage, RecordedItem, RecordedMainRecord, RecordedPacket } from "./items.ts";
export {
  inspectPage,
  type PageContent,
  type PageCopy,
  type RecordedPageReport,
  type SavedPageReport,
} from "./page.ts";
export { type PacketFilter, packetsOf, type PacketsOptions, type PageAddress } from "./packets.ts";
export type { RecordingOptions } from "./recording_reader.ts";
export {
  type BlockSurvey,
  type ChannelSurvey,
  type RecordingSurvey,
  type Stretch,
  surveyRecording,
} from "./survey.ts";
