"""Settings of the optimisation that contradict each other."""

from contract.tasks import CLASSES, CODE, WORDS
from contract.wrong import wrong

from luthier_api.optimizers import NEEDS_GPU, REFUSED

OPTIMISATION = [
    *(
        wrong(
            f"batch size {size}",
            {"training.perDeviceBatchSize": size},
            "spec.training.perDeviceBatchSize",
            "write a number from 1 to 4096, or auto",
        )
        for size in (0, 5000, "large", "8")
    ),
    wrong(
        "half a row",
        {"training.perDeviceBatchSize": 1.5},
        "spec.training.perDeviceBatchSize",
        "integer",
    ),
    *(
        wrong(name, {"training.optimizer": name}, "spec.training.optimizer", reason)
        for name, reason in REFUSED.items()
    ),
    *(
        wrong(
            f"{name} on CPU",
            {"training.optimizer": name},
            "spec.training.optimizer",
            "or set placement.gpus",
        )
        for name in sorted(NEEDS_GPU - REFUSED.keys())
    ),
    wrong(
        "stops without looking",
        {"training.earlyStopping": {}},
        "spec.training.earlyStopping",
        "set evalEverySteps",
    ),
    wrong(
        "stops by what isn't measured",
        {"training.evalEverySteps": 10, "training.earlyStopping": {"metric": "f1"}},
        "spec.training.earlyStopping.metric",
        "add the metric there",
    ),
    wrong(
        "stops by perplexity of classes",
        {
            **CLASSES,
            "training.evalEverySteps": 10,
            "training.earlyStopping": {"metric": "perplexity"},
        },
        "spec.training.earlyStopping.metric",
        "use eval_loss",
    ),
    wrong(
        "plateau without looking",
        {"training.scheduler": "reduce_lr_on_plateau"},
        "spec.training.scheduler",
        "set evalEverySteps",
    ),
    wrong(
        "greedy without looking",
        {"training.scheduler": "greedy"},
        "spec.training.scheduler",
        "set evalEverySteps",
    ),
    wrong(
        "stops at the end",
        {"training.evalEverySteps": 100, "training.earlyStopping": {}},
        "spec.training.evalEverySteps",
        "below maxSteps",
    ),
    *(
        wrong(
            f"{scheduler} without time",
            {"training.scheduler": scheduler, "training.evalEverySteps": every},
            "spec.training.evalEverySteps",
            "lower evalEverySteps",
        )
        for scheduler, every in (("reduce_lr_on_plateau", 9), ("greedy", 10))
    ),
    wrong(
        "plateau with warm-up",
        {
            "training.scheduler": "reduce_lr_on_plateau",
            "training.evalEverySteps": 10,
            "training.warmupRatio": 0.1,
        },
        "spec.training.warmupRatio",
        "remove warmupRatio",
    ),
    *(
        wrong(
            f"{option} of a cosine",
            {"training.schedulerOptions": {option: value}},
            f"spec.training.schedulerOptions.{option}",
            "remove it, or change scheduler",
        )
        for option, value in (
            ("minLearningRate", 1e-5),
            ("cycles", 2),
            ("power", 2),
            ("decayRatio", 0.1),
        )
    ),
    *(
        wrong(
            f"{scheduler} without {option}",
            {"training.scheduler": scheduler},
            "spec.training.scheduler",
            f"schedulerOptions.{option}",
        )
        for scheduler, option in (
            ("cosine_with_min_lr", "minLearningRate"),
            ("cosine_warmup_with_min_lr", "minLearningRate"),
            ("warmup_stable_decay", "decayRatio"),
        )
    ),
    wrong(
        "more than all steps",
        {
            "training.scheduler": "warmup_stable_decay",
            "training.warmupRatio": 0.6,
            "training.schedulerOptions": {"decayRatio": 0.6},
        },
        "spec.training.schedulerOptions.decayRatio",
        "lower one",
    ),
    wrong(
        "smoothed loss of one's own",
        {"training.loss": CODE, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
    *(
        wrong(
            f"{kind} shared out",
            {"method": {"type": kind}, "training.parallel": "fsdp"},
            "spec.training.parallel",
            "the methods full and lora",
        )
        for kind in ("qlora", "adapter", "ia3", "prefix", "prompt")
    ),
    *(
        wrong(
            f"full by {name}, shared out",
            {
                "method": {"type": "full"},
                "training.parallel": "fsdp",
                "training.optimizer": name,
            },
            "spec.training.optimizer",
            "go by whole ones",
        )
        for name in ("adafactor", "adamw_bnb_8bit")
    ),
    wrong(
        "full in fp16, shared out",
        {
            "method": {"type": "full"},
            "placement.gpus": 2,
            "training.parallel": "fsdp",
            "training.precision": "fp16",
        },
        "spec.training.precision",
        "bf16 or fp32",
    ),
    wrong(
        "packed loss of one's own",
        {**WORDS, "training.loss": CODE, "training.packing": "Always"},
        "spec.training.packing",
        "Auto or Never",
    ),
    wrong(
        "loss by a path",
        {"training.loss": {**CODE, "entrypoint": "losses.Code"}},
        "spec.training.loss.entrypoint",
        "plain Python name",
    ),
    wrong(
        "loss outside its ConfigMap",
        {"training.loss": {**CODE, "configMapRef": {"name": "code", "key": "..code"}}},
        "spec.training.loss.configMapRef.key",
        "rename it",
    ),
    wrong(
        "loss without a key",
        {"training.loss": {"configMapRef": {"name": "code"}, "entrypoint": "Code"}},
        "spec.training.loss.configMapRef.key",
        "Required value",
    ),
    wrong(
        "packed classes",
        {**CLASSES, "training.packing": "Always"},
        "spec.training.packing",
        "set packing to Auto",
    ),
]
