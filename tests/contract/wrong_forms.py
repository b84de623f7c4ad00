"""Columns, tasks and similarity that don't go together."""

from contract.tasks import CLASSES, CODE, NEGATIVES, PAIRS, UNLABELLED, WORDS, columns
from contract.wrong import wrong

FORMS = [
    wrong(
        "template and columns",
        {"dataset.columns": {"text": "phrase", "label": "tone"}},
        "spec.dataset.template",
        "either template",
    ),
    wrong(
        "prompt alone",
        {**WORDS, **columns(prompt="question")},
        "spec.dataset.columns",
        "prompt and completion",
    ),
    wrong(
        "messages and label",
        columns(messages="chat", label="tone"),
        "spec.dataset.columns",
        "columns that go together",
    ),
    wrong(
        "input without an instruction",
        {**WORDS, **columns(input="input", output="output")},
        "spec.dataset.columns",
        "instruction and output",
    ),
    wrong(
        "chat template of texts",
        {"dataset.chatTemplate": {"text": "{{ messages }}"}},
        "spec.dataset.chatTemplate",
        "chatTemplate writes conversations",
    ),
    wrong(
        "chat template in two places",
        {
            **WORDS,
            **columns(messages="chat"),
            "dataset.chatTemplate": {
                "text": "{{ messages }}",
                "configMapRef": {"name": "chat", "key": "chat.jinja"},
            },
        },
        "spec.dataset.chatTemplate.text",
        "either text or configMapRef",
    ),
    wrong("no columns", columns(), "spec.dataset.columns", "columns that go together"),
    wrong(
        "column over two lines",
        columns(text="the\nphrase", label="tone"),
        "spec.dataset.columns.text",
        "rename the column",
    ),
    wrong(
        "classes of a conversation",
        columns(messages="chat"),
        "spec.dataset.columns",
        "columns.text and columns.label",
    ),
    wrong(
        "similarity by a template",
        {"task": "similarity"},
        "spec.dataset.columns",
        "columns.first and columns.second",
    ),
    wrong(
        "extraction of classes",
        {**CLASSES, "task": "extraction"},
        "spec.dataset.columns",
        "columns.tokens and columns.tags",
    ),
    wrong(
        "summary of classes",
        {**CLASSES, "task": "summarization"},
        "spec.dataset",
        "columns.completion",
    ),
    wrong(
        "pairs without a label",
        UNLABELLED,
        "spec.dataset.columns",
        "in_batch_negatives",
    ),
    wrong(
        "answers in chunks",
        {"task": "generation", "dataset.longRows": "Chunk", "dataset.lossOn": "Completion"},
        "spec.dataset.longRows",
        "learnt as a whole",
    ),
    wrong(
        "classes in chunks",
        {"task": "classification", "dataset.longRows": "Chunk"},
        "spec.dataset.longRows",
        "set task to it",
    ),
    wrong(
        "loss on the completion of a class",
        {**CLASSES, "dataset.lossOn": "Completion"},
        "spec.dataset.lossOn",
        "remove it",
    ),
]

SIMILARITY = [
    wrong(
        "similarity of classes",
        {"training.similarity": {"pooling": "cls"}},
        "spec.training.similarity",
        "remove it, or change task",
    ),
    wrong(
        "margin of a cosine",
        {**PAIRS, "training.similarity": {"margin": 0.2}},
        "spec.training.similarity.margin",
        "change objective",
    ),
    wrong(
        "scale of a cosine",
        {**PAIRS, "training.similarity": {"scale": 5}},
        "spec.training.similarity.scale",
        "change objective",
    ),
    wrong(
        "negatives of one pair",
        {**NEGATIVES, "training.perDeviceBatchSize": 1},
        "spec.training.perDeviceBatchSize",
        "raise perDeviceBatchSize",
    ),
    wrong(
        "loss of one pair",
        {**NEGATIVES, "evaluation.batchSize": 1},
        "spec.evaluation.batchSize",
        "raise evaluation.batchSize",
    ),
    wrong(
        "two objectives",
        {
            **PAIRS,
            "training.loss": CODE,
            "training.similarity": {"objective": "contrastive"},
        },
        "spec.training.similarity.objective",
        "keep one",
    ),
    wrong(
        "smoothed similarity",
        {**PAIRS, "training.labelSmoothing": 0.1},
        "spec.training.labelSmoothing",
        "remove labelSmoothing",
    ),
]
