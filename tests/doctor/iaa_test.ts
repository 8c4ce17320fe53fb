import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { fails, machine, type Made, section, SHIM, works } from "./_system.ts";

const PCI = {
  "/sys/bus/pci/devices/0000:6a:02.0/vendor": "0x8086\n",
  "/sys/bus/pci/devices/0000:6a:02.0/device": "0x0cfe\n",
};
const QUEUE = "/sys/bus/dsa/devices/iax1/wq1.0";
const FILES: Record<string, string> = {
  ...PCI,
  "/sys/bus/dsa/devices/iax1/state": "enabled\n",
  "/sys/bus/dsa/devices/iax1/numa_node": "0\n",
  "/sys/bus/dsa/devices/iax1/version": "0x100\n",
  "/sys/bus/dsa/devices/iax1/pasid_enabled": "1\n",
  "/sys/bus/dsa/devices/iax1/max_work_queues_size": "128\n",
  "/sys/bus/dsa/devices/dsa0/state": "enabled\n",
  [`${QUEUE}/state`]: "enabled\n",
  [`${QUEUE}/type`]: "user\n",
  [`${QUEUE}/mode`]: "shared\n",
  [`${QUEUE}/group_id`]: "0\n",
  [`${QUEUE}/size`]: "64\n",
  [`${QUEUE}/max_transfer_size`]: "2097152\n",
  [`${QUEUE}/cdev_minor`]: "3\n",
  "/usr/lib/x86_64-linux-gnu/libaccel-config.so.1": "",
  "/usr/bin/accel-config": "",
  [`${SHIM}/qpl.so`]: "",
};
const NO_DEVICE = fails(
  "Engine iaa has no device that works here (QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE)",
  "QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE",
);

/** A machine with an IAA, all right but for what is said. */
function withIaa({ files = {}, ...made }: Made = {}): Made {
  return {
    files: { ...FILES, ...files },
    nodes: { "/dev/iax/wq1.0": "read-write" },
    engines: { iaa: NO_DEVICE },
    ...made,
  };
}

function without(files: Record<string, string>, ...names: string[]): Record<string, string> {
  return Object.fromEntries(
    Object.entries(files).filter(([file]) => !names.some((name) => file.startsWith(name))),
  );
}

const OFF = { "/proc/cmdline": "quiet\n" };
const ASLEEP = { "/sys/bus/dsa/devices/iax1/pasid_enabled": "0\n" };

/** A machine, the fact that the text must name, the next step in it, and its command. */
const CASES: readonly [string, Made, fact: string, next: string, command: string][] = [
  [
    "no device",
    {},
    "NO device none: no PCI device 8086:0cfe",
    "Next: This machine shows no IAA.",
    "$ lscpu",
  ],
  [
    "a kernel that is too old",
    withIaa({ kernel: "5.10.0-28-amd64" }),
    "NO kernel 5.10.0-28-amd64 (5.18 or later is needed)",
    "Next: Linux 5.10.0-28-amd64 is too old for libqpl: upgrade",
    "$ uname -r",
  ],
  [
    "an IAA of the second generation and a kernel that is too old for it",
    withIaa({ kernel: "6.1.0", files: { "/sys/bus/dsa/devices/iax1/version": "0x200\n" } }),
    "NO kernel 6.1.0 (6.3 or later is needed)",
    "Linux 6.3 or later",
    "$ uname -r",
  ],
  [
    "the driver not loaded",
    { files: PCI },
    "NO driver idxd is not loaded",
    "Next: Load the kernel's driver for IAA, idxd.",
    "$ sudo modprobe idxd",
  ],
  [
    "the driver loaded, and not taking the device",
    { files: { ...PCI, "/sys/module/idxd/version": "" } },
    "NO driver idxd is loaded, but shows no device",
    "Next: The kernel's driver does not take the device",
    "$ sudo dmesg | grep",
  ],
  [
    "the IOMMU not asked for",
    withIaa({ files: { ...OFF, ...ASLEEP } }),
    "NO kernel-parameters intel_iommu=on,sm_on is missing",
    "Next: Start Linux with intel_iommu=on,sm_on",
    `$ sudo sed -i 's/^GRUB_CMDLINE_LINUX="/&intel_iommu=on,sm_on /' /etc/default/grub ` +
    "$ sudo update-grub $ sudo reboot",
  ],
  [
    "the IOMMU not in scalable mode",
    withIaa({ files: { "/proc/cmdline": "intel_iommu=on\n", ...ASLEEP } }),
    "NO kernel-parameters intel_iommu=on,sm_on is missing (it is on)",
    "Next: Start Linux with intel_iommu=on,sm_on",
    "$ sudo update-grub",
  ],
  [
    "the IOMMU off in the firmware",
    withIaa({ files: ASLEEP }),
    "NO kernel-parameters intel_iommu=on,sm_on; but pasid_enabled is 0",
    "switch VT-d on in the firmware's set-up (BIOS)",
    "$ cat /sys/bus/dsa/devices/iax*/pasid_enabled",
  ],
  [
    "a queue in dedicated mode",
    withIaa({ files: { [`${QUEUE}/mode`]: "dedicated\n" } }),
    "NO work-queues none that is usable: wq1.0 is dedicated",
    "Next: Set up a queue of type user in shared mode: wq1.0 is in dedicated mode",
    "$ sudo accel-config disable-device iax1 " +
    "$ for e in /sys/bus/dsa/devices/iax1/engine*; do sudo accel-config config-engine " +
    "iax1/${e##*/} -g 0; done " +
    "$ sudo accel-config config-wq iax1/wq1.0 -g 0 -s 128 -p 10 -b 1 -t 128 -m shared -y user " +
    "-n multifd $ sudo accel-config enable-device iax1 $ sudo accel-config enable-wq iax1/wq1.0",
  ],
  [
    "a queue of the kernel's own",
    withIaa({ files: { [`${QUEUE}/type`]: "kernel\n" } }),
    "NO work-queues none that is usable: wq1.0 is of type kernel",
    "wq1.0 belongs to type kernel, not to programs",
    "$ sudo accel-config disable-device iax1",
  ],
  [
    "device and queue disabled",
    withIaa({
      files: {
        "/sys/bus/dsa/devices/iax1/state": "disabled\n",
        [`${QUEUE}/state`]: "disabled\n",
        [`${QUEUE}/mode`]: "dedicated\n",
        [`${QUEUE}/type`]: "none\n",
        [`${QUEUE}/driver_name`]: "\n",
      },
    }),
    "NO work-queues none that is usable: wq1.0 is disabled",
    "Next: Set up a work queue: every restart leaves IAA without one",
    "done $ sudo accel-config config-wq iax1/wq1.0 -g 0 -s 128 -p 10 -b 1 -t 128 -m shared " +
    "-y user -n multifd -d user $",
  ],
  [
    "a queue disabled, and no tool to set it up",
    {
      ...withIaa(),
      files: { ...without(FILES, "/usr/bin/accel-config"), [`${QUEUE}/state`]: "disabled\n" },
    },
    "wq1.0 is disabled",
    "Next: Set up a work queue",
    "$ sudo apt-get install accel-config $ sudo accel-config disable-device iax1",
  ],
  [
    "a queue's node that is root's",
    withIaa({ nodes: { "/dev/iax/wq1.0": "denied" } }),
    "NO device-nodes /dev/iax/wq1.0 denied",
    "Next: Give your user the queue's node /dev/iax/wq1.0",
    '$ sudo chown "$USER" /dev/iax/wq1.0',
  ],
  [
    "a queue without its node, as in a container",
    withIaa({ nodes: {} }),
    "NO device-nodes /dev/iax/wq1.0 missing",
    "pass /dev/iax into it",
    "$ docker run --device /dev/iax",
  ],
  [
    "libaccel-config missing",
    {
      ...withIaa(),
      files: without(FILES, "/usr/lib/x86_64-linux-gnu/libaccel-config"),
    },
    "NO libaccel-config libaccel-config.so.1 is missing",
    "Next: Install libaccel-config, through which libqpl finds the work queues.",
    "$ sudo apt-get install libaccel-config1",
  ],
  [
    "the shim not built",
    { ...withIaa(), files: without(FILES, SHIM), engines: {} },
    "NO shim qpl.so is not built",
    "and build the shim with it.",
    "$ deno task fetch:accelerators $ deno task build:native",
  ],
  [
    "an engine that this version does not know",
    withIaa({ engines: { iaa: fails("Engine iaa is unknown") } }),
    "NO shim qpl.so is not built",
    "and build the shim with it.",
    "$ deno task fetch:accelerators $ deno task build:native",
  ],
  [
    "a shim of another version",
    withIaa({ engines: { iaa: fails(`${SHIM}/qpl.so is of another version, build it anew`) } }),
    `NO shim ${SHIM}/qpl.so is of another version`,
    "Next: Build the shim anew",
    "$ deno task build:native",
  ],
  [
    "everything right but the device itself",
    withIaa(),
    "NO engine Engine iaa has no device that works here (QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE)",
    "Next: All that can be seen from here is right, and yet: Engine iaa has no device",
    "$ sudo dmesg",
  ],
];

for (const [name, made, fact, next, command] of CASES) {
  test(`diagnose() names the fact and one next step: IAA, ${name}`, () => {
    const text = section(machine(made), "iaa");
    assertStringIncludes(text, "for method qpl: does not work");
    assertStringIncludes(text, fact);
    assertStringIncludes(text, next);
    assertStringIncludes(text, command);
    assertEquals(text.split("Next:").length, 2);
    assertStringIncludes(text, "Meanwhile software (isal) computes qpl");
  });
}

test("diagnose() finds nothing to do where an IAA works", () => {
  const hardware = { name: "iaa", isDevice: true };
  const system = machine(withIaa({
    engines: { iaa: works("iaa", "libqpl 1.9.0", "qpl") },
    choices: { qpl: { encodes: hardware, decodes: hardware } },
  }));
  const text = section(system, "iaa");
  assertStringIncludes(text, "for method qpl: works in hardware");
  assertStringIncludes(text, "ok library libqpl 1.9.0");
  assertStringIncludes(
    text,
    "iax1/wq1.0 enabled user shared 0 64 2097152 0 /dev/iax/wq1.0 read-write",
  );
  assert(!/\bNO\b|Next:|Meanwhile/.test(text), text);
  const { methods, devices } = diagnose(system);
  const qpl = methods.find(({ method }) => method === "qpl");
  assertEquals([qpl?.compresses, qpl?.works], ["iaa", "hardware"]);
  assertEquals(devices[0]!.queues, [{
    device: "iax1",
    name: "wq1.0",
    state: "enabled",
    type: "user",
    mode: "shared",
    groupId: 0,
    size: 64,
    maxTransferSize: 2097152,
    cdevMinor: 3,
    numaNode: 0,
    node: "/dev/iax/wq1.0",
    access: "read-write",
  }]);
});

test("diagnose() finds libaccel-config where it was loaded from, or fetched to", () => {
  const library = "libaccel-config.so.1";
  const check = (files: Record<string, string>): string =>
    section(
      machine({
        ...withIaa(),
        files: { ...without(FILES, "/usr/lib/x86_64-linux-gnu/libaccel-config"), ...files },
      }),
      "iaa",
    );
  const maps = `7f00-7f01 r-xp 00000000 fe:00 2817 /some where/${library}\n`;
  assertStringIncludes(check({ "/proc/self/maps": maps }), `/some where/${library}`);
  assertStringIncludes(check({ [`/opt/vendor/lib/${library}`]: "" }), `/opt/vendor/lib/${library}`);
  assertStringIncludes(check({ "/usr/lib64/other.so": "" }), `${library} is missing`);
});

test("diagnose() knows the version of the library whose device does not work", () => {
  const engines = { iaa: NO_DEVICE, qpl: works("qpl", "QPL 1.9.0", "qpl") };
  assertStringIncludes(section(machine(withIaa({ engines })), "iaa"), "ok library QPL 1.9.0");
});

test("diagnose() lets the library's advice wait while a cause is seen", () => {
  const text = section(machine({ ...withIaa(), nodes: { "/dev/iax/wq1.0": "denied" } }), "iaa");
  assertStringIncludes(
    text,
    "NO engine the library answers QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE",
  );
});

test("diagnose() counts what the kernel made of its command line, not the line", () => {
  const text = section(machine(withIaa({ files: OFF })), "iaa");
  assertStringIncludes(text, "ok kernel-parameters intel_iommu=on,sm_on is missing; pasid_enabled");
});

test("diagnose() raises no alarm over what looks wrong where the IAA works", () => {
  const engines = { iaa: works("iaa", "libqpl 1.9.0", "qpl") };
  const text = section(machine(withIaa({ engines, kernel: "5.14.0-503.el9" })), "iaa");
  assertStringIncludes(text, "works in hardware");
  assert(!/\bNO\b|Next:/.test(text), text);
});

test("diagnose() does not try the nodes of disabled queues", () => {
  const system = machine(withIaa({
    files: { [`${QUEUE}/state`]: "disabled\n" },
    access: (node) => {
      throw new Error(`tried ${node}`);
    },
  }));
  assertEquals(diagnose(system).devices[0]!.queues[0]!.access, undefined);
});
