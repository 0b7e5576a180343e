"""The methods of training: what each checks, builds and runs. A new method is a file here."""

from genrev.training.methods.baseline import BASELINE
from genrev.training.methods.flow_gan import FLOW_GAN
from genrev.training.methods.likelihood import LIKELIHOOD
from genrev.training.methods.matching import MATCHING
from genrev.training.methods.method import Method
from genrev.training.methods.semi import SEMI
from genrev.training.methods.transport import TRANSPORT

__all__ = ["PROCEDURES", "Method"]

PROCEDURES: dict[str, Method] = {
    "transport": TRANSPORT,
    "matching": MATCHING,
    "baseline": BASELINE,
    "likelihood": LIKELIHOOD,
    "flow-gan": FLOW_GAN,
    "semi": SEMI,
}
"""For every ``RunConfig.method``, see ``genrev.training.config.METHODS`` for their options."""
