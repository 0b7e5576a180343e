"""Methods of training, one file each; ``METHODS`` names them."""

from genrev.training.methods.adversarial import AdversarialMethod
from genrev.training.methods.method import (
    METHODS,
    Batch,
    HeldOut,
    Method,
    Noise,
    Phase,
    build_method,
)
