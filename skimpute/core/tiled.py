"""Contexts of a module that works on a lattice: tiles, worked out once, then read."""

import numpy as np
import torch

from skimpute.core import bridge
from skimpute.core.fields import context_batch
from skimpute.core.lattice import Tiles, padded_blocks

_SIZE = {1: 128, 2: 32}  # lattice points along an axis, fewest
# Few tiles at once, since most contexts are small, and blocks are always full.
_TILES_AT_ONCE, _POINTS_AT_ONCE = 4, 2**16  # of the lattice, or of the context
_KEPT_NUMBERS = 2**26  # of all tiles, at most 256 MB
_WIDTH = 32  # smallest padded number of context points of a tile
_ROWS_AT_ONCE = 256  # places that are read in one block


class TiledContext:
    """What a module makes of some functions' points, on the tiles that they reach.

    Parameters
    ----------
    module : torch.nn.Module
        With ``d_x``, ``d_y``, ``multiple``, ``rim``, ``margin``, ``reach``, ``tile``
        and ``read_tiles``; see :class:`skimpute.nn.convcnp.ConvCNP`.
    points : Points
        Context, coordinates in units of the lattice.
    device : str
        Where the module is.

    Attributes
    ----------
    tiles : Tiles
        The tiles.
    values : ndarray of shape (n_tiles + 1, ...) or None
        Network outputs, last those on a tile that no point matters to. None where they
        are too many to keep: then tiles are worked out when they are asked for.
    """

    def __init__(self, module, points, device):
        size = max(_SIZE[module.d_x], 4 * module.multiple)
        self.points = points
        self.tiles = Tiles.around(points.x, points.code, size, module.reach)
        n_numbers = (size + 2 * module.rim) ** module.d_x * 2 * module.d_y
        self.most_tiles = max(1, _KEPT_NUMBERS // n_numbers)
        self.values = None
        if len(self.tiles) <= self.most_tiles:
            everything = np.arange(len(self.tiles))
            self.values = self._work_out(module, everything, device)

    def _work_out(self, module, wanted, device):
        """Network outputs on some tiles, and last on one that no point matters to."""
        tiles, points = self.tiles, self.points
        counts = np.append(tiles.counts[wanted], 0)
        start = np.append(tiles.start[wanted], 0)
        first = np.vstack([tiles.first(wanted), np.zeros((1, module.d_x))])
        n_lattice = (tiles.size + 2 * module.margin) ** module.d_x
        values = None
        most_tiles = max(1, min(_TILES_AT_ONCE, _POINTS_AT_ONCE // n_lattice))
        for part, full, index, there in padded_blocks(
            start, counts, _WIDTH, most_tiles, _POINTS_AT_ONCE
        ):
            index = tiles.point[index] if len(tiles.point) else index
            x = points.x[index] if len(points) else np.zeros((*index.shape, 1))
            x = x - first[full][:, None]
            batch = context_batch(points, index, there, device, x)
            with torch.no_grad():
                made = module.tile(batch.xc, batch.yc, batch.yc_observed, tiles.size)
            made = bridge.to_numpy(made, np.float32)
            if values is None:
                values = np.empty((len(counts), *made.shape[1:]), np.float32)
            values[part] = made[: len(part)]
        return values

    def read(self, module, device, in_blocks, x, code):
        """Mean and standard deviation at places of some functions.

        Parameters
        ----------
        module, device
            As when the context was made.
        in_blocks : callable
            Calls a function on blocks of rows.
        x : ndarray of shape (n_places, d_x)
            Coordinates in units of the lattice.
        code : ndarray of shape (n_places,)
            Function of each place.

        Returns
        -------
        mean, std : ndarray of shape (n_places, d_y)
        """
        tile, inside = self.tiles.of(x, code)
        if self.values is not None:
            return _read(module, device, in_blocks, self.values, tile, inside)
        mean, std = np.empty((2, len(x), module.d_y))
        wanted, place = np.unique(tile, return_inverse=True)
        for start in range(0, len(wanted), self.most_tiles):
            part = wanted[start : start + self.most_tiles]  # the empty one is the last
            values = self._work_out(module, part[part < len(self.tiles)], device)
            rows = np.flatnonzero((place >= start) & (place < start + len(part)))
            mean[rows], std[rows] = _read(
                module, device, in_blocks, values, place[rows] - start, inside[rows]
            )
        return mean, std


def _read(module, device, in_blocks, values, tile, inside):
    values = torch.from_numpy(values).to(device)

    def read(tile, inside):
        tile, inside = (
            torch.from_numpy(tile).to(device),
            bridge.to_tensor(inside, device),
        )
        law = module.read_tiles(values, tile, inside)
        return bridge.to_numpy(law.mean), bridge.to_numpy(law.stddev)

    return in_blocks(read, tile, inside, block_rows=_ROWS_AT_ONCE)
