"""Numbers from pixels: what can be said of a region without any model."""

from medloupe.tools.measure.geometry import (
    Feret,
    Form,
    centroid,
    feret,
    form,
    largest_component,
    shape_word,
    side_word,
    site_word,
)
from medloupe.tools.measure.intensity import (
    Statistics,
    contrast,
    density_word,
    intensity_word,
    luminance,
    ring,
    solid_word,
    statistics,
)
from medloupe.tools.measure.outline import count_objects, threshold_mask
from medloupe.tools.measure.region import measure_region

__all__ = [
    "Feret", "Form", "Statistics", "centroid", "contrast", "count_objects", "density_word", "feret", "form",
    "intensity_word", "largest_component", "luminance", "measure_region", "ring", "shape_word", "side_word",
    "site_word", "solid_word", "statistics", "threshold_mask",
]  # fmt: skip
