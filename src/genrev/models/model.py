"""The generative model: a network and its prior in one module, with its files and the hub."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from huggingface_hub import ModelCard, ModelHubMixin
from torch import Tensor, nn

from genrev.errors import GenrevError
from genrev.files.paths import expand
from genrev.models import saving, walks
from genrev.models.checks import check_labels, images_for
from genrev.models.conditions import contexts_for, contexts_of
from genrev.models.devices import all_at_once, choose_device
from genrev.networks.network import NETWORKS, Network
from genrev.priors import PRIORS, Prior
from genrev.priors.prior import Labels
from genrev.registry import Registry


class GenerativeModel(nn.Module, ModelHubMixin, library_name="genrev"):
    """Encoder, decoder and prior in one module: what is trained, saved, loaded and sampled from.

    ``push_to_hub("owner/name", private=True)`` uploads what ``save_pretrained(folder)`` writes.

    Args:
        net: encoder and decoder.
        prior: distribution over its latents; its ``dim`` must be the network's.
        class_names: one name per class of the prior, by default their numbers; or, if the prior has
            no classes, one per feature of the network's context, which then are classes.
        noise_std: standard deviation of the noise on the images that the density was learned from,
            in [0, 1] units and below 1; ``sample`` takes it off again, see ``denoise``.

    Attributes:
        info: what the model was trained on and how, as plain JSON values; filled by ``load``.

    Raises:
        TypeError: no network, or no prior.
        ValueError: prior and network, or names and prior, do not fit together, or a ``noise_std``
            out of range.

    Example:
        >>> from genrev.networks import revnet
        >>> from genrev.priors import ClassConditionalGaussian
        >>> model = GenerativeModel(revnet("digits"), ClassConditionalGaussian(10, 64))
        >>> model.sample(20, label=7, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([20, 1, 8, 8])
    """

    def __init__(
        self,
        net: Network,
        prior: Prior,
        class_names: Sequence[str] | None = None,
        noise_std: float = 0.0,
    ) -> None:
        super().__init__()
        for part, wanted in ((net, nn.Module), (prior, Prior)):
            if not isinstance(part, wanted):
                given = " ".join(f"{part!r:.80}".split())
                raise TypeError(
                    "GenerativeModel takes a network and a prior, such as revnet('digits') and "
                    f"ActiveGaussian(64, active_dims=range(16)), and got {given}."
                )
        if not hasattr(net, "latent_dim"):
            raise TypeError(
                f"{type(net).__name__} has no latent_dim, so it is no network of images; give a "
                "genrev.Network, such as revnet('digits')."
            )
        if prior.dim != net.latent_dim:
            raise ValueError(
                f"The network has {net.latent_dim} latent dimensions, the prior {prior.dim}."
            )
        self.class_names = tuple(class_names or map(str, range(prior.num_classes)))
        classes = prior.num_classes
        if classes == 1 and len(self.class_names) == net.context:
            classes = net.context
        if len(self.class_names) != classes:
            raise ValueError(f"{len(self.class_names)} class names for {classes} classes.")
        if not 0 <= noise_std < 1:
            raise ValueError(f"noise_std must be from 0 to below 1 and is {noise_std}.")
        self.noise_std = float(noise_std)
        self.info: dict[str, Any] = {}
        self.prior = prior  # first, for the order of the weights
        self.net = net

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Shape (C, H, W) of an image; of a signal (C, L), of a volume (C, D, H, W)."""
        return self.net.image_shape

    @property
    def num_classes(self) -> int:
        """Number of classes that can be asked for; 1 for a model without."""
        return len(self.class_names)

    def encode(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """Map images (N, C, H, W) in [0, 1] to latents (N, D), differentiable.

        ``context`` is for networks that take one, see ``RevNet.encode``. Where no gradient is
        needed, call it under ``torch.no_grad()``.
        """
        return self.net.encode(x, *_given(context))

    def decode(self, z: Tensor, context: Tensor | None = None) -> Tensor:
        """Map latents (N, D) to images (N, C, H, W), differentiable, not clipped to [0, 1]."""
        return self.net.decode(z, *_given(context))

    @torch.no_grad()
    def sample(
        self,
        n: int,
        label: Labels | str | Sequence[str] = None,
        generator: torch.Generator | None = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Draw images (n, C, H, W) from the prior, clipped to [0, 1].

        Those of a model with a ``noise_std`` are denoised in one step.

        Args:
            n: number of images, 1 or more.
            label: class to draw from, by number or name, or one class for every image (a list, an
                array or a tensor); ``None`` cycles through all classes.
            generator: CPU generator of the noise; the same seed gives the same images.
            context: of every image, (n, ...), for a network that takes one; of classes it is the
                label, if it is not given.

        Raises:
            GenrevError: n is no whole number of 1 or more, there is no such class, not one label
                for every image, or a context is missing.
        """
        count, labels = check_labels(self, n, label)
        given = (context,) if context is not None else contexts_of(self, labels, count)
        known = labels if self.prior.num_classes > 1 else None
        z = self.prior.sample(count, known, generator)  # (n, D)

        def drawn(part: Tensor, *context: Tensor) -> Tensor:
            images = self.decode(part, *context)
            return (self.denoise(images, *context) if self.noise_std else images).clamp(0, 1)

        return all_at_once(drawn, z, *given, desc="samples")

    def denoise(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        r"""Estimate images from noisy ones (N, C, H, W), like those that ``decode`` draws.

        By Tweedie's formula the mean of all images that may have become x by Gaussian noise of
        standard deviation :math:`\sigma` is :math:`x + \sigma^2 \nabla \log p(x)`, with the density
        p of noisy images, which is the model's. Without a ``noise_std`` this is x.

        Returns:
            Images (N, C, H, W), not clipped to [0, 1] and without gradients.

        Raises:
            GenrevError: as ``log_prob``.

        References: Song and Ermon, "Generative modeling by estimating gradients of the data
        distribution" (2019); Zhai et al., "Normalizing flows are capable generative models"
        (2024).
        """
        with torch.inference_mode(False), torch.enable_grad():
            noisy = x.detach().clone().requires_grad_()
            (score,) = torch.autograd.grad(self.log_prob(noisy, context=context).sum(), noisy)
        return x.detach() + self.noise_std**2 * score

    @torch.no_grad()
    def reconstruct(
        self, x: Tensor, restricted: bool = True, context: Tensor | None = None
    ) -> Tensor:
        """Encode images (N, C, H, W) in [0, 1] and decode them again, not clipped.

        ``restricted`` projects onto the restricted latent space in between (Fig. 6, middle row);
        the full space returns x up to rounding, if the model is invertible. A class-conditional
        network without a ``context`` is told the likely class of every image.
        """
        x = images_for(self, x, "x")
        given = contexts_for(self, x) if context is None else (context,)
        z = all_at_once(self.encode, x, *given)
        return all_at_once(self.decode, self.prior.clamp(z) if restricted else z, *given)

    def log_prob(
        self,
        x: Tensor,
        label: Labels | str | Sequence[str] = None,
        context: Tensor | None = None,
    ) -> Tensor:
        """Natural log-density (N,) of dequantised images (N, C, H, W) in [0, 1], differentiable.

        Args:
            x: images.
            label: class by number or name whose density p(x | c) is asked for, or one class for
                every image; ``None`` for the density over all classes of the prior.
            context: of every image, for a network that takes one; of classes it is the label, if
                it is not given.

        Raises:
            GenrevError: the network is not bijective, not all dimensions are active, or there is
                no such class.
        """
        require_density(self)
        labels = None if label is None else check_labels(self, len(x), label)[1]
        given = _given(context)
        if context is None and label is not None:
            given = contexts_of(self, labels, len(x))
        z, log_det = self.net.encode_with_log_det(x, *given)
        return self.prior.log_prob(z, labels if self.prior.num_classes > 1 else None) + log_det

    # Functions of any model, which are methods of this one.
    interpolate = walks.interpolate
    traverse = walks.traverse

    def config(self) -> dict[str, Any]:
        """What ``from_config`` needs to build the same modules, as plain JSON values."""
        net: Any = saving.unwrapped(self.net)
        return {
            "network": {"kind": _kind(NETWORKS, net), **net.config.plain()},
            "prior": {"kind": _kind(PRIORS, self.prior), **self.prior.describe()},
            "class_names": list(self.class_names),
            **({"noise_std": self.noise_std} if self.noise_std else {}),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build an untrained model; of what ``config`` did not write, it may raise anything."""
        network, prior = dict(config["network"]), dict(config["prior"])
        kind = NETWORKS[network.pop("kind")]
        for key in {"memory", "exact", "compile"} - kind.Options.model_fields.keys():
            network.pop(key, None)  # older versions kept the engine there
        net = kind(kind.Options(**network))
        built = PRIORS[prior.pop("kind")].build(prior, net.latent_dim)
        return cls(net, built, tuple(config["class_names"]), config.get("noise_std", 0.0))

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no keywords that a file could fill in
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        device: str | torch.device | None = "cpu",
    ) -> Self:
        """Load a model as ``genrev.load`` does, with the options of ``huggingface_hub``.

        ``revision`` is a branch, tag or commit; with ``local_files_only`` the hub is not asked.
        """
        place = choose_device(device)
        options = {"force_download": force_download, "token": token, "cache_dir": cache_dir}
        options |= {"local_files_only": local_files_only, "revision": revision}
        return _read(cls, saving.model_folder(pretrained_model_name_or_path, **options)).to(place)

    def save_pretrained(self, save_directory: str | Path, **options: Any) -> str | None:
        """Write a folder with weights, configuration and model card; it is made when missing.

        The options are those of ``huggingface_hub``; ``model_card_kwargs`` are the arguments of
        ``generate_model_card``.

        Raises:
            GenrevError: a folder that cannot be written, or that of a training run.
        """
        folder = expand(save_directory)
        if (folder / saving.RUN_CONFIG).exists():
            raise GenrevError(
                f"{folder} is the folder of a training run, whose model would be replaced; name "
                "another folder."
            )
        with saving.writing(folder, "name another folder"):
            folder.mkdir(parents=True, exist_ok=True)  # the hub's own words are a traceback
        url: str | None = super().save_pretrained(folder, **options)
        return url

    def generate_model_card(self, repository: str | None = None, notes: Any = None) -> ModelCard:
        """The card that ``save_pretrained`` writes, for a repository ``owner/name``.

        ``notes`` is a ``genrev.sharing.card.CardNotes`` with what ``info`` does not tell.
        """
        # A card knows data sets, and importing the package of these takes seconds.
        from genrev.sharing.card import CardNotes, model_card

        return ModelCard(model_card(self, repository, notes or CardNotes()))

    def _save_pretrained(self, save_directory: Path) -> None:
        save(self, save_directory)


def save(model: nn.Module, folder: str | Path, info: dict[str, Any] | None = None) -> None:
    """Write a model folder; either file replaces an older one only when it is complete.

    Args:
        model: what to save: a ``GenerativeModel``, as it is or within ``torch.compile``,
            ``nn.DataParallel`` or the like. Weights keep their number format.
        folder: where; made when missing.
        info: anything JSON can hold (recipe, data, numbers), kept under ``"info"``; by default
            ``model.info``.

    Raises:
        GenrevError: the folder cannot be written; or it is not, since ``load`` could not make the
            same model of it: a network or prior is not registered, a module is one's own, numbers
            are not finite, or ``info`` is not for JSON.
    """
    model = _named(model)
    told = model.info if info is None else info
    saving.write_folder(folder, model, model.config(), GenerativeModel.from_config, told)


def require_savable(model: nn.Module) -> None:
    """Raise the ``GenrevError`` that ``save`` would, before a training has spent its time."""
    model = _named(model)
    saving.loadable_tensors(model, model.config(), GenerativeModel.from_config)


def _named(model: nn.Module) -> "GenerativeModel":
    """The model itself, whose network and prior a file can name."""
    model = saving.unwrapped(model)
    if type(model) is not GenerativeModel:
        raise GenrevError(
            f"A {type(model).__name__} is not a model with a prior, which is what can be saved; "
            f"save GenerativeModel(net, prior), or keep its weights with {saving.KEEP}."
        )
    parts: list[tuple[Registry[Any], nn.Module]] = [(NETWORKS, model.net), (PRIORS, model.prior)]
    for registry, part in parts:
        kind = type(saving.unwrapped(part))
        if registry.name_of(kind) is None:
            raise GenrevError(
                f"The {registry.noun} of the model is a {kind.__name__}, which is not registered "
                "and could not be loaded again, so nothing was saved; register the class with "
                f"{registry.noun.upper()}S.register(NAME), or keep the weights with {saving.KEEP}."
            )
    return model


def load(run: str | Path, device: str | torch.device | None = "cpu") -> GenerativeModel:
    """Load a trained model in evaluation mode, in the number format in which it was saved.

    Args:
        run: a run folder, a model folder, the name of a model shipped with the package
            (``"mnist"``), or a hub id ``"owner/name"`` or ``"owner/name@revision"``.
        device: where the model goes; ``None`` is the accelerator of this machine, or else its CPU.

    Raises:
        GenrevError: nothing of that name, files that are not a genrev model, or no such device.
            Files from a stranger may be given: whatever is in them, this is all that happens.

    Example:
        >>> model = load("mnist")
        >>> model.sample(4, label=3).shape
        torch.Size([4, 1, 28, 28])
    """
    place = choose_device(device)
    return _read(GenerativeModel, saving.model_folder(run)).to(place)


def require_density(model: object) -> GenerativeModel:
    """The model; ``GenrevError`` unless it is bijective and its prior leaves no dimension out."""
    if not isinstance(model, GenerativeModel) or not model.net.bijective:
        raise GenrevError(
            "This model is not a bijection, so it gives images no likelihood; train a RevNet "
            "without padding, such as the recipe mnist-nice."
        )
    if len(model.prior.active_dims) < model.prior.dim:
        raise GenrevError(
            "The prior of this model has no density in all latent dimensions, so images get no "
            "likelihood; train with --method likelihood, or take the density of the active "
            "dimensions, model.prior.log_prob(model.encode(x))."
        )
    return model


def _read(cls: type[GenerativeModel], folder: Path) -> Any:
    config = saving.read_config(folder)
    for part, registry in (("network", NETWORKS), ("prior", PRIORS)):
        described = config.get(part)
        kind = described.get("kind") if isinstance(described, dict) else None
        if kind not in registry:
            path = folder / saving.CONFIG_FILE
            raise GenrevError(
                f"{path} does not describe a genrev model of this installation: its {part} is "
                f"{str(kind)[:80]!r}, and there are {', '.join(registry.names())}; if a file of "
                "yours registers it, name that with --plugin FILE or import it."
            )
    model = saving.read_folder(folder, config, cls.from_config)
    model.info = config["info"]
    return model


def _given(context: Tensor | None) -> tuple[Tensor, ...]:
    """The context as a further argument; networks that take none need not have one."""
    return () if context is None else (context,)


def _kind(registry: Registry[Any], part: nn.Module) -> str:
    """The name that the class of a part is registered under, or its own name."""
    kind = type(saving.unwrapped(part))
    return registry.name_of(kind) or kind.__name__
