/** The group qat, whose the device nodes of QATs are. */
import type { Check, NextStep } from "./report.ts";
import type { System } from "./system.ts";

/** Whether this process has the group. */
export function groupCheck(system: System): Check {
  const [, gid, members] = qatGroup(system) ?? [];
  if (gid === undefined) return { name: "group", value: "there is no group qat", verdict: "fact" };
  const isIn = hasGroup(system, gid) ? "has" : "does not have";
  const value = `qat, of ${members || "no user"}; this process ${isIn} it`;
  return { name: "group", value, verdict: "fact" };
}

function qatGroup(system: System): RegExpExecArray | undefined {
  return /^qat:[^:]*:(\d+):(.*)$/m.exec(system.readText("/etc/group") ?? "") ?? undefined;
}

/** The nodes are the group qat's. */
export function groupStep(system: System): NextStep {
  const [, gid, members] = qatGroup(system) ?? [];
  if (gid === undefined) {
    return {
      text: "Make the group qat, whose the device nodes shall be, with your user in it; then log " +
        "out and in again, since groups are given at login.",
      commands: [
        "sudo groupadd --system qat",
        'sudo usermod -aG qat "$USER"',
        "sudo systemctl restart qat",
      ],
    };
  }
  const user = userName(system);
  if (user !== undefined && members!.split(",").includes(user) && !hasGroup(system, gid)) {
    return {
      text:
        `Log out and in again: your user ${user} is in the group qat by now, but this session ` +
        "is older than that.",
      commands: ["id -nG"],
    };
  }
  return {
    text:
      "Add your user to the group qat, whose the device nodes are; then log out and in again, " +
      "since groups are given at login.",
    commands: ['sudo usermod -aG qat "$USER"'],
  };
}

function userName(system: System): string | undefined {
  const uid = /^Uid:\s+(\d+)/m.exec(system.readText("/proc/self/status") ?? "")?.[1];
  if (uid === undefined) return undefined;
  return new RegExp(`^([^:]+):[^:]*:${uid}:`, "m").exec(system.readText("/etc/passwd") ?? "")?.[1];
}

function hasGroup(system: System, gid: string): boolean {
  const groups = /^Groups:\s*(.*)$/m.exec(system.readText("/proc/self/status") ?? "")?.[1] ?? "";
  return groups.split(/\s+/).includes(gid);
}
