"""minivit: the Vision Transformer with every derivative written by hand, on NumPy or CuPy arrays.

The most important names are available here, `from minivit import ViT, ViTConfig, grad, load_pretrained`, and so is
every module, `minivit.backend`. Each is imported on first use, so `import minivit` costs almost nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # true for whoever checks types; that of the module typing would have to be imported
if TYPE_CHECKING:
    from minivit import functional as F
    from minivit.data import ArrayDataset, load
    from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig, export
    from minivit.optim import SGD, AdamW
    from minivit.runs.answers import classify, load_pretrained
    from minivit.runs.recipes import Recipe
    from minivit.runs.trainer import Trainer
    from minivit.tensor import Tensor, grad, no_grad

_PLACES = {
    "data": ("ArrayDataset", "load"),
    "models": ("ResNet", "ResNetConfig", "ViT", "ViTConfig", "export"),
    "optim": ("SGD", "AdamW"),
    "runs.answers": ("classify", "load_pretrained"),
    "runs.recipes": ("Recipe",),
    "runs.trainer": ("Trainer",),
    "tensor": ("Tensor", "grad", "no_grad"),
}
_MOVED = {  # modules that scripts know under the names of version 0.1
    name: f"{room}.{name}"
    for room, names in {
        "runs": ("answers", "improvement", "presets", "published", "recipes", "trainer", "transfer"),
        "update": ("draws",),
        "files": ("fields", "locks"),
        "nn": ("recompute",),
    }.items()
    for name in names
} | {"step": "update.supervised"}
__all__ = [
    "SGD", "AdamW", "ArrayDataset", "F", "Recipe", "ResNet", "ResNetConfig", "Tensor", "Trainer", "ViT", "ViTConfig",
    "classify", "export", "grad", "load", "load_pretrained", "no_grad",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """A name of `__all__` or a module of the package, imported on first use."""
    import importlib
    import importlib.util
    import sys

    for place, names in _PLACES.items():
        if name in names:
            found = getattr(importlib.import_module(f"minivit.{place}"), name)
            break
    else:
        module = "functional" if name == "F" else _MOVED.get(name, name)
        if name.startswith("_") or "." in name or importlib.util.find_spec(f"minivit.{module}") is None:
            raise AttributeError(f"module 'minivit' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        found = importlib.import_module(f"minivit.{module}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    import pkgutil

    modules = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted({*globals(), *__all__, *modules})


class _Moved:
    """Finds a module by its name before it moved into a subpackage; both names refer to the same module."""

    @staticmethod
    def find_spec(name: str, path: object, target: object = None) -> object:
        package, _, module = name.partition(".")
        if package != "minivit" or module not in _MOVED:
            return None
        import importlib.machinery

        return importlib.machinery.ModuleSpec(name, _Moved)  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: object) -> None:
        """Leave this to Python."""

    @staticmethod
    def exec_module(module: object) -> None:
        import importlib
        import sys

        name = module.__name__.rpartition(".")[2]  # type: ignore[attr-defined]
        sys.modules[f"minivit.{name}"] = importlib.import_module(f"minivit.{_MOVED[name]}")


def _find_moved() -> None:
    import sys

    sys.meta_path.append(_Moved)  # type: ignore[arg-type]


_find_moved()
