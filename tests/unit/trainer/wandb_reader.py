"""Run by the Python that W&B's client is installed in: a .wandb file as JSON.

The file is a log as LevelDB writes it (blocks of 32 KiB, whose records are whole or parts of one),
of the messages that W&B's own protocol buffers define.
"""

import json
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK, _FILE_HEADER, _HEADER = 32 * 1024, 7, 7
_FULL, _FIRST, _LAST = 1, 2, 4


def records(data: bytes) -> Iterator[bytes]:
    assert data.startswith(b":W&B")
    at, parts = _FILE_HEADER, b""
    while at + _HEADER <= len(data):
        left = _BLOCK - at % _BLOCK
        if left < _HEADER:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        at += _HEADER
        parts = (
            data[at : at + length] if kind in (_FULL, _FIRST) else parts + data[at : at + length]
        )
        at += length
        if kind in (_FULL, _LAST):
            yield parts


def main() -> None:
    found: dict[str, Any] = {"history": [], "config": {}, "summary": {}}
    for data in records(Path(sys.argv[1]).read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        match record.WhichOneof("record_type"):
            case "run":
                run = record.run
                found["run"] = {
                    "id": run.run_id,
                    "project": run.project,
                    "name": run.display_name,
                    "group": run.run_group,
                }
                found["config"] |= _values(run.config.update)
            case "config":
                found["config"] |= _values(record.config.update)
            case "history":
                found["history"].append(_values(record.history.item))
            case "summary":
                found["summary"] |= _values(record.summary.update)
            case "exit":
                found["exit"] = record.exit.exit_code
    print(json.dumps(found))


def _values(items: Any) -> dict[str, Any]:
    return {it.key or "/".join(it.nested_key): json.loads(it.value_json) for it in items}


if __name__ == "__main__":
    main()
