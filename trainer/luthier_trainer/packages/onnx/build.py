"""Packages of plain ONNX: the Builder of this format."""

import json
from pathlib import Path
from typing import Any

from luthier_api.optimizejob import Optimizing
from luthier_api.result import ExitCode
from luthier_trainer.errors import Interrupted, Superseded, TrainerError, unsupported
from luthier_trainer.log import log_traceback
from luthier_trainer.packages.contract import FormatName, Runner, Source
from luthier_trainer.pod.interrupt import Interrupt

# What is made for a device, the largest first. In CUDA and DirectML, ONNX Runtime has no kernels
# for what its quantisers make of these graphs.
_PRECISIONS = {
    "cpu": ("fp32", "int8", "int4"),
    "cuda": ("fp32", "fp16"),
    "dml": ("fp32", "fp16"),
}


class OnnxBuilder:
    """Exports a model once for all precisions of the same type, then makes a package of each."""

    format: FormatName = "onnx"

    def __init__(self, optimizing: Optimizing, interrupt: Interrupt) -> None:
        self._optimizing = optimizing
        self._interrupt = interrupt

    def refuses(self, source: Source) -> str | None:
        """Why it can't make a package of this model; None: it can."""
        if self._optimizing.adapter == "Separate":
            return (
                "this model is exported as plain ONNX, which has no adapters loaded at run time: "
                "set adapter to Merge"
            )
        config = json.loads((source.folder / "config.json").read_text())
        return unfit(config, source.head.auto_class)

    def unbuildable(self, source: Source, precision: str) -> str | None:  # noqa: ARG002
        return None  # what doesn't fit into 4 bits gets 8 (quantize.py)

    def automatic(self, source: Source) -> tuple[str, ...]:  # noqa: ARG002 - a Builder's
        return _PRECISIONS[self._optimizing.target.device]

    def require(self, precision: str) -> None:
        """Raises TrainerError (PrecisionNotSupported)."""
        device = self._optimizing.target.device
        there = _PRECISIONS[device]
        if precision not in there:
            raise unsupported(
                "PrecisionNotSupported",
                f"a plain ONNX model for {device} can't be made in {precision}: take "
                f"{', '.join(there[:-1])} or {there[-1]}",
                "precisions",
            )

    def options(self, precision: str) -> dict[str, Any]:
        """What shapes a package beside its precision."""
        found: dict[str, Any] = {"exporter": "torch.onnx (dynamo)"}
        if precision == "int8":
            found |= {"linear": "dynamic, per channel", "embeddings": "per row", "heads": "fp32"}
        if precision == "int4":
            found |= {**self._optimizing.int4.to_json(), "embeddings": "int8, per row"}
        return found

    def build(self, source: Source, precision: str, folder: Path) -> None:
        """Fill `folder`; what the next precision can use lies beside it. Raises TrainerError
        (BuildFailed), Interrupted, Superseded."""
        from luthier_trainer.models.load import load_tokenizer
        from luthier_trainer.packages.onnx.package import write

        self.require(precision)
        try:
            model = _load(source, half=precision == "fp16")
            kept = folder.parent / f"exported-{source.digest}-{next(model.parameters()).dtype}"
            graphs = {
                name: self._quantized(graph, precision, model, folder.parent)
                for name, graph in self._exported(source, model, kept).items()
            }
            self._interrupt.check()
            tokenizer = load_tokenizer(source.folder)
            write(folder, graphs, model, tokenizer, source, precision)
        except (TrainerError, Interrupted, Superseded, MemoryError):
            raise
        except Exception as error:
            log_traceback(error)
            raise TrainerError(
                ExitCode.UNSUPPORTED,
                "BuildFailed",
                f"{type(error).__name__}: {str(error)[:1000]} (the model couldn't be made an ONNX "
                f"graph in {precision}; the pod's log has the traceback)",
                "precisions",
            ) from error

    def open(self, folder: Path, threads: int) -> Runner:
        from luthier_trainer.packages.onnx.runner import OnnxRunner

        return OnnxRunner(folder, threads)

    def _exported(self, source: Source, model: Any, kept: Path) -> dict[str, Any]:
        """name → onnx_ir.Model, unquantised; exported by the first call alone, into `kept`."""
        import onnx_ir as ir

        from luthier_trainer.packages.onnx.export import export, graphs_of

        found = {}
        for graph in graphs_of(model, source.head.auto_class, source.pooling):
            file = kept / f"{graph.name}.onnx"
            if not file.exists():
                self._interrupt.check()
                kept.mkdir(parents=True, exist_ok=True)
                exported = export(graph)
                ir.save(exported, file.with_suffix(".part"), external_data=f"{file.name}.data")
                file.with_suffix(".part").rename(file)
            loaded = ir.load(file)
            ir.external_data.load_to_model(loaded)
            found[graph.name] = loaded
        return found

    def _quantized(self, graph: Any, precision: str, model: Any, scratch: Path) -> Any:
        from luthier_trainer.models.heads import head_modules
        from luthier_trainer.packages.onnx.quantize import to_int4, to_int8

        self._interrupt.check()
        heads = [] if model.can_generate() else head_modules(model)
        if precision == "int8":
            return to_int8(graph, heads, scratch)
        if precision == "int4":
            return to_int4(graph, heads, scratch, self._optimizing.int4)
        return graph


def unfit(config: dict[str, Any], auto_class: str) -> str | None:
    """Why a model of this configuration can't be exported, with a remedy; None: it can."""
    if auto_class != "AutoModelForCausalLM":
        return None
    import inspect

    import transformers

    from luthier_trainer.packages.onnx.route import architecture

    name = architecture(config)
    found = getattr(transformers, str(name), None)
    takes = set(inspect.signature(found.forward).parameters) if found else set()
    lacking = {"position_ids", "logits_to_keep", "cache"} - takes
    if not lacking:
        return None
    return (
        f"{name or config.get('model_type')} can't be exported as a plain ONNX model that "
        f"generates: its forward doesn't take {', '.join(sorted(lacking))}; take a model that "
        "onnxruntime-genai knows, e.g. a Llama, Qwen, Gemma, Phi or SmolLM"
    )


def _load(source: Source, half: bool) -> Any:
    model = source.load()
    model.set_attn_implementation("eager")
    if half:
        # Not buffers: angles of positions are computed in fp32. Nor what some models keep so.
        wide = set(getattr(model, "_keep_in_fp32_modules", None) or ())
        for name, parameter in model.named_parameters():
            if wide.isdisjoint(name.split(".")):
                parameter.data = parameter.data.half()
    return model
