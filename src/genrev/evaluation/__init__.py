"""Measures of generative models: distances of features, latent space, inversion, accuracy.

Start at ``evaluate``, which measures what suits a model. A metric is one class in
``genrev.evaluation.metrics`` (see ``Metric`` to write another), and the functions it is computed by
stand alone.
"""

from genrev.evaluation.compare import (
    compare_models,
    comparison_csv,
    comparison_markdown,
    describe_runs,
    load_runs,
    mean_and_interval,
)
from genrev.evaluation.distance import DISTANCES, distance, format_distance
from genrev.evaluation.evaluate import evaluate, format_report, require_metrics
from genrev.evaluation.features.choice import choose_features
from genrev.evaluation.features.classifier import Classifier, ClassifierFeatures, ClassifierInfo
from genrev.evaluation.features.extractors import (
    FeatureExtractor,
    InceptionFeatures,
    TorchScriptFeatures,
    has_inception,
    require_trusted,
    trust,
)
from genrev.evaluation.features.reference import (
    FeatureStatistics,
    evenly_spread,
    features_in_batches,
    reference_features,
    reference_statistics,
)
from genrev.evaluation.features.training import (
    classifier_for,
    classifier_of_split,
    known_classifier,
    shipped_classifiers,
    train_classifier,
)
from genrev.evaluation.metric import METRICS, Column, EvaluationRun, Metric, samples_as_stored
from genrev.evaluation.metrics.accuracy import classification_report, classify
from genrev.evaluation.metrics.distances import frechet_distance, kernel_distance
from genrev.evaluation.metrics.inversion import (
    inversion_error,
    inversion_report,
    lacks_bfloat16,
    reconstruction_report,
    round_trip,
)
from genrev.evaluation.metrics.latent import IN_USE, latent_report, relative_sliced_wasserstein
from genrev.evaluation.metrics.likelihood import likelihood_report
from genrev.evaluation.metrics.memorisation import copying, nearest, nearest_images
from genrev.evaluation.metrics.prdc import precision_recall
