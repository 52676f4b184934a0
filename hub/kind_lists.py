"""The files of a full model and of a dataset, as `hub.allow_list` has those of an adapter.

Repos of models hold much that belongs to other libraries; it is left there, unopened. Pickled weights are left there
too where safetensors lie beside them, and refused otherwise.
"""

import re
from collections.abc import Mapping

from hub.allow_list import ADAPTER, LICENCE, MAX_LICENCE_BYTES, MAX_WEIGHTS_BYTES, MEBIBYTE, TEXTS, TOKENIZER, Rules

MODEL_CONFIG = "config.json"
INDEX_FILE = "model.safetensors.index.json"
SINGLE_FILE = "model.safetensors"
MANIFEST_FILE = "medley.json"
DATASET_REPORT = "dataset.json"
DATASET_SPLITS = ("train.jsonl", "eval.jsonl")
SHARD = re.compile(r"model-\d{5}-of-\d{5}\.safetensors")
MAX_ROWS_BYTES = 4096 * MEBIBYTE  # of one split

MODEL = Rules(
    noun="a model",
    taken={
        MODEL_CONFIG: MEBIBYTE,
        "generation_config.json": MEBIBYTE,
        "preprocessor_config.json": MEBIBYTE,
        "processor_config.json": MEBIBYTE,
        SINGLE_FILE: MAX_WEIGHTS_BYTES,
        INDEX_FILE: 16 * MEBIBYTE,
        MANIFEST_FILE: MEBIBYTE,
        **TEXTS,
        **TOKENIZER,
    },
    patterns={SHARD: MAX_WEIGHTS_BYTES, LICENCE: MAX_LICENCE_BYTES},
    has_weights=lambda name: name == SINGLE_FILE or SHARD.fullmatch(name) is not None,
    advice="Save the weights as safetensors (transformers does so by default).",
    spare=re.compile(
        r"(pytorch_model|model)(-\d{5}-of-\d{5})?\.bin|pytorch_model\.bin\.index\.json|consolidated[\w.-]*\.(pth|pt)"
    ),
    left_out=re.compile(
        r"(onnx|openvino|coreml|original|metal|assets|images|figures|evaluation|\.eval_results|quantized)/"
        r"|.*\.(gguf|onnx|msgpack|h5|ot|tflite|mlmodel|png|jpe?g|gif|svg|webp|pdf|md|csv)"
        r"|consolidated[\w.-]*\.safetensors|params\.json|tekken\.json"
    ),
)

DATASET = Rules(
    noun="a dataset",
    taken={
        DATASET_REPORT: 16 * MEBIBYTE,
        MANIFEST_FILE: MEBIBYTE,
        **dict.fromkeys(DATASET_SPLITS, MAX_ROWS_BYTES),
        "README.md": MEBIBYTE,
        "recipe.yaml": MEBIBYTE,
    },
    has_weights=lambda name: name in DATASET_SPLITS,
    advice="Rows are JSON lines.",
)

RULES: Mapping[str, Rules] = {"adapter": ADAPTER, "model": MODEL, "dataset": DATASET}  # by kind
