"""What names packages and measurements in the cache: all that shapes them. Pure but for what is
installed, and on which machine."""

from luthier_api.optimizejob import Benchmark
from luthier_trainer.machine.description import machine
from luthier_trainer.optimize.packagecache import key_of
from luthier_trainer.packages.contract import Builder, Source
from luthier_trainer.pod import publish

# Rises with every change of what is in a package: those of before are built anew.
_LAYOUT = 4


def source_key(source: Source) -> str:
    """Of the source as it is."""
    return key_of({"source": source.digest, "versions": publish.versions(onnx=True)})


def package_key(source: Source, builder: Builder, precision: str, device: str) -> str:
    """Of a package that is made of it for a device."""
    return key_of(
        {
            "layout": _LAYOUT,
            "source": source.digest,
            "precision": precision,
            "format": builder.format,
            "device": device,
            "options": builder.options(precision),
            "versions": publish.versions(onnx=True),
        }
    )


def measured_by(rows: str | None, benchmark: Benchmark) -> str:
    """Of a measurement of whatever. `rows`: their digest (rows.Rows)."""
    return key_of({"rows": rows, "benchmark": benchmark.to_json(), "machine": machine()})
