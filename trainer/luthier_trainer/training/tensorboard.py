"""TensorBoard event files, without TensorBoard (its import takes seconds).

A file is a sequence of TFRecords (length, masked CRC-32C of it, data, masked CRC-32C of
the data), each an Event message of tensorflow/core/util/event.proto.
"""

import struct
from typing import Any

from luthier_trainer.training.journal import Journal

_POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected


def _crc_table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


_TABLE = _crc_table()


def event_file(journal: Journal, started: float) -> bytes:
    """All scalars of the journal. `started`: Unix time that its `seconds` count from."""
    events = [_double(1, started) + _bytes(3, b"brain.Event:2")]
    for entry in journal.entries:
        time = started + entry.get("seconds", 0.0)
        values = b"".join(
            _bytes(1, _bytes(1, tag(name).encode()) + _float(2, value))
            for name, value in entry.items()
            if name not in ("step", "seconds")
        )
        events.append(_double(1, time) + _varint_field(2, entry["step"]) + _bytes(5, values))
    return b"".join(_record(event) for event in events)


def tag(name: str) -> str:
    """A value of the journal, as the curves of a tracker are called."""
    return f"eval/{name[5:]}" if name.startswith("eval_") else f"train/{name}"


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + _masked_crc(length) + data + _masked_crc(data)


def _masked_crc(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= 0xFFFFFFFF
    return struct.pack("<I", (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _varint_field(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _double(number: int, value: float) -> bytes:
    return _varint(number << 3 | 1) + struct.pack("<d", value)


def _float(number: int, value: Any) -> bytes:
    return _varint(number << 3 | 5) + struct.pack("<f", value)


def _bytes(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value
