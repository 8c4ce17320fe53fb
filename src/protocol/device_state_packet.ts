/** The device-state packet that QEMU >= 10.0 sends for VFIO devices. */
import { ProtocolError } from "../errors.ts";
import { decodeName, hex, viewOf } from "./bytes.ts";
import { FLAG_DEVICE_STATE } from "./ram_packet.ts";
import { parsePacketStart } from "./ram_packet_header.ts";

/** Bytes of a device-state packet's header. */
export const DEVICE_STATE_HEADER_SIZE = 276;

/** Most payload of one packet that is believed, in bytes; QEMU itself sets no bound. */
export const DEVICE_STATE_MAX_SIZE = 64 * 1024 * 1024;

/** A device-state packet's header. */
export interface DeviceStatePacket {
  /** The device's name, e.g. `0000:00:03.0/vfio`. */
  idstr: string;
  /** Instance of the device. */
  instanceId: number;
  /** Bytes of payload after the header. */
  nextPacketSize: number;
}

/**
 * Reads and checks the header of a device-state packet.
 *
 * @param bytes The 276 bytes.
 * @returns Whose state follows, and how many bytes of it.
 * @throws {ProtocolError} On the first check that fails.
 */
export function parseDeviceStatePacket(bytes: Uint8Array): DeviceStatePacket {
  if (bytes.length !== DEVICE_STATE_HEADER_SIZE) {
    throw new ProtocolError("Device-state header has a wrong length", {
      expected: DEVICE_STATE_HEADER_SIZE,
      received: bytes.length,
    });
  }
  const flags = parsePacketStart(bytes);
  if (flags !== FLAG_DEVICE_STATE) {
    throw new ProtocolError("Packet is not device state, or has other flags, too", {
      expected: hex(FLAG_DEVICE_STATE),
      received: hex(flags),
    });
  }
  const field = bytes.subarray(12, 268);
  const end = field.indexOf(0);
  const idstr = end < 0 ? undefined : decodeName(field.subarray(0, end));
  if (idstr === undefined) throw new ProtocolError("Device-state packet names no device");
  const view = viewOf(bytes);
  const nextPacketSize = view.getUint32(272);
  if (nextPacketSize === 0) {
    throw new ProtocolError(`Device-state packet of "${idstr}" is empty`);
  }
  if (nextPacketSize > DEVICE_STATE_MAX_SIZE) {
    throw new ProtocolError(`Device-state packet of "${idstr}" is too large`, {
      expected: `at most ${DEVICE_STATE_MAX_SIZE}`,
      received: nextPacketSize,
    });
  }
  return { idstr, instanceId: view.getUint32(268), nextPacketSize };
}
