"""Measures of generative models: distances of features, latent space, inversion, accuracy.

Start at ``evaluate``, which runs them all; every file but ``evaluate.py`` also stands alone.
``train_classifier`` is not among the names here, because the submodule of that name is the command
that makes the shipped classifiers; take the function from ``genrev.evaluation.classifier``.
"""

from genrev.evaluation.batches import evenly_spread
from genrev.evaluation.choose import choose_features
from genrev.evaluation.classification import classification_report, classify
from genrev.evaluation.classifier import Classifier, ClassifierFeatures, ClassifierInfo
from genrev.evaluation.classifier_store import classifier_for, known_classifier
from genrev.evaluation.comparison import compare_models, mean_and_interval
from genrev.evaluation.comparison_table import comparison_csv, comparison_markdown
from genrev.evaluation.evaluate import METRICS, evaluate
from genrev.evaluation.features import FeatureExtractor, TorchScriptFeatures
from genrev.evaluation.frechet import FeatureStatistics, frechet_distance
from genrev.evaluation.inception import InceptionFeatures
from genrev.evaluation.inversion import inversion_error, inversion_report
from genrev.evaluation.kid import kernel_distance
from genrev.evaluation.latent import IN_USE, latent_report, relative_sliced_wasserstein
from genrev.evaluation.likelihood import likelihood_report
from genrev.evaluation.memorisation import copying
from genrev.evaluation.nearest import nearest, nearest_images
from genrev.evaluation.prdc import precision_recall
from genrev.evaluation.reconstruction import reconstruction_report
from genrev.evaluation.reference import reference_features, reference_statistics
from genrev.evaluation.report import format_report
from genrev.evaluation.samples import samples_as_stored
from genrev.evaluation.trust import is_trusted, trust

__all__ = [
    "IN_USE",
    "METRICS",
    "Classifier",
    "ClassifierFeatures",
    "ClassifierInfo",
    "FeatureExtractor",
    "FeatureStatistics",
    "InceptionFeatures",
    "TorchScriptFeatures",
    "choose_features",
    "classification_report",
    "classifier_for",
    "classify",
    "compare_models",
    "comparison_csv",
    "comparison_markdown",
    "copying",
    "evaluate",
    "evenly_spread",
    "format_report",
    "frechet_distance",
    "inversion_error",
    "inversion_report",
    "is_trusted",
    "kernel_distance",
    "known_classifier",
    "latent_report",
    "likelihood_report",
    "mean_and_interval",
    "nearest",
    "nearest_images",
    "precision_recall",
    "reconstruction_report",
    "reference_features",
    "reference_statistics",
    "relative_sliced_wasserstein",
    "samples_as_stored",
    "trust",
]
