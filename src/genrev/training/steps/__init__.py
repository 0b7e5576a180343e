"""One step for all methods, and Lightning around it."""

from genrev.training.steps.module import RevNetAverage, TrainingModule
from genrev.training.steps.step import Step, rate_factor
