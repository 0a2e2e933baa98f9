"""Colours that stay the content's."""

import numpy as np

from style_transfer.colors import luminance, match_colors, match_luminance, with_colors_of
from tests.style_transfer.conftest import floats


def test_luminance_alone_changes() -> None:
    grey = np.full((40, 48, 3), 0.5, np.float32)
    dim = np.float32(0.3) + np.float32(0.4) * floats(0)
    found = with_colors_of(grey, dim)
    np.testing.assert_allclose(luminance(found), 0.5, atol=1e-3)
    np.testing.assert_allclose(with_colors_of(luminance(dim), dim), dim, atol=1e-3)


def test_a_strong_color_gets_paler_before_its_luminance_changes() -> None:
    result, content = floats(1), floats(0)
    found = with_colors_of(result, content)
    assert found.min() >= 0 and found.max() <= 1
    np.testing.assert_allclose(luminance(found), luminance(result), atol=1e-5)
    # Paler, never another colour: the three differ from their luminance in the same proportion.
    ours, wanted = found - luminance(found), content - luminance(content)
    np.testing.assert_allclose(np.cross(ours, wanted), 0, atol=1e-5)
    assert (np.abs(ours) > 0.9 * np.abs(wanted)).mean() > 0.2


def test_a_matched_luminance_has_the_contents_mean_and_spread() -> None:
    content = np.float32(0.4) + np.float32(0.2) * floats(0)
    found = match_luminance(floats(1), content)
    assert np.ptp(found, axis=2).max() < 1e-6
    assert abs(found.mean() - luminance(content).mean()) < 1e-3
    assert abs(found.std() - luminance(content).std()) < 1e-3


def test_matched_colors_have_the_contents_mean_and_covariance() -> None:
    content = np.float32(0.4) + np.float32(0.2) * floats(0)
    found = match_colors(floats(1), content)
    ours, wanted = found.reshape(-1, 3), content.reshape(-1, 3)
    np.testing.assert_allclose(ours.mean(0), wanted.mean(0), atol=1e-3)
    np.testing.assert_allclose(np.cov(ours.T), np.cov(wanted.T), atol=2e-4)


def test_one_color_alone_is_no_trouble() -> None:
    flat = np.full((40, 48, 3), 0.3, np.float32)
    for found in (match_colors(flat, floats(0)), match_luminance(flat, floats(0))):
        assert np.isfinite(found).all()
    np.testing.assert_allclose(match_colors(floats(0), flat).mean((0, 1)), 0.3, atol=0.01)
