"""Models with the replica axis: every parameter is `[R, *shape]`, and one call gives the losses of all R replicas."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from programs.errors import InputError

from proxy_tasks.datasets import Dataset
from proxy_tasks.models.autoencoder import autoencoder
from proxy_tasks.models.cnn import cnn
from proxy_tasks.models.contrastive import contrastive
from proxy_tasks.models.deep_linear import deep_linear
from proxy_tasks.models.deepfm import deepfm
from proxy_tasks.models.finetuning import finetuned, lora, subspace
from proxy_tasks.models.gcn import gcn
from proxy_tasks.models.gru import gru
from proxy_tasks.models.mlp import mlp
from proxy_tasks.models.model import Leaf, Model
from proxy_tasks.models.module import module_model
from proxy_tasks.models.pinn import pinn
from proxy_tasks.models.quadratic import quadratic
from proxy_tasks.models.transformer import masked_transformer, transformer
from proxy_tasks.models.user_model import user_model
from proxy_tasks.models.vit import vit
from proxy_tasks.named import Args, call

MODELS: dict[str, Callable[..., Model]] = {
    "autoencoder": autoencoder,
    "cnn": cnn,
    "contrastive": contrastive,
    "finetuned": finetuned,
    "gru": gru,
    "lora": lora,
    "masked_transformer": masked_transformer,
    "deep_linear": deep_linear,
    "deepfm": deepfm,
    "gcn": gcn,
    "mlp": mlp,
    "pinn": pinn,
    "quadratic": quadratic,
    "subspace": subspace,
    "transformer": transformer,
    "vit": vit,
}


def build_model(name: str, dataset: Dataset, args: Args = ()) -> Model:
    """Return the model called `name` for samples like those of the data set.

    A function of the user's, `module:function`, takes the data set and the arguments as the built-in ones do, and
    returns a `Model` or an `nn.Module`.

    Raises:
        InputError: there is no such model, it does not take these arguments or this data set, or what it returns is
            neither a Model nor an nn.Module.
    """
    made = call(name, MODELS, "model", dataset, args=args)
    if isinstance(made, Model):
        return made
    if isinstance(made, nn.Module):
        return module_model(name, lambda: call(name, MODELS, "model", dataset, args=args), dataset)
    raise InputError(f"model '{name}' returned {type(made).__name__}; it must return a Model or an nn.Module")


__all__ = ["MODELS", "Leaf", "Model", "build_model", "module_model", "user_model"]
