"""What the stored experiments of the notebooks say: means and differences over seeds, with their standard errors."""

import base64
import json
import math
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from number_tables.table import Table

RESULTS = Path(__file__).resolve().parents[2] / "notebooks/results"
T_95 = {3: 4.303, 5: 2.776, 8: 2.365, 10: 2.262}  # runs: half of a 95 % interval in standard errors (Student)


def stored(name: str) -> dict[str, Any]:
    """The record of an experiment."""
    record: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))
    return record


def standard_error(values: Sequence[float]) -> float:
    """That of the mean of several runs."""
    return stdev(values) / math.sqrt(len(values))


def with_error(values: Sequence[float], digits: int = 1) -> str:
    """The mean of several runs and its standard error."""
    return f"{mean(values):.{digits}f} ± {standard_error(values):.{digits}f}"


def difference(first: Sequence[float], second: Sequence[float], digits: int = 1) -> str:
    """The mean of first - second, run by run, and its standard error; with "?" if the 95 % interval contains 0."""
    apart = [a - b for a, b in zip(first, second, strict=True)]
    middle, error = mean(apart), standard_error(apart)
    doubt = "" if abs(middle) > T_95[len(apart)] * error else " ?"
    return f"{middle:+.{digits}f} ± {error:.{digits}f}{doubt}"


def points(values: Sequence[float]) -> list[float]:
    return [100 * value for value in values]


def right(run: dict[str, Any]) -> float:
    """The share of right answers, from one bit for each test image."""
    bits = base64.b64decode(run["right"])
    return sum(byte.bit_count() for byte in bits) / (8 * len(bits))


def _table(name: str, experiment: str, title: str, columns: list[str], rows: dict[str, list[str]], about: str) -> Table:
    return Table(name, "small", title, columns, rows, about, command=stored(experiment)["command"])


def positions() -> Table:
    runs = {kind: points(values) for kind, values in stored("positions")["results"].items()}
    rows = {
        kind: [with_error(values), "" if kind == "learned" else difference(values, runs["learned"])]
        for kind, values in runs.items()
    }
    about = "Table 8. Digits, ten seeds. Notebook [04](../notebooks/04_tokens_and_positions.ipynb)."
    return _table("positions", "positions", "Position embeddings", ["accuracy", "minus learned (1-D)"], rows, about)


def data() -> Table:
    rows = {}
    for updates, models in sorted(stored("data_scale")["results"].items(), key=lambda item: int(item[0])):
        for images in models["ViT"]:
            both = [points(models[name][images]) for name in ("CNN", "ViT")]
            rows[f"{int(images):,} images, {updates} updates"] = [*map(with_error, both), difference(*both, digits=2)]
    about = "Figure 4. CIFAR-10, three seeds. Notebook [15](../notebooks/15_data_scale.ipynb)."
    return _table("data", "data_scale", "Number of training images", ["CNN", "ViT", "CNN minus ViT"], rows, about)


def crossing() -> Table:
    """Each model at its rate: chosen by the first of the two accuracies of a run, reported by the second."""
    rows = {}
    for updates, models in stored("crossing")["results"].items():
        for images in models["ViT"]:
            both = []
            for name in ("CNN", "ViT"):
                runs = max(models[name][images].values(), key=lambda runs: mean(chosen for chosen, _ in runs))
                both.append(points([reported for _, reported in runs]))
            rows[f"{int(images):,} images, {updates} updates"] = [*map(with_error, both), difference(*both)]
    about = (
        "Figure 4 on drawn images, five seeds: the crossing appears after few updates and is gone after more. "
        "Notebook [15](../notebooks/15_data_scale.ipynb)."
    )
    return _table("crossing", "crossing", "A crossing that does not last", ["CNN", "ViT", "CNN minus ViT"], rows, about)


def shapes() -> Table:
    record = stored("shape_scaling")
    base = {updates: points(found["base"]["base"]) for updates, found in record["results"].items()}
    rows = {"base": [with_error(values) for values in base.values()]}
    for study in ("depth", "width", "mlp_width", "patch_size"):
        for value in record["results"]["400"][study]:
            rows[f"{study} {value} instead of {record['config']['base'][study]}"] = [
                difference(points(record["results"][updates][study][value]), base[updates]) for updates in base
            ]
    about = (
        "Figure 8 (D.2). CIFAR-10, three seeds, differences to the base. Notebook "
        "[16](../notebooks/16_shape_scaling.ipynb)."
    )
    return _table("shapes", "shape_scaling", "Depth, width, patches", [f"{u} updates" for u in base], rows, about)


def hybrids() -> Table:
    runs = {name: points([right(run) for run in found]) for name, found in stored("hybrid")["results"].items()}
    rows = {name: [with_error(values)] for name, values in runs.items()}
    rows["hybrid minus ViT"] = [difference(runs["hybrid"], runs["ViT"])]
    about = "Section 4.4. CIFAR-10, equal arithmetic, five seeds. Notebook [20](../notebooks/20_hybrid.ipynb)."
    return _table("hybrids", "hybrid", "A hybrid and a ViT", ["accuracy"], rows, about)


def resolution() -> Table:
    runs = {
        name: points([right(run) for run in found]) for name, found in stored("higher_resolution")["results"].items()
    }
    best = runs["2-D interpolation"]
    rows = {
        name: [with_error(values), "" if values is best else difference(best, values, digits=2)]
        for name, values in runs.items()
    }
    about = (
        "Section 3.2. CIFAR-10 from 32 to 48 px, three models; *control* stays at 32 px. Notebook "
        "[17](../notebooks/17_higher_resolution.ipynb)."
    )
    columns = ["accuracy", "2-D minus this"]
    return _table("resolution", "higher_resolution", "Positions at a higher resolution", columns, rows, about)


def augmentation() -> Table:
    runs = {
        name: [100 * mean(parts) for parts in found] for name, found in stored("augmentation")["results"].items()
    }  # fmt: skip
    rows = {
        name: [with_error(values), "" if name == "none" else difference(values, runs["none"])]
        for name, values in runs.items()
    }
    about = (
        "Not in the paper, but for dropout and crops. 1,000 images of CIFAR-10, eight seeds. Notebook "
        "[14](../notebooks/14_augmentation.ipynb), which adds the error of the test images: by its "
        "stricter rule dropout's gain may be chance."
    )
    return _table("augmentation", "augmentation", "Augmentation", ["accuracy", "minus none"], rows, about)


def norms() -> Table:
    rows = {}
    for name, depths in stored("norm_depth")["results"].items():
        losses = [loss for runs in depths["12"].values() for loss in runs]
        failed = sum(loss > 0.95 * math.log(10) for loss in losses)
        best = min(depths["12"].values(), key=mean)
        rows[name] = [f"{failed} of {len(losses)}", with_error(best, 2)]
    about = (
        "Not in the paper. Digits, 12 blocks, five seeds at each of five rates, 120 updates. Notebook "
        "[10b](../notebooks/10b_depth_and_normalisation.ipynb)."
    )
    columns = ["runs that did not learn", "loss at the best rate"]
    return _table("norms", "norm_depth", "Where LayerNorm stands", columns, rows, about)


def masked() -> Table:
    runs = stored("masked_autoencoders")["results"]
    tuned = {name: points([run["tuned"] for run in found]) for name, found in runs.items() if "tuned" in found[0]}
    rows = {}
    for name, found in runs.items():
        probe = with_error(points([run["probe"] for run in found])) if "probe" in found[0] else ""
        fine = [with_error(tuned[name])] if name in tuned else [""]
        rows[name] = [probe, *fine, difference(tuned["75 %"], tuned[name]) if name in tuned and name != "75 %" else ""]
    about = (
        "Another method than the paper's: an autoencoder (MAE). CIFAR-10, three seeds; *longer* takes as much time as "
        "pre-training and fine-tuning. Notebook [22](../notebooks/22_masked_autoencoders.ipynb)."
    )
    columns = ["linear probe", "fine-tuned on 1,000 labels", "75 % minus this"]
    return _table("masked", "masked_autoencoders", "Self-supervision by masked patches", columns, rows, about)


def small() -> tuple[Table, ...]:
    return (
        positions(), data(), crossing(), shapes(), hybrids(), resolution(), augmentation(), norms(), masked()
    )  # fmt: skip
