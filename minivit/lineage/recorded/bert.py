"""BERT as published code has it: names and shapes of its arrays, its files, and what was recorded of it."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from minivit import functional as F
from minivit.errors import CheckpointError
from minivit.files import expanded
from minivit.lineage import words
from minivit.lineage.bert import Bert, BertConfig
from minivit.lineage.published import Arrays, beside, fill, gelu, renamed
from minivit.lineage.verify import Case
from minivit.models.archive import read_arrays
from minivit.models.layouts import Shapes
from minivit.optim import global_norm
from minivit.tensor import Tensor, grad

_NAMES = (  # ours -> Hugging Face's; the weights of dense layers are transposed
    (r"^words\.table$", "bert.embeddings.word_embeddings.weight"),
    (r"^positions\.table$", "bert.embeddings.position_embeddings.weight"),
    (r"^types\.table$", "bert.embeddings.token_type_embeddings.weight"),
    (r"^norm\.", "bert.embeddings.LayerNorm."),
    (r"^blocks\.", "bert.encoder.layer."),
    (r"attention\.out\.", "attention.output.dense."),
    (r"norm1\.", "attention.output.LayerNorm."),
    (r"mlp\.hidden\.", "intermediate.dense."),
    (r"mlp\.out\.", "output.dense."),
    (r"norm2\.", "output.LayerNorm."),
    (r"^pooler\.", "bert.pooler.dense."),
    (r"^transform\.", "cls.predictions.transform.dense."),
    (r"^transform_norm\.", "cls.predictions.transform.LayerNorm."),
    (r"^words_bias$", "cls.predictions.bias"),
    (r"^next\.", "cls.seq_relationship."),
    (r"\.scale$", ".weight"),
)
_DIALECTS = (  # of google-research, of older files and of parts of the model -> Hugging Face's
    (r"/", "."),
    (r"^module\.", ""),
    (r"layer_(\d+)", r"layer.\1"),
    (r"(_embeddings)$", r"\1.weight"),
    (r"\.(kernel|gamma|output_weights)$", ".weight"),
    (r"\.(beta|output_bias)$", ".bias"),
    (r"^(?=(embeddings|encoder|pooler)\.)", "bert."),
)
WORDS = ((r"(?<![^/])(last_hidden_state|pooler_output)$", r"\1"),)  # outputs keep their names
_DROPPED = re.compile(r"(^|[./])(position_ids|global_step|adam_[mv]|step)$")
_TIED = {
    "cls.predictions.decoder.weight": "bert.embeddings.word_embeddings.weight",
    "cls.predictions.decoder.bias": "cls.predictions.bias",
}


def views(state: Arrays) -> dict[str, np.ndarray]:
    """Our arrays, or their gradients, as views under Hugging Face's names and in its shapes."""
    found: dict[str, np.ndarray] = {}
    for name, x in state.items():
        theirs = renamed(name, _NAMES)
        x = x.T if name.endswith(".weight") else x
        parts = {theirs: x}
        if ".qkv." in name:
            third = len(x) // 3
            kinds = ("query", "key", "value")
            parts = {theirs.replace("qkv", f"self.{k}"): x[i * third : (i + 1) * third] for i, k in enumerate(kinds)}
        found |= parts
    return found


def hub_name(name: str) -> str:
    """A name of any dialect as Hugging Face has it."""
    return renamed(name, _DIALECTS)


def canonical(arrays: Arrays, source: str = "the file") -> dict[str, np.ndarray]:
    """The arrays of a file in any dialect, under Hugging Face's names. Raises CheckpointError for a file whose logits
    have a table of their own."""
    kept = {name: x for name, x in arrays.items() if not _DROPPED.search(name)}
    found = {hub_name(name): x.T if name.endswith("/kernel") else x for name, x in kept.items()}
    if len(found) < len(kept):
        raise CheckpointError(f"{source} holds two arrays for one place in the model")
    for name, original in _TIED.items():
        copy = found.pop(name, None)
        if copy is not None and not np.array_equal(copy, found.setdefault(original, copy)):
            raise CheckpointError(f"{source}: {name} differs from {original}, with which BERT shares it")
    return found


def told_by(arrays: Arrays, source: str) -> dict[str, Any]:
    """The fields of BertConfig that the arrays tell, and the usual for the rest."""
    shapes = Shapes(arrays, source, "BERT")
    vocabulary, width = shapes("bert.embeddings.word_embeddings.weight", 2)
    return {
        "vocabulary": vocabulary,
        "positions": shapes("bert.embeddings.position_embeddings.weight", 2)[0],
        "types": shapes("bert.embeddings.token_type_embeddings.weight", 2)[0],
        "width": width,
        "depth": shapes.depth(r"bert\.encoder\.layer\.(\d+)\."),
        "heads": max(1, width // 64),
        "mlp_width": shapes("bert.encoder.layer.0.intermediate.dense.weight", 2)[0],
        "pooler": "bert.pooler.dense.weight" in arrays,
        "words_head": "cls.predictions.bias" in arrays,
        "next_head": "cls.seq_relationship.weight" in arrays,
    }


def build(config: Mapping[str, Any], arrays: Arrays, dtype: str = "float64", source: str = "the file") -> Bert:
    """The model of these arrays, in Hugging Face's names, and of a configuration with Hugging Face's fields. Raises
    CheckpointError."""
    fields = told_by(arrays, source)
    if config.get("position_embedding_type", "absolute") != "absolute" or config.get("is_decoder", False):
        raise CheckpointError(
            f"{source}: this BERT has relative positions or is a decoder, which minivit does not have"
        )
    theirs = {"num_attention_heads": "heads", "layer_norm_eps": "norm_eps", "hidden_dropout_prob": "dropout"}
    theirs["attention_probs_dropout_prob"] = "attention_dropout"
    fields |= {ours: config[name] for name, ours in theirs.items() if name in config}
    fields["gelu"] = gelu(config.get("hidden_act", "gelu"), source)
    model = Bert(BertConfig(**fields), None, dtype)
    fill(views({name: tensor.data for name, tensor in model.named_tensors()}), arrays, source)
    return model


def open_pretrained(path: str | Path, dtype: str = "float32", **fields: Any) -> Bert:
    """The model of a file of published weights, .safetensors of Hugging Face or .npz with the names of google-research,
    with the parts that the file has.   fields: as in config.json, which is read where it lies beside the file; without
    it heads have 64 features. Raises CheckpointError and ConfigError."""
    path = expanded(path)
    return build({**beside(path, "bert"), **fields}, canonical(read_arrays(path)[0], str(path)), dtype, str(path))


def recompute(case: Case) -> dict[str, np.ndarray]:
    """Every array of the recording that BERT defines, by its name there."""
    model = build(case.config, canonical(case.weights, case.name), source=case.name).eval()

    def given(name: str) -> np.ndarray | None:
        return case.input(name) if name in case.arrays else None

    tap: dict[str, Any] = {}
    encoded = model(case.input("input_ids"), given("token_type_ids"), given("attention_mask"), tap=tap)
    outputs = {"last_hidden_state": encoded}
    if model.config.pooler:
        pooled = model.pooled(encoded)
        outputs |= dict.fromkeys(("pooler_output", "tap/bert.pooler", "tap/pooler"), pooled)
    if model.config.words_head:
        outputs["tap/cls.predictions.transform"] = model.transformed(encoded)
        outputs["logits"] = outputs["prediction_logits"] = model.logits(encoded)
    if model.config.next_head:
        outputs["seq_relationship_logits"] = model.follows(encoded)
    outputs["output"] = outputs.get("logits", encoded)
    found = {name: x.data for name, x in outputs.items()} | inside(model, tap)
    losses = []
    if (labels := given("labels")) is not None:
        losses.append(words.loss(outputs["logits"], labels))
    if (follows := given("next_sentence_label")) is not None:
        losses.append(F.cross_entropy(outputs["seq_relationship_logits"], follows.reshape(-1)))
    if (cotangent := given("cotangent")) is not None:
        losses.append((outputs["output"] * cotangent).sum())
    if losses:
        loss = losses[0] + losses[1] if len(losses) == 2 else losses[0]
        found |= {"loss": loss.data} | gradients(model, loss, case)
    return found


def gradients(model: Bert, loss: Tensor, case: Case) -> dict[str, np.ndarray]:
    """Those of all parameters, under Hugging Face's names and those of the recording; and their joint norm."""
    names, learning = zip(*model.named_parameters(), strict=True)
    found = grad(loss, learning)
    named = views(dict(zip(names, found, strict=True)))
    named |= {name: named[original] for name, original in _TIED.items() if original in named}
    asked = [name.removeprefix("grad/") for name in case.arrays if name.startswith("grad/")]
    for name in asked:
        if name not in named and hub_name(name) in named:  # official, or of a model without heads
            named[name] = named[hub_name(name)].T if name.endswith("/kernel") else named[hub_name(name)]
    return {"grad_norm": np.array(global_norm(found))} | {f"grad/{name}": g for name, g in named.items()}


def inside(model: Any, tap: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """What stands between the parts of the encoder, under the names of Hugging Face's modules."""
    found = {"bert.embeddings": tap["embedded"]}
    for i, block in enumerate(model.blocks):
        place, middle = f"bert.encoder.layer.{i}", tap[f"block{i}/middle"]
        hidden = F.gelu(block.mlp.hidden(middle), model.config.gelu)
        found |= {f"{place}.attention.self": tap[f"block{i}/attended"], f"{place}.intermediate": hidden}
        found |= dict.fromkeys((f"{place}.attention", f"{place}.attention.output"), middle)
        found |= dict.fromkeys((place, f"{place}.output"), tap[f"block{i}/output"])
    found |= {name.removeprefix("bert."): x for name, x in found.items()}  # as in a model without heads
    return {f"tap/{name}": x.data for name, x in found.items()}
