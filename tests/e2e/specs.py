"""Specs of runs that take seconds."""

from e2e.runs import Json

# A run of a few seconds on the tiny model. Steps enough for a fault to hit it in the middle.
TINY: Json = {
    "model": {"uri": "s3://models/tiny"},
    "task": "classification",
    "dataset": {
        "uri": "s3://datasets/wordnet",
        "template": "{gloss}\nCategory: {label}",
        "train": "train[:1200]",
        "test": "test[:30]",
    },
    "method": {"type": "lora", "lora": {"rank": 4, "alpha": 8, "dropout": 0.1}},
    "training": {
        "maxSteps": 300,
        "learningRate": 1e-3,
        "perDeviceBatchSize": 4,
        "maxLength": 64,
        "logEverySteps": 20,
        "saveEverySteps": 20,
    },
    "evaluation": {"metrics": ["accuracy", "loss"]},
    "output": {"uri": "s3://artifacts/models"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 2400},
}

# A run of a dozen steps.
BASE: Json = {
    "model": {"uri": "s3://models/tiny"},
    "dataset": {"uri": "s3://datasets/colours", "evalFraction": 0.2},
    "method": {"type": "lora", "lora": {"rank": 4}},
    "training": {"maxSteps": 12, "learningRate": 1e-3, "perDeviceBatchSize": 4, "maxLength": 64},
    "evaluation": {"metrics": ["loss"]},
    "output": {"uri": "s3://artifacts/models"},
    "placement": {"pool": "tiny"},
    "limits": {"activeDeadlineSeconds": 2400},
}
TEMPLATE: Json = {"dataset": {"template": "{text}\nColour: {label}"}}
COLOURS = ("red", "green", "blue")


def rows(count: int) -> list[Json]:
    """Rows with a column for every form of example."""
    found = []
    for number in range(count):
        colour = COLOURS[number % 3]
        text = f"thing number {number} is {colour}"
        turns = [{"role": "user", "content": text}, {"role": "assistant", "content": colour}]
        found.append(
            {
                "text": text,
                "label": colour,
                "messages": turns,
                "tokens": text.split(),
                "tags": ["O"] * 4 + ["B-COLOUR"],
                "other": f"{colour} is number {number + 3}",
                "score": 1.0,
                "good": number % 2 == 0,
            }
        )
    return found
