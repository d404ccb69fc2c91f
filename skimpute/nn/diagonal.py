"""Diagonal Gaussians, as of latent codes."""

from skimpute.nn.heads import LOG_SQRT_2PI


def gaussian_kl(mean_q, std_q, mean_p, std_p):
    """KL(q || p) of diagonal Gaussians, summed over the last axis, nats."""
    ratio = std_q / std_p
    distance = (mean_q - mean_p) / std_p
    return (0.5 * (ratio.square() + distance.square() - 1) - ratio.log()).sum(-1)


def gaussian_log_prob(z, mean, std):
    """Log density of diagonal Gaussians, summed over the last axis, nats."""
    return (-0.5 * ((z - mean) / std).square() - std.log() - LOG_SQRT_2PI).sum(-1)
