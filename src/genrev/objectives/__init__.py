"""Training objectives: pure functions of tensors and callables, scalar out, no model in sight."""

from genrev.objectives.adversarial import (
    cross_entropy_discriminator_loss,
    cross_entropy_encoder_loss,
    hinge_discriminator_loss,
    hinge_encoder_loss,
)
from genrev.objectives.likelihood import (
    bits_per_dim,
    class_log_probs,
    dequantise,
    posterior_loss,
    whole_pixels,
    within_cells,
)
from genrev.objectives.mmd import imq_kernel, mmd, rbf_kernel
from genrev.objectives.patches import laplacian_bands, random_filters, sliced_patch_distance
from genrev.objectives.reconstruction import (
    Colours,
    bernoulli_loss,
    clamp_penalty,
    clamped_reconstruction_loss,
    kl_divergence,
    perturbation_loss,
    squared_error,
)
from genrev.objectives.transport import (
    class_transport_loss,
    debiased_transport_loss,
    optimal_transport_loss,
    random_directions,
    sliced_wasserstein,
)
