"""The family of the Vision Transformer: systems that were built on it, one file each.

`python -m minivit.lineage` lists the systems, `python -m minivit.lineage verify DIR...` holds them to recorded outputs
of published code. Each file begins with its source, its equation, what is new, its arrays, and where paper and code
differ.

What a run can minimise beside classification is named in `OBJECTIVES`. The class named there has

- `Config: ClassVar[type]`, a frozen dataclass of plain values: the fields of a recipe's `objective` beside its name;
- `build(config, given) -> Objective`, a classmethod: the objective of a `Config` for the run of a `Given`;
- `columns`, what it reads of a data set. Only a class that names "labels" is given an encoder with a head;
- where it needs a ViT of a certain kind, `needs(config)`, a static method: fields of ViTConfig.

Its file may have PRESETS, name -> fields of Recipe, and HOW, name -> function(objective, data, recipe) -> lines of
text, which `evaluate RUN --how NAME` prints.

A file whose network classifies images has FAMILY, a `models.families.Family`, and its system is named in `NETWORKS`;
then `train --model NAME` trains it. Its configuration answers `models.families.ModelConfig`, its network is called with
(images, tap, rng).

Each file of an objective has `tiny(dtype="float32") -> tuple[Objective, Dataset]` for the tests that all objectives
share (tests/lineage/test_contract.py): the objective in small, in training mode, with parameters of that dtype and
dropout or drop path above 0, and a data set of at least 12 examples that has its `columns`. Everything in both comes
from fixed seeds, so two calls give equal ones; the objective is built for 6 steps in all, and has its `config`.

A network for images that can be trained like a ViT is a family of models, see `NETWORKS`.
"""

import dataclasses
import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from minivit.errors import ConfigError, meant, shown
from minivit.files.fields import from_json, settle
from minivit.lineage.names import NETWORKS, OBJECTIVES
from minivit.lineage.systems import SYSTEMS
from minivit.models import families
from minivit.nn import Module
from minivit.update.batch_normed import BatchNormedClassification, has_batch_norm
from minivit.update.objective import Classification, Objective


class LaterFamily(families.Family):
    """A family of `NETWORKS`. In place of its class stands a function that imports the file and gives the Family."""

    @property
    def config(self) -> Any:
        return self[0]().config

    @property
    def network(self) -> Any:
        return self[0]().network


def later(place: str, names: str) -> LaterFamily:
    """The family that stands at `place`, not yet imported."""

    def there() -> families.Family:
        file, _, name = place.partition(":")
        found: families.Family = getattr(importlib.import_module(f"minivit.lineage.{file}"), name)
        return found

    def fields(name: str) -> dict[str, Any]:
        family: Callable[[str], dict[str, Any]] | None = there().fields
        return family(name) if family else {}

    return LaterFamily(there, lambda *given: there().network(*given), names, fields)  # type: ignore[arg-type]


families.FAMILIES.update({name: later(*where) for name, where in NETWORKS.items()})


def module_of(name: str) -> ModuleType:
    """The file of a system. Raises ConfigError for an unknown name."""
    if name not in SYSTEMS:
        raise ConfigError(f'there is no system "{name}"{meant(name, SYSTEMS)}; known: {", ".join(SYSTEMS)}')
    return importlib.import_module(f"minivit.lineage.{name}")


def objective_class(name: str) -> Any:
    """The Objective called `name`. Raises ConfigError for an unknown name."""
    if name not in OBJECTIVES:
        known = ", ".join(("classification", *OBJECTIVES))
        raise ConfigError(f'there is no objective "{shown(name)}"{meant(name, OBJECTIVES)}; known: {known}')
    module, _, kind = OBJECTIVES[name].partition(":")
    return getattr(importlib.import_module(f"minivit.lineage.{module}"), kind)


def presets(systems: Iterable[str] = SYSTEMS) -> dict[str, dict[str, Any]]:
    """The named recipes of all systems. This imports them, so look elsewhere first."""
    files = map(module_of, systems)
    return {name: fields for file in files for name, fields in getattr(file, "PRESETS", {}).items()}


def ways(name: str) -> dict[str, Any]:
    """The choices of `evaluate --how` for a run of an objective, by name: functions of its file."""
    found: dict[str, Any] = getattr(importlib.import_module(objective_class(name).__module__), "HOW", {})
    return found


def settled(objective: Mapping[str, Any] | None, source: str = "objective") -> dict[str, Any] | None:
    """The `objective` of a recipe with all fields of its class, None for classification. Raises ConfigError, naming the
    source, for an unknown name and for unknown or invalid fields."""
    if objective is None or objective == {"name": "classification"}:
        return None
    name = objective.get("name")
    if not isinstance(name, str):
        raise ConfigError(f'{source}: it needs a name, one of {", ".join(OBJECTIVES)}: {{"name": "mae"}}')
    if name == "classification":
        raise ConfigError(
            f"{source}: the fields of classification belong to the recipe itself: loss, mixup, cutmix and others"
        )
    kind = objective_class(name).Config
    config = kind(**from_json(kind, {key: x for key, x in objective.items() if key != "name"}, source))
    settle(config)
    return {"name": name, **dataclasses.asdict(config)}


def columns(objective: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The columns of a data set that a recipe's objective reads."""
    named: tuple[str, ...] = (objective_class(objective["name"]) if objective else Classification).columns
    return named


def unheeded(objective: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Augmentation fields of Recipe that a recipe's objective does not use."""
    named: tuple[str, ...] = objective_class(objective["name"]).unheeded if objective else ()
    return named


def needed(objective: Mapping[str, Any] | None) -> dict[str, Any]:
    """Fields of ViTConfig that a recipe's objective requires; `objective` is as from `settled`."""
    if objective is None:
        return {}
    fields = dict(objective)
    kind = objective_class(fields.pop("name"))
    found: dict[str, Any] = kind.needs(kind.Config(**fields)) if hasattr(kind, "needs") else {}
    return found


@dataclasses.dataclass(frozen=True)
class Given:
    """The parts from which a run builds its objective.

    model: the configuration of the encoder.   classes: names.   start: an encoder with its weights, None to draw them
    from the seed.   teacher: the network that the field `teacher` of the objective names, frozen.
    """

    model: Any
    classes: Sequence[str]
    total_steps: int
    seed: int = 0
    dtype: str = "float32"
    start: Module | None = None
    teacher: Module | None = None

    def encoder(self) -> Any:
        """The network to train."""
        return self.start or families.build(self.model, self.seed, self.dtype)


def build(recipe: Any, given: Given) -> Objective:
    """The objective of a run, from its Recipe."""
    if recipe.objective is None:
        encoder = given.encoder()
        kind = BatchNormedClassification if has_batch_norm(encoder) else Classification
        return kind(encoder, recipe.loss, recipe.label_smoothing, recipe.mixup, recipe.cutmix)
    fields = dict(recipe.objective)
    named = objective_class(fields.pop("name"))
    built: Objective = named.build(named.Config(**fields), given)
    return built
