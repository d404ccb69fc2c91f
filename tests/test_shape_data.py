"""Colour digits, voxels and spheres: what they are made of."""

import numpy as np
import pytest

from skimpute.datasets import make_colour_digits, make_voxels, sphere_coords


def test_places_of_a_map_are_unit_vectors_of_their_angles():
    lat, lon = np.array([-60.0, 0.0, 45.0]), np.array([0.0, 120.0, 240.0, 300.0])
    coords = sphere_coords(lat, lon)
    np.testing.assert_allclose(np.linalg.norm(coords, axis=1), 1)
    of_lat = np.degrees(np.arcsin(coords[:, 2])).reshape(3, 4)
    np.testing.assert_allclose(of_lat, np.repeat(lat[:, None], 4, axis=1), atol=1e-9)
    of_lon = np.degrees(np.arctan2(coords[:, 1], coords[:, 0])) % 360
    np.testing.assert_allclose(of_lon, np.tile(lon, 3), atol=1e-9)


def test_digits_are_brighter_than_their_grounds():
    images = np.zeros((2, 6, 7))
    images[:, 2:4, 2:5] = 1.0
    digits = make_colour_digits(images, n_samples=50, random_state=0)
    assert digits.grid_shape == (6, 7, 3)
    assert (digits.data >= 0).all() and (digits.data <= 1).all()
    pictures, ink = digits.data.reshape(50, 42, 3), digits.ink > 0.5
    assert (pictures[ink] >= 0.7).all()
    assert (pictures[~ink] <= 0.6).all()
    grounds = pictures[:, ~ink[0]]
    assert (grounds.std(axis=1).max(axis=1) > 0.005).mean() > 0.95  # textured
    assert len(np.unique(pictures[:, ink[0]][:, 0], axis=0)) == 50  # own colours


def test_shapes_are_what_they_are_called():
    shapes = make_voxels(80, size=16, random_state=0)
    voxels = shapes.data.reshape(80, 16, 16, 16).astype(bool)
    assert set(np.unique(shapes.data)) == {0.0, 1.0}
    assert all((shapes.kind == kind).sum() == 20 for kind in np.unique(shapes.kind))
    assert voxels.any(axis=(1, 2, 3)).all()
    for kind, volume in zip(shapes.kind, voxels, strict=True):
        corners = [np.flatnonzero(volume.any(axis=a)) for a in [(1, 2), (0, 2), (0, 1)]]
        full = np.prod([len(np.arange(c[0], c[-1] + 1)) for c in corners])
        share = volume.sum() / full
        middle = tuple(int(np.mean(c[[0, -1]])) for c in corners)
        if kind == "box":
            assert share == 1
        if kind == "ball":  # pi / 6 of its box
            assert 0.4 < share < 0.75
        if kind == "torus":  # a hole
            assert not volume[middle]
        if kind == "chair":
            assert share < 0.6


@pytest.mark.parametrize("make", [make_colour_digits, make_voxels])
def test_same_seed_same_data(make):
    one, two, other = (make(n_samples=8, random_state=s).data for s in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()


def test_impossible_arguments():
    with pytest.raises(ValueError, match=r"images must have shape .*, got \(3, 4\)"):
        make_colour_digits(np.zeros((3, 4)))
    with pytest.raises(ValueError, match="n_samples must be an int >= 1, got 0"):
        make_voxels(0)
    with pytest.raises(ValueError, match="size must be an int >= 1, got 0"):
        make_voxels(1, size=0)
