"""The method ``semi``: class-conditional Gaussians from few labels."""

import torch

from genrev.data import ImageData, load_images
from genrev.errors import GenrevError
from genrev.evaluation import classification_report
from genrev.models import GenerativeModule, GenerativeRevNet
from genrev.training.config import RunConfig, SemiConfig
from genrev.training.encodings import build_model
from genrev.training.heldout import HeldOut
from genrev.training.labelled import choose_labelled
from genrev.training.limits import require_at_least, require_batch_multiple, require_positive
from genrev.training.methods.method import Method
from genrev.training.metrics_csv import Measurements
from genrev.training.semi import SemiModule, initialise_from_labelled

__all__ = ["SEMI"]


def _check(config: RunConfig) -> None:
    model = _options(config)
    require_positive(model, "model.", "lr", "prior_lr", "bound")
    weights = ("reconstruction", "clamp", "labelled", "mixture", "posterior")
    require_at_least(model, "model.", 0, *(f"{name}_weight" for name in weights))
    require_at_least(model, "model.", 1, "heldout_every")
    require_at_least(model, "model.", 2, "labels_per_class")  # for a standard deviation
    if not 0 <= model.transport_start < 1:
        raise GenrevError(
            "--model.transport_start is a fraction of the steps, from 0 to below 1, and is "
            f"{model.transport_start}."
        )


def _check_data(config: RunConfig, data: ImageData) -> None:
    processes = config.trainer.processes
    # Both halves of the sample that the batch is transported to hold all classes alike.
    unit = 2 * data.num_classes * processes
    reason = f"two halves of {data.num_classes} classes on {processes} process(es)"
    require_batch_multiple(config.batch_size, unit, reason)
    choose_labelled(data, _options(config).labels_per_class, config.seed)


def _build_model(
    config: RunConfig, data: ImageData, device: torch.device, measure: bool
) -> GenerativeModule:
    model = build_model(_options(config), config.engine, data, device, measure)
    if measure:  # build_model has looked at all labels
        labelled = choose_labelled(data, _options(config).labels_per_class, config.seed)
        initialise_from_labelled(model, labelled)
    return model


def _build_module(config: RunConfig, model: GenerativeModule, data: ImageData) -> SemiModule:
    assert isinstance(model, GenerativeRevNet)
    options, trainer = _options(config), config.trainer
    labelled = choose_labelled(data, options.labels_per_class, config.seed)
    return SemiModule(
        model, options, labelled, config.seed, trainer.max_steps, trainer.gradient_clip
    )


def _measurements(config: RunConfig, data: ImageData) -> list[Measurements]:
    test = load_images(config.data, "test")
    test.labels_as(data.class_names)  # a class that is not trained on is told now, not in an hour
    return [HeldOut("heldout_accuracy", _accuracy, test, _options(config).heldout_every)]


def _accuracy(model: GenerativeModule, data: ImageData) -> float:
    return classification_report(model, data)["classification_accuracy"]


def _options(config: RunConfig) -> SemiConfig:
    assert isinstance(config.model, SemiConfig)
    return config.model


SEMI = Method(False, _check, _check_data, _build_model, _build_module, _measurements)
