/** Advice: `advise()`, its page of plots, and what they are made of. */
export { type Advice, advise, type AdviseOptions } from "./advise.ts";
export { reportHtml } from "./report.ts";
export type { Candidate, SenderProgram } from "./candidates.ts";
export type { CodecMeasure, Profile, Shares, Speed } from "./codecs.ts";
export type { DeviceName, DeviceOption } from "./devices.ts";
export type { Prediction } from "./model.ts";
export type { Bottleneck, CodecCost, CodecCosts, GuestPages, Hosts, Link } from "./pass.ts";
export type { PipeCosts, SideCosts } from "./pipe.ts";
export type { Plan, Question } from "./recommend.ts";
export type { DirtyLoad } from "./rounds.ts";
export type { Settings } from "./settings.ts";
export type { SourceKind } from "./sources.ts";
export type { Spread } from "./statistics.ts";
