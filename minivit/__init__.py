"""minivit: the Vision Transformer with every derivative written by hand, on NumPy or CuPy arrays.

What one reaches for first is here by name, `from minivit import ViT, ViTConfig, grad, load_pretrained`, and so is every
module, `minivit.backend`. All of it is imported when it is asked for, since `import minivit` should cost nothing.
"""

__version__ = "0.1.0"

TYPE_CHECKING = False  # true for whoever checks types; that of the module typing would have to be imported
if TYPE_CHECKING:
    from minivit import functional as F
    from minivit.answers import classify, load_pretrained
    from minivit.data import ArrayDataset, load
    from minivit.models import ResNet, ResNetConfig, ViT, ViTConfig, export
    from minivit.optim import SGD, AdamW
    from minivit.recipes import Recipe
    from minivit.tensor import Tensor, grad, no_grad
    from minivit.trainer import Trainer

_PLACES = {
    "answers": ("classify", "load_pretrained"),
    "data": ("ArrayDataset", "load"),
    "models": ("ResNet", "ResNetConfig", "ViT", "ViTConfig", "export"),
    "optim": ("SGD", "AdamW"),
    "recipes": ("Recipe",),
    "tensor": ("Tensor", "grad", "no_grad"),
    "trainer": ("Trainer",),
}
__all__ = [
    "SGD", "AdamW", "ArrayDataset", "F", "Recipe", "ResNet", "ResNetConfig", "Tensor", "Trainer", "ViT", "ViTConfig",
    "classify", "export", "grad", "load", "load_pretrained", "no_grad",
]  # fmt: skip


def __getattr__(name: str) -> object:
    """A name of `__all__`, or a module of the package, when it is first asked for."""
    import importlib
    import importlib.util
    import sys

    for place, names in _PLACES.items():
        if name in names:
            found = getattr(importlib.import_module(f"minivit.{place}"), name)
            break
    else:
        module = "functional" if name == "F" else name
        if name.startswith("_") or "." in name or importlib.util.find_spec(f"minivit.{module}") is None:
            raise AttributeError(f"module 'minivit' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
        found = importlib.import_module(f"minivit.{module}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    import pkgutil

    modules = {module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")}
    return sorted({*globals(), *__all__, *modules})
