"""Measures of generative models: distances of features, latent space, inversion, accuracy.

Start at ``evaluate``, which runs them all; every file but ``evaluate.py`` also stands alone.
``train_classifier`` is not among the names here, because the submodule of that name is the command
that makes the shipped classifiers; take the function from ``genrev.evaluation.classifier``.
"""

from genrev.evaluation.classification import classification_report, classify
from genrev.evaluation.classifier import Classifier, ClassifierFeatures, ClassifierInfo
from genrev.evaluation.classifier_store import classifier_for, known_classifier
from genrev.evaluation.evaluate import METRICS, evaluate
from genrev.evaluation.features import FeatureExtractor, TorchScriptFeatures
from genrev.evaluation.frechet import FeatureStatistics, frechet_distance
from genrev.evaluation.inversion import inversion_error, inversion_report
from genrev.evaluation.kid import kernel_distance
from genrev.evaluation.latent import latent_report, relative_sliced_wasserstein
from genrev.evaluation.likelihood import likelihood_report
from genrev.evaluation.prdc import precision_recall
from genrev.evaluation.report import format_report
from genrev.evaluation.samples import samples_as_stored

__all__ = [
    "METRICS",
    "Classifier",
    "ClassifierFeatures",
    "ClassifierInfo",
    "FeatureExtractor",
    "FeatureStatistics",
    "TorchScriptFeatures",
    "classification_report",
    "classifier_for",
    "classify",
    "evaluate",
    "format_report",
    "frechet_distance",
    "inversion_error",
    "inversion_report",
    "kernel_distance",
    "known_classifier",
    "latent_report",
    "likelihood_report",
    "precision_recall",
    "relative_sliced_wasserstein",
    "samples_as_stored",
]
