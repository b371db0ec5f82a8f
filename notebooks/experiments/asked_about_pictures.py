"""Questions about drawn scenes, answered by LLaVA and by Flamingo, and by both with a language model that stays frozen.

From the folder notebooks/:

    OPENBLAS_NUM_THREADS=1 python -m experiments.asked_about_pictures

About twenty minutes of one core. Writes results/asked_about_pictures.json after every seed; started again, it goes on
where it was.

Every seed first trains the two presets, scenes-llava and scenes-flamingo, and the second one with closed gates. In them
everything learns. Then a language model learns the questions and answers without images. Two bridges put it together
with the encoder of the first run, and both stay frozen: a projector whose rows are words (LLaVA's stage 1), and a
resampler with gated blocks, closed at first. The controls exchange the image of a trained model. "words alone" is a
guess from the question only.
"""

import dataclasses
from collections import Counter
from typing import Any

import numpy as np
from experiments import record

from minivit.data import Augment, Dataset, load
from minivit.data import scenes_words as words
from minivit.lineage import answers, llama
from minivit.lineage.flamingo import Flamingo, FlamingoConfig
from minivit.lineage.llama import Llama, LlamaConfig
from minivit.lineage.llava import LLaVA, LLaVAConfig
from minivit.models import ViT
from minivit.optim import AdamW, warmup_cosine
from minivit.runs.presets import preset
from minivit.runs.recipes import complete
from minivit.runs.trainer import Trainer
from minivit.tensor import Tensor, grad, no_grad
from minivit.update.batch import Batch
from minivit.update.objective import Objective
from minivit.update.step import step

SEEDS = 3
CHOICES: dict[str, Any] = {"workers": 1, "eval_every": 2000}
TEXT_STEPS, BRIDGE_STEPS = 600, 600
BATCH, RATE = 64, 2e-3
RUNS: dict[str, tuple[str, dict[str, Any]]] = {  # name -> preset, and what is changed in its objective
    "scenes-llava": ("scenes-llava", {}),
    "scenes-flamingo": ("scenes-flamingo", {}),
    "closed gates": ("scenes-flamingo", {"gate": 0.0}),
}
BRIDGES = ("projector", "gated blocks")
GATES = (0, 25, 50, 100, 200, 400, 600)  # steps after which gates are recorded


def asked(data: Dataset, objective: Objective) -> Batch:
    """All examples of the data as one batch, with their texts."""
    batch = data.columns(range(len(data)), objective.columns)
    batch["images"] = Augment((32, 32))(batch["images"])
    return {**batch, **objective.draw(batch, 0, np.random.default_rng(0))}


def tested(objective: Objective, batch: Batch) -> dict[str, list[float]]:
    """For each control the share of right answers: of all questions, then of each sort."""
    found, counted = answers.right(objective, batch, 0)
    sorts = answers.sort_of(batch["question"])
    return {kind: by_sort((hits & counted).any(axis=1), sorts) for kind, hits in found.items()}


def by_sort(right: np.ndarray, sorts: np.ndarray) -> list[float]:
    """The share of all, then of each sort."""
    groups = [sorts >= 0, *(sorts == i for i in range(len(answers.SORTS)))]
    return [round(float(right[some].mean()), 4) for some in groups]


def words_alone(train: Batch, test: Batch) -> np.ndarray:
    """Whether the most frequent answer to the same question in training is right. To a question that is new, the most
    frequent one to its sort."""
    seen: dict[Any, Counter] = {}
    for keys, answer in zip(keys_of(train), train["answer"].tolist(), strict=True):
        for key in keys:
            seen.setdefault(key, Counter())[answer] += 1
    guesses = [(seen.get(whole) or seen[sort]).most_common(1)[0][0] for whole, sort in keys_of(test)]
    return np.array(guesses) == test["answer"]


def keys_of(batch: Batch) -> list[tuple[tuple[int, ...], int]]:
    """The words of each question, and its sort."""
    pairs = zip(batch["question"].tolist(), answers.sort_of(batch["question"]).tolist(), strict=True)
    return [(tuple(question), sort) for question, sort in pairs]


def preset_run(name: str, seed: int, train: Dataset, **changes: Any) -> tuple[Any, list[float]]:
    """The trained objective of one of `RUNS`, and its losses.   changes: of the recipe."""
    base, own = RUNS[name]
    choices = preset(base)
    recipe = complete(
        {**choices, **CHOICES, "seed": seed, "objective": {**choices["objective"], **own}, **changes}, train
    )
    trainer = Trainer(recipe, train, None, None)
    losses = [progress.loss for progress in trainer.run()]
    return trainer.objective, losses


def last(losses: list[float], count: int) -> float:
    """The mean of the last so many."""
    return round(float(np.mean(losses[-count:])), 4)


def decoder(objective: Any) -> LlamaConfig:
    """The shape of its language model alone."""
    return LlamaConfig(
        **{field.name: getattr(objective.config, field.name) for field in dataclasses.fields(LlamaConfig)}
    )


def text_model(config: LlamaConfig, texts: Batch, seed: int) -> tuple[Llama, float]:
    """A language model of questions and answers, all words of which are predicted, and its last loss. The texts have an
    <image>, as Flamingo reads them, but there is no image."""
    model, rng = Llama(config, seed), np.random.default_rng((seed, 9))
    ids = texts["ids"]
    labels = np.where((ids == words.PAD) | (ids == len(words.WORDS)), llama.IGNORED, ids)
    optimizer = AdamW(model.named_parameters(), warmup_cosine(RATE, TEXT_STEPS, TEXT_STEPS // 10), weight_decay=0.1)
    losses = []
    for _ in range(TEXT_STEPS):
        some = rng.permutation(len(ids))[:BATCH]
        loss = text_loss(model, ids[some], labels[some])
        optimizer.step(grad(loss, model.parameters()))
        losses.append(loss.item())
    return model, last(losses, 50)


def text_loss(model: Llama, ids: np.ndarray, labels: np.ndarray) -> Tensor:
    logits = model(model.words(ids), (ids != words.PAD).astype(np.int64))
    return llama.next_token_loss(logits, labels, llama.shares(labels))


def bridge(kind: str, vision: ViT, language: Llama, seed: int) -> Any:
    """An objective around a frozen encoder and a frozen language model, of which only the parts between them learn."""
    if kind == "projector":
        fields = {**preset("scenes-llava")["objective"], "learn": "projector"}
        return adopt(LLaVA(LLaVAConfig(**without_name(fields)), vision, seed), "language", language)
    fields = {**preset("scenes-flamingo")["objective"], "learn": "bridge", "gate": 0.0}
    objective = Flamingo(FlamingoConfig(**without_name(fields)), vision, seed)
    adopt(objective.reader, "language", language)
    return objective


def without_name(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name != "name"}


def adopt(owner: Any, name: str, model: Llama) -> Any:
    """The owner with this frozen language model in the place of its own."""
    model.freeze()
    setattr(owner, name, model)
    return owner


def bridge_run(kind: str, vision: ViT, language: Llama, seed: int, train: Batch, test: Batch) -> dict[str, Any]:
    """Train the bridge: the loss before and after, tanh of the gates over time, and the controls."""
    objective, rng = bridge(kind, vision, language, seed), np.random.default_rng((seed, 10))
    batch = {**train, **objective.draw(train, 0, rng)}
    optimizer = AdamW(
        objective.named_parameters(), warmup_cosine(RATE, BRIDGE_STEPS, BRIDGE_STEPS // 10), betas=(0.9, 0.98),
        weight_decay=0.1,
    )  # fmt: skip
    losses, gates = [], [gates_of(objective)]
    for i in range(BRIDGE_STEPS):
        some = rng.permutation(len(batch["ids"]))[:BATCH]
        piece = {name: x[some] for name, x in batch.items()}
        piece["weight"] = llama.shares(piece["labels"])
        losses.append(step(objective.train(), optimizer, piece, 1.0, seed=(seed, i)).loss)
        if i + 1 in GATES:
            gates.append(gates_of(objective))
    right = tested(objective, {**test, **objective.draw(test, 0, rng)})
    return {"first_loss": round(losses[0], 4), "loss": last(losses, 50), "gates": gates, "right": right}


def gates_of(objective: Any) -> list[float]:
    """tanh a, tanh b of every gated block."""
    blocks = objective.reader.gated if isinstance(objective, Flamingo) else []
    return [round(float(np.tanh(gate.data[0])), 4) for block in blocks for gate in (block.gate, block.mlp_gate)]


def guessing(language: Llama, test: Batch) -> list[float]:
    """The answers of the language model that saw no image."""
    with no_grad():
        said = language(language.words(test["ids"]), test["seen"]).data.argmax(axis=-1)
    before = (test["labels"] != llama.IGNORED).argmax(axis=1) - 1
    return by_sort(said[np.arange(len(said)), before] == test["answer"], answers.sort_of(test["question"]))


def header() -> dict[str, Any]:
    """What the results depend on, but for their seeds."""
    return {
        "command": "cd notebooks && OPENBLAS_NUM_THREADS=1 python -m experiments.asked_about_pictures",
        "data": "drawn scenes of one to four shapes, 32x32 pixels: 10,000 for training and 2,000 for the test",
        "config": {
            **CHOICES, "presets": {name: preset(name) for name in ("scenes-llava", "scenes-flamingo")},
            "text_steps": TEXT_STEPS, "bridge_steps": BRIDGE_STEPS, "batch": BATCH, "rate": RATE, "gates": GATES,
            "runs": RUNS, "bridges": BRIDGES, "sorts": answers.SORTS,
        },
    }  # fmt: skip


def measure(seed: int, train: Dataset, test: Dataset) -> dict[str, Any]:
    """All runs of a seed."""
    found, objectives = {}, []
    for name in RUNS:
        objective, losses = preset_run(name, seed, train)
        found[name] = {"loss": last(losses, 100), "right": tested(objective, asked(test, objective))}
        objectives.append(objective)
        print(seed, name, found[name], flush=True)
    known, new = (asked(data, objectives[1]) for data in (train, test))
    language, loss = text_model(decoder(objectives[0]), known, seed)
    found["language alone"] = {"loss": loss, "right": guessing(language, new)}
    for kind in BRIDGES:
        found[kind] = bridge_run(kind, objectives[0].encoder, language, seed, known, new)
        print(seed, kind, found[kind], flush=True)
    sorts = answers.sort_of(new["question"])
    found["words alone"] = by_sort(words_alone(known, new), sorts)
    found["questions"] = [int((sorts == i).sum()) for i in range(len(answers.SORTS))]
    return found


def main() -> None:
    results = record.begin("asked_about_pictures", header())
    found = results["results"]
    train, test = load("scenes"), load("scenes", split="test")
    for seed in range(min((len(by_seed) for by_seed in found.values()), default=0), SEEDS):
        for name, result in measure(seed, train, test).items():
            found.setdefault(name, []).append(result)
        record.write("asked_about_pictures", results)


if __name__ == "__main__":
    main()
