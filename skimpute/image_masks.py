"""Masks of images: what is hidden is a line, a box, a half, a pattern.

They are drawn for images that are rows of a table, C order, channel last, and are the
same for all channels of a pixel. Single pixels are hidden by
``Pointwise(MCAR(0.8), n_channels)``.

References
----------
.. [1] Ivanov, Figurnov & Vetrov (2019), "Variational Autoencoder with Arbitrary
   Conditioning", ICLR; appendix A.2 and Table 6.
.. [2] Pathak, Krahenbuhl, Donahue, Darrell & Efros (2016), "Context Encoders: Feature
   Learning by Inpainting", CVPR.
"""

from functools import lru_cache
from numbers import Integral

import numpy as np
import torch
from torch.nn.functional import interpolate

from skimpute.core.contexts import MaskGenerator

SIDES = ("left", "right", "top", "bottom")
# Rows and columns of the boxes of Table 6, half open, in images of 128 x 128 pixels.
# The paper prints another second box, which is not the right half it is said to be.
OCCLUSIONS = {
    "O1": ((52, 116), (33, 71)),
    "O2": ((52, 116), (57, 95)),
    "O3": ((52, 74), (29, 99)),
    "O4": ((52, 74), (29, 67)),
    "O5": ((52, 74), (61, 99)),
    "O6": ((86, 124), (40, 88)),
}
_OCCLUDED_SIDE = 128
_PATTERN_SIDE = 1000
_PATTERN_SHARE = (0.2, 0.3)
_PATTERN_LEVEL = 0.25


class ImageMask(MaskGenerator):
    """Base of masks of images: a subclass says which pixels ``_hide`` hides.

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    """

    def __init__(self, grid_shape):
        self.grid_shape = grid_shape
        self._height, self._width, self._n_channels = image_shape(grid_shape)

    def _hide(self, n_images, chance):
        """Hidden pixels, bool of shape (n_images, height, width).

        ``chance`` holds generator and device, as tensors of random numbers take them.
        """
        raise NotImplementedError(f"{type(self).__name__} must define _hide.")

    def context(self, observed, generator):  # noqa: D102
        n_columns = self._height * self._width * self._n_channels
        if observed.shape[1] != n_columns:
            raise ValueError(
                f"grid_shape {self.grid_shape} has {n_columns} values, got a table of "
                f"{observed.shape[1]} columns."
            )
        chance = {"generator": generator, "device": observed.device}
        hidden = self._hide(len(observed), chance).flatten(1)
        return observed & ~hidden.repeat_interleave(self._n_channels, 1)

    def _stretch(self, start, stop, axis):
        """Pixels from start up to stop, (n_images, 1) each, along an axis."""
        place = torch.arange(self._width if axis else self._height, device=start.device)
        inside = (place >= start) & (place < stop)
        return inside[:, None, :] if axis else inside[:, :, None]


class Line(ImageMask):
    """All but some rows of pixels on end, at a random height (Ivanov et al. 2019).

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    n_shown : int or None, default=None
        Rows of pixels that stay; None is 3, or half of them if there are fewer than 6.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Line
    >>> image = Line((4, 3), 1).hide(np.ones((1, 12)), random_state=0)
    >>> image.reshape(4, 3)
    array([[nan, nan, nan],
           [nan, nan, nan],
           [ 1.,  1.,  1.],
           [nan, nan, nan]])
    """

    def __init__(self, grid_shape, n_shown=None):
        super().__init__(grid_shape)
        if n_shown is None:
            n_shown = min(3, self._height // 2)
        if not isinstance(n_shown, Integral) or not 0 <= n_shown <= self._height:
            raise ValueError(
                f"n_shown must lie between 0 and the {self._height} rows of the image, "
                f"got {n_shown}."
            )
        self.n_shown = n_shown

    def _hide(self, n_images, chance):
        last = self._height - self.n_shown
        start = torch.randint(last + 1, (n_images, 1), **chance)
        shown = self._stretch(start, start + self.n_shown, 0)
        return ~shown.expand(-1, -1, self._width)


class Rectangle(ImageMask):
    """One rectangle between two random pixels, its corners (Ivanov et al. 2019).

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    area : (float, float), default=(0.25, 1.0)
        Least and greatest share of the image.
    min_side : int, default=1
        Least number of pixels along a side.

    Notes
    -----
    Corners are uniform over the pixels, and rectangles of other areas discarded. Sizes
    are drawn with the probabilities that this gives them, so that none is discarded.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Rectangle
    >>> image = Rectangle((4, 4)).hide(np.ones((1, 16)), random_state=1)
    >>> np.isnan(image).reshape(4, 4).astype(int)
    array([[1, 1, 1, 1],
           [0, 0, 0, 0],
           [0, 0, 0, 0],
           [0, 0, 0, 0]])
    """

    def __init__(self, grid_shape, area=(0.25, 1.0), *, min_side=1):
        super().__init__(grid_shape)
        self.area = area
        self.min_side = min_side
        low, high = area
        tall, wide = (np.arange(1, side + 1) for side in (self._height, self._width))
        # ways for two corners to lie so far apart, along each axis
        ways = [np.where(side > 1, 2, 1) * side[::-1] for side in (tall, wide)]
        share = np.outer(tall, wide) / (self._height * self._width)
        fits = (share >= low) & (share <= high)
        fits &= np.minimum.outer(tall, wide) >= min_side
        odds = np.where(fits, np.outer(*ways), 0.0)
        if not odds.any():
            raise ValueError(
                f"No rectangle of an image of {self._height} x {self._width} pixels "
                f"has area={area} and min_side={min_side}."
            )
        self._odds = torch.as_tensor(odds / odds.sum(), dtype=torch.float32).ravel()

    def _hide(self, n_images, chance):
        odds = self._odds.to(chance["device"])
        size = torch.multinomial(
            odds, n_images, replacement=True, generator=chance["generator"]
        )
        tall, wide = size // self._width + 1, size % self._width + 1
        at = torch.rand(2, n_images, **chance)
        top = (at[0] * (self._height - tall + 1)).long()[:, None]
        left = (at[1] * (self._width - wide + 1)).long()[:, None]
        rows = self._stretch(top, top + tall[:, None], 0)
        return rows & self._stretch(left, left + wide[:, None], 1)


class Half(ImageMask):
    """The left, right, upper or lower half, each as often (Ivanov et al. 2019).

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    sides : sequence of {"left", "right", "top", "bottom"}, default=all four
        Which halves.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Half
    >>> Half((2, 2), ["top"]).hide(np.ones((1, 4)))
    array([[nan, nan,  1.,  1.]])
    """

    def __init__(self, grid_shape, sides=SIDES):
        super().__init__(grid_shape)
        if isinstance(sides, str) or not set(sides) <= set(SIDES) or not len(sides):
            raise ValueError(
                f"sides must be a list of names among {', '.join(SIDES)}, got "
                f"{sides!r}."
            )
        self.sides = sides
        tall, wide = self._height // 2, self._width // 2
        halves = torch.zeros(len(sides), self._height, self._width, dtype=torch.bool)
        for half, side in zip(halves, sides, strict=True):
            if side == "left":
                half[:, :wide] = True
            elif side == "right":
                half[:, self._width - wide :] = True
            elif side == "top":
                half[:tall] = True
            else:
                half[self._height - tall :] = True
        self._halves = halves

    def _hide(self, n_images, chance):
        which = torch.randint(len(self.sides), (n_images,), **chance)
        return self._halves.to(chance["device"])[which]


class Boxes(ImageMask):
    """One of some boxes whose places are fixed; by default the centre.

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    boxes : sequence of ((int, int), (int, int)) or None, default=None
        First row and the one after the last, then columns, of each box. None is the
        middle half along both axes.

    See Also
    --------
    Rectangle : Boxes in places of their own.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Boxes
    >>> image = Boxes((4, 4)).hide(np.ones((1, 16)))
    >>> np.isnan(image).reshape(4, 4).astype(int)
    array([[0, 0, 0, 0],
           [0, 1, 1, 0],
           [0, 1, 1, 0],
           [0, 0, 0, 0]])
    """

    def __init__(self, grid_shape, boxes=None):
        super().__init__(grid_shape)
        self.boxes = boxes
        if boxes is not None and not len(boxes):
            raise ValueError("boxes must hold at least one box, got none.")
        if boxes is None:
            sides = self._height, self._width
            boxes = [tuple((side // 4, side - side // 4) for side in sides)]
        hidden = torch.zeros(len(boxes), self._height, self._width, dtype=torch.bool)
        for box, ((top, bottom), (left, right)) in zip(hidden, boxes, strict=True):
            if not (0 <= top < bottom <= self._height):
                raise _outside(self.grid_shape, (top, bottom), (left, right))
            if not (0 <= left < right <= self._width):
                raise _outside(self.grid_shape, (top, bottom), (left, right))
            box[top:bottom, left:right] = True
        self._boxes = hidden

    @classmethod
    def occlusions(cls, grid_shape, names=tuple(OCCLUSIONS)):
        """Boxes O1 to O6 of Ivanov et al. (2019), Table 6, scaled to the image.

        Parameters
        ----------
        grid_shape : (int, int) or (int, int, int)
            Height, width, and number of channels if more than one.
        names : sequence of {"O1", "O2", "O3", "O4", "O5", "O6"}, default=all
            Which; each image gets one of them.

        Returns
        -------
        mask : Boxes
        """
        sides = image_shape(grid_shape)[:2]
        if not set(names) <= set(OCCLUSIONS):
            raise ValueError(
                f"names must be among {', '.join(OCCLUSIONS)}, got {names}."
            )
        return cls(
            grid_shape,
            [
                tuple(
                    tuple(round(end * side / _OCCLUDED_SIDE) for end in ends)
                    for ends, side in zip(OCCLUSIONS[name], sides, strict=True)
                )
                for name in names
            ],
        )

    def _hide(self, n_images, chance):
        which = torch.randint(len(self._boxes), (n_images,), **chance)
        return self._boxes.to(chance["device"])[which]


class Pattern(ImageMask):
    """Irregular spots, a fifth to three tenths of the image (Pathak et al. 2016).

    Coarse noise is enlarged smoothly to a large picture; its dark places are hidden.
    Each image gets the spots of another window of that picture.

    Parameters
    ----------
    grid_shape : (int, int) or (int, int, int)
        Height, width, and number of channels if more than one.
    resolution : float, default=0.06
        Cells of the noise for a pixel, in (0, 1]: less makes larger spots.

    Notes
    -----
    The large picture has 1,000 x 1,000 pixels, and is the same for all. Windows are
    drawn from all those with as much hidden as allowed; the paper draws until it finds
    one.

    Examples
    --------
    >>> import numpy as np
    >>> from skimpute.masks import Pattern
    >>> images = Pattern((32, 32)).hide(np.ones((100, 1024)), random_state=0)
    >>> bool(0.2 <= np.isnan(images).mean() <= 0.3)
    True
    """

    def __init__(self, grid_shape, resolution=0.06):
        super().__init__(grid_shape)
        if not 0 < resolution <= 1:
            raise ValueError(f"resolution must be in (0, 1], got {resolution}.")
        self.resolution = resolution
        _large_picture(self._height, self._width, resolution)  # refuses small images

    def _hide(self, n_images, chance):
        device = chance["device"]
        picture, windows = (
            part.to(device)
            for part in _large_picture(self._height, self._width, self.resolution)
        )
        corner = windows[torch.randint(len(windows), (n_images,), **chance)]
        rows = corner[:, :1] + torch.arange(self._height, device=device)
        columns = corner[:, 1:] + torch.arange(self._width, device=device)
        return picture[rows[:, :, None], columns[:, None, :]]


@lru_cache(maxsize=4)
def _large_picture(height, width, resolution):
    """Picture (True is hidden) and corners (n, 2) of the windows that may be shown."""
    side = max(_PATTERN_SIDE, 2 * height, 2 * width)
    n_cells = max(round(resolution * side), 4)
    noise = torch.rand(
        1, 1, n_cells, n_cells, generator=torch.Generator().manual_seed(0)
    )
    large = interpolate(noise, (side, side), mode="bicubic", align_corners=False)
    picture = large[0, 0] < _PATTERN_LEVEL
    total = torch.nn.functional.pad(picture.double().cumsum(0).cumsum(1), (1, 0, 1, 0))
    hidden = total[height:, width:] - total[:-height, width:]
    hidden = hidden - total[height:, :-width] + total[:-height, :-width]
    share = hidden / (height * width)
    low, high = _PATTERN_SHARE
    windows = torch.nonzero((share >= low) & (share <= high))
    if not len(windows):
        raise ValueError(
            f"No window of {height} x {width} pixels has a fitting share hidden at "
            f"resolution={resolution}; pass another one."
        )
    return picture, windows


# What ``training_mask`` may be called in words, given the shape of the images.
NAMED = {
    "line": Line,
    "rectangle": Rectangle,
    "half": Half,
    "center": Boxes,
    "pattern": Pattern,
}


def image_shape(grid_shape):
    """Height, width and channels; refuses what is no image."""
    sizes = tuple(grid_shape)
    counts = [isinstance(s, Integral) and not isinstance(s, bool) for s in sizes]
    if len(sizes) not in (2, 3) or not all(counts) or min(sizes) < 1:
        raise ValueError(
            "grid_shape of images must be (height, width) or (height, width, "
            f"channels), whole numbers >= 1, got {grid_shape}."
        )
    return (*sizes, 1)[:3]


def _outside(grid_shape, rows, columns):
    return ValueError(
        f"A box must have pixels, all within grid_shape={grid_shape}, got rows {rows} "
        f"and columns {columns}."
    )
