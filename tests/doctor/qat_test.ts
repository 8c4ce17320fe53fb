import { test } from "node:test";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { diagnose } from "../../src/doctor/diagnose.ts";
import { fails, machine, type Made, section, SHIM, works } from "./_system.ts";

const PCI = "/sys/bus/pci/devices";
const [PF, VF] = [`${PCI}/0000:6b:00.0`, `${PCI}/0000:6b:00.1`];
const UNIT = "/usr/lib/systemd/system/qat.service";

function pci(path: string, device: string): Record<string, string> {
  return { [`${path}/vendor`]: "0x8086\n", [`${path}/device`]: `0x${device}\n` };
}

const FILES: Record<string, string> = {
  ...pci(PF, "4940"),
  ...pci(VF, "4941"),
  [`${PF}/qat/cfg_services`]: "sym;dc\n",
  "/sys/class/iommu/dmar0/name": "",
  [UNIT]: "[Service]\nEnvironmentFile=-/etc/default/qat\n",
  "/run/qat/qatmgr.pid": "17\n",
  "/etc/group": "root:x:0:\nqat:x:118:bob\n",
  [`${SHIM}/qatzip.so`]: "",
};
const LINKS: Record<string, string> = {
  [`${PF}/driver`]: "../../../bus/pci/drivers/4xxx",
  [`${VF}/driver`]: "../../../bus/pci/drivers/vfio-pci",
  [`${VF}/iommu_group`]: "../../../kernel/iommu_groups/12",
};
const DENIED = { "/dev/vfio/vfio": "read-write", "/dev/vfio/12": "denied" } as const;
const NO_DEVICE = fails(
  "Engine qat has no device that works here (QZ_NOSW_NO_HW)",
  "QZ_NOSW_NO_HW",
);

/** A machine with a QAT, all right but for what is said. */
function withQat({ files = {}, ...made }: Made = {}): Made {
  return {
    files: { ...FILES, ...files },
    links: LINKS,
    nodes: { "/dev/vfio/vfio": "read-write", "/dev/vfio/12": "read-write" },
    engines: { qat: NO_DEVICE },
    ...made,
  };
}

/** A machine with these files, links and nodes of a QAT only. */
function only(files: string[], links: string[] = []): Made {
  const pick = (all: Record<string, string>, names: string[]): Record<string, string> =>
    Object.fromEntries(
      Object.entries(all).filter(([name]) => names.some((start) => name.startsWith(start))),
    );
  return { files: pick(FILES, files), links: pick(LINKS, links), engines: { qat: NO_DEVICE } };
}

const C62X = { files: pci(PF, "37c8"), links: { [`${PF}/driver`]: "c6xx" } };
const CONF = "[GENERAL]\nServicesEnabled = ";
const memlock = (bytes: number): Record<string, string> => ({
  "/proc/self/limits": `Max locked memory         ${bytes}     ${bytes}     bytes\n`,
});

/** A machine, the fact that the text must name, the next step in it, and its command. */
const CASES: readonly [string, Made, fact: string, next: string, command: string][] = [
  [
    "no device",
    {},
    "NO device none: no PCI device 8086 with 37c8 19e2 18a0 6f54 4940",
    "Next: This machine shows no QAT.",
    "$ lscpu",
  ],
  [
    "no driver",
    only([PF]),
    "NO driver none for 0000:6b:00.0",
    "Next: Load Linux's driver for it, qat_4xxx.",
    "$ sudo modprobe qat_4xxx",
  ],
  [
    "no driver, of the latest model",
    { files: pci(PF, "4946") },
    "ok device 420xx at 0000:6b:00.0",
    "Load Linux's driver for it, qat_420xx, which Linux 6.8 and later has",
    "$ sudo modprobe qat_420xx",
  ],
  [
    "given to a VM",
    { files: pci(PF, "4942"), links: { [`${PF}/driver`]: "vfio-pci" } },
    "NO driver 0000:6b:00.0 is vfio-pci's",
    "take it back",
    "$ echo 0000:6b:00.0 | sudo tee /sys/bus/pci/drivers_probe",
  ],
  [
    "a kernel that is too old",
    { ...only([PF], [`${PF}/driver`]), files: pci(PF, "4940"), kernel: "5.10.0-28-amd64" },
    "NO kernel 5.10.0-28-amd64 (5.17 or later is needed)",
    "Next: Linux 5.10.0-28-amd64 is too old to compress with a QAT",
    "$ uname -r",
  ],
  [
    "the IOMMU off",
    only([PF, UNIT], [`${PF}/driver`]),
    "NO iommu off",
    "Next: Start Linux with intel_iommu=on",
    "$ sudo update-grub $ sudo reboot",
  ],
  [
    "the service not installed",
    only([PF, "/sys/class"], [`${PF}/driver`]),
    "NO service qat.service is not installed",
    "Next: Install QATlib's service",
    "$ sudo apt-get install qatlib-service $ sudo systemctl enable --now qat",
  ],
  [
    "the service stopped",
    only([PF, "/sys/class", UNIT], [`${PF}/driver`]),
    "NO service qat.service is stopped",
    "Next: Start QAT's service",
    "$ sudo systemctl enable --now qat",
  ],
  [
    "a virtual function in a VM without the service",
    { files: pci(VF, "4945"), links: { [`${VF}/driver`]: "4xxxvf" } },
    "ok device 1 virtual function",
    "intel_iommu=on",
    "$ sudo reboot",
  ],
  [
    "the driver without compression",
    withQat({ files: { [`${PF}/qat/cfg_services`]: "sym;asym\n" } }),
    "NO services sym;asym (0000:6b:00.0): no dc",
    "Next: Let the QAT compress: configure it for dc",
    "$ echo ServicesEnabled=dc | sudo tee -a /etc/default/qat $ sudo systemctl restart qat",
  ],
  [
    "the service configured without compression",
    withQat({
      files: {
        [`${PF}/qat/cfg_services`]: "asym\n",
        "/etc/default/qat": "POLICY=0\nServicesEnabled=asym\n",
      },
    }),
    "NO services asym",
    "Next: Let the QAT compress",
    "$ sudo sed -i 's/^ServicesEnabled=.*/ServicesEnabled=dc/' /etc/default/qat",
  ],
  [
    "a service that runs and has made no virtual function",
    only([PF, "/sys/class", UNIT, "/run"], [`${PF}/driver`]),
    "NO device-nodes no virtual function is vfio-pci's, so there is no /dev/vfio/NUMBER",
    "Next: Restart QAT's service",
    "$ sudo systemctl restart qat",
  ],
  [
    "a user who is not in the group",
    withQat({ nodes: DENIED }),
    "NO device-nodes /dev/vfio/vfio read-write, /dev/vfio/12 denied",
    "Next: Add your user to the group qat",
    '$ sudo usermod -aG qat "$USER"',
  ],
  [
    "a user who is in the group since after the login",
    withQat({ nodes: DENIED, files: { "/etc/group": "qat:x:118:bob,alice\n" } }),
    "group qat, of bob,alice; this process does not have it",
    "Next: Log out and in again: your user alice is in the group qat by now",
    "$ id -nG",
  ],
  [
    "no group",
    withQat({ nodes: DENIED, files: { "/etc/group": "root:x:0:\n" } }),
    "there is no group qat",
    "Next: Make the group qat",
    "$ sudo groupadd --system qat",
  ],
  [
    "nodes that a container has not",
    withQat({ nodes: {} }),
    "/dev/vfio/12 missing",
    "pass /dev/vfio into it",
    "$ docker run --device /dev/vfio",
  ],
  [
    "a limit of locked memory that is too low",
    withQat({ files: memlock(8 * 2 ** 20) }),
    "NO memlock 8 MiB; 27.6 MiB are needed for 2 channels: 16 MiB by QATlib, 5.8 MiB by each",
    "Next: Let your user lock more memory than 8 MiB",
    '$ echo "$USER - memlock 500000" | sudo tee -a /etc/security/limits.conf',
  ],
  [
    "the shim not built",
    {
      ...withQat({ engines: {} }),
      files: Object.fromEntries(Object.entries(FILES).filter(([file]) => !file.startsWith(SHIM))),
    },
    "NO shim qatzip.so is not built",
    "and build the shim with it.",
    "$ deno task fetch:accelerators $ deno task build:native",
  ],
  [
    "libqatzip missing",
    withQat({
      engines: {
        qat: fails(
          `Cannot find qatzip.so; build it. Tried:\n  Cannot open ${SHIM}/qatzip.so: Could not ` +
            "open library: libqatzip.so.3: cannot open shared object file: No such file",
        ),
      },
    }),
    "NO library libqatzip.so.3 is missing, which qatzip.so needs",
    "Next: Fetch libqatzip.so.3 from Debian's packages into this project's own cache",
    "$ deno task fetch:accelerators $ deno task build:native",
  ],
  [
    "a library of libqatzip's missing",
    withQat({
      engines: {
        qat: fails(
          `Cannot find qatzip.so; build it. Tried:\n  Cannot open ${SHIM}/qatzip.so: ` +
            "libnuma.so.1: cannot open shared object file: No such file",
        ),
      },
    }),
    "NO library libnuma.so.1 is missing, which qatzip.so needs",
    "Next: Install the library libnuma.so.1: the package is libnuma1.",
    "$ sudo apt-get install libnuma1",
  ],
  [
    "everything right but the device itself",
    withQat(),
    "NO engine Engine qat has no device that works here (QZ_NOSW_NO_HW)",
    "Next: All that can be seen from here is right, and yet: Engine qat has no device",
    "$ sudo dmesg",
  ],
  [
    "a C62x with Linux's driver only",
    C62X,
    "NO driver c6xx, and no /dev/qat_adf_ctl",
    "Next: A C62x is used through Intel's own driver package",
    "$ sudo adf_ctl status",
  ],
  [
    "Intel's driver package without its memory driver",
    { ...C62X, nodes: { "/dev/qat_adf_ctl": "read-write" } },
    "NO device-nodes /dev/qat_adf_ctl read-write, /dev/usdm_drv missing",
    "Next: Load usdm_drv",
    "$ sudo modprobe usdm_drv",
  ],
  [
    "Intel's driver package, and a user who is not in the group",
    {
      ...C62X,
      files: { ...C62X.files, "/etc/group": "qat:x:118:\n" },
      nodes: { "/dev/qat_adf_ctl": "denied", "/dev/usdm_drv": "denied" },
    },
    "NO device-nodes /dev/qat_adf_ctl denied, /dev/usdm_drv denied",
    "Next: Add your user to the group qat",
    '$ sudo usermod -aG qat "$USER"',
  ],
  [
    "Intel's driver package without compression",
    {
      files: { ...pci(PF, "4940"), "/etc/4xxx_dev0.conf": `${CONF}sym;asym\n` },
      nodes: { "/dev/qat_adf_ctl": "read-write", "/dev/usdm_drv": "read-write" },
    },
    "NO services sym;asym (ServicesEnabled in /etc/4xxx_dev0.conf): no dc",
    "Next: Let the QAT compress: put dc",
    "$ sudo sed -i 's/^ServicesEnabled *=.*/ServicesEnabled = dc/' /etc/4xxx_dev0.conf",
  ],
];

for (const [name, made, fact, next, command] of CASES) {
  test(`diagnose() names the fact and one next step: QAT, ${name}`, () => {
    const text = section(machine(made), "qat");
    assertStringIncludes(text, "for method qatzip: does not work");
    assertStringIncludes(text, fact);
    assertStringIncludes(text, next);
    assertStringIncludes(text, command);
    assertEquals(text.split("Next:").length, 2);
    assertStringIncludes(text, "Meanwhile software (isal) computes qatzip");
  });
}

const IDS = "37c8 37c9 19e2 18a0 6f54 4940 4941 4942 4943 4944 4945 4946 4947 4948 4949".split(" ");

for (const device of IDS) {
  test(`diagnose() knows 8086:${device} for a QAT`, () => {
    const { functions } = diagnose(machine({ files: pci(PF, device) })).devices[1]!;
    assertEquals(functions.map(({ id }) => id), [`8086:${device}`]);
    assertEquals(functions[0]!.isVirtual, Number.parseInt(device, 16) % 2 === 1);
  });
}

test("diagnose() finds nothing to do where a QAT works", () => {
  const hardware = { name: "qat", isDevice: true };
  const system = machine(withQat({
    engines: { qat: works("qat", "QATzip 1.3.1", "qatzip") },
    choices: { qatzip: { encodes: hardware, decodes: hardware } },
  }));
  const text = section(system, "qat");
  assertStringIncludes(text, "for method qatzip: works in hardware");
  assertStringIncludes(text, "ok library QATzip 1.3.1");
  assertStringIncludes(text, "0000:6b:00.0 4xxx physical 8086:4940 4xxx sym;dc - -");
  assertStringIncludes(text, "0000:6b:00.1 4xxx virtual 8086:4941 vfio-pci - /dev/vfio/12");
  assert(!/\bNO\b|Next:|Meanwhile/.test(text), text);
});

test("diagnose() takes the pinned memory as it is told", () => {
  const system = machine(withQat({ files: memlock(32 * 2 ** 20) }));
  const verdict = (channels: number): string | undefined =>
    diagnose(system, { pinned: { perChannel: 2 ** 20, channels } }).devices[1]!.checks
      .find(({ name }) => name === "memlock")?.verdict;
  assertEquals([verdict(16), verdict(17)], ["ok", "wrong"]);
});

test("diagnose() knows that the limit of locked memory does not bind everyone", () => {
  const status = { "/proc/self/status": "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n" };
  const text = section(machine(withQat({ files: { ...status, ...memlock(65536) } })), "qat");
  assertStringIncludes(text, "ok memlock no limit for this process (CAP_IPC_LOCK)");
});

test("diagnose() stops at the first virtual function that opens", () => {
  const tried: string[] = [];
  const second = `${PCI}/0000:6b:00.2`;
  const system = machine(withQat({
    files: pci(second, "4941"),
    links: { ...LINKS, [`${second}/driver`]: "vfio-pci", [`${second}/iommu_group`]: "13" },
    access: (node) => {
      tried.push(node);
      return "read-write";
    },
  }));
  diagnose(system);
  assertEquals(tried, ["/dev/vfio/12", "/dev/vfio/vfio"]);
});
