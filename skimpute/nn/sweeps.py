"""Hidden cells drawn anew given the others: sweeps of a pseudo-Gibbs sampler [1]_.

A first draw knows the observed cells alone, and depends on the rest as a code and a
copula let it. Where one cell all but follows from the others, the networks say so when
they are shown these; a chain of such conditional draws, as of chained equations, hence
depends as the conditionals do. Its law is not quite the model's own joint one.

References
----------
.. [1] Heckerman et al. (2000), "Dependency Networks for Inference, Collaborative
   Filtering, and Data Visualization", JMLR 1, section 2.
"""

from dataclasses import replace

import torch

from skimpute.nn.inturn import order_of


def first_half(chance, hidden):
    """Half of the hidden cells of each row, by chance; the larger one if they are odd.

    Parameters
    ----------
    chance : Tensor of shape (n_rows, n_columns)
        Numbers in (0, 1).
    hidden : Tensor of shape (n_rows, n_columns), bool

    Returns
    -------
    half : Tensor of shape (n_rows, n_columns), bool
    """
    place = order_of(chance, hidden).argsort(1)
    return hidden & (2 * place < hidden.sum(1, keepdim=True))


def sweep(module, batch, hidden, drawn, order, noise, uniforms):
    """Draw hidden cells anew: half of each row given the other, then the other.

    Parameters
    ----------
    module : VAEAC
        With rows for a table.
    batch : Batch
        Rows with their context.
    hidden : Tensor of shape (n_rows, n_columns), bool
        Cells to draw, none of them in the context.
    drawn : Tensor of shape (n_draws, n_rows, n_columns)
        Rows as they are drawn now; the context's cells do not matter.
    order : Tensor of shape (n_rows, n_columns)
        In (0, 1), for the halves.
    noise : two Tensors of shape (n_draws, n_rows, latent_dim)
        Standard normal, for z of each half.
    uniforms : two Tensors of shape (n_draws, n_rows, n_columns)
        In (0, 1), for the cells given z.

    Returns
    -------
    drawn : Tensor of shape (n_draws, n_rows, n_columns)
    outputs : Tensor of shape (n_draws, n_rows, d_raw)
        Of the decoder, for each hidden cell when it was drawn.
    """
    first = first_half(order, hidden)
    drawn = torch.where(batch.context, batch.values, drawn)
    outputs = drawn.new_zeros(())
    for half, z, cells in zip((first, hidden & ~first), noise, uniforms, strict=True):
        shown = batch.context | (hidden & ~half)
        made, rows = _redraw(module, batch, drawn, shown, z, cells)
        outputs = torch.where(half[:, module.column_of_output], made, outputs)
        drawn = torch.where(half, rows, drawn)
    return drawn, outputs


def _redraw(module, batch, drawn, shown, noise, uniforms):
    """Outputs and draws given the cells ``shown``, of each draw its own."""
    n_draws, n_rows, _ = drawn.shape
    index = torch.arange(n_draws * n_rows, device=drawn.device)
    context = shown.repeat(n_draws, 1)
    values = torch.where(context, drawn.flatten(0, 1), 0.0)
    seen = {"observed": context, "context": context, "target": ~context}
    state = module.encode(replace(batch[index % n_rows], values=values, **seen))
    # All members answer, and each draw takes its own one's.
    own = index // n_rows % module.n_members

    def of_all(numbers):
        return numbers.flatten(0, 1).expand(module.n_members, -1, -1)

    outputs = module.outputs(state, of_all(noise))[own, index]
    chance = module.tie(state, of_all(uniforms))[own, index]
    drawn = module.distribution(outputs).draw(chance)
    return outputs.unflatten(0, (n_draws, -1)), drawn.unflatten(0, (n_draws, -1))
