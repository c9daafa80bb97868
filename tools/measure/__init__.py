"""Numbers from pixels: what can be said of a region without any model."""

from medloupe.tools.measure.appearance import ColourShare, Texture, asymmetry, colour_share, dominant_colours, texture
from medloupe.tools.measure.contour import Spectrum, border_gradient, perimeter, radial_profile, radial_spectrum
from medloupe.tools.measure.counting import Counted, count_objects, count_white_cells
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
    volume,
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
from medloupe.tools.measure.outline import threshold_mask
from medloupe.tools.measure.region import measure_region

__all__ = [
    "ColourShare", "Counted", "Feret", "Form", "Spectrum", "Statistics", "Texture", "asymmetry", "border_gradient",
    "centroid", "colour_share", "contrast", "count_objects", "count_white_cells", "density_word", "dominant_colours",
    "feret", "form", "intensity_word", "largest_component", "luminance", "measure_region", "perimeter",
    "radial_profile", "radial_spectrum", "ring", "shape_word", "side_word", "site_word", "solid_word", "statistics",
    "texture", "threshold_mask", "volume",
]  # fmt: skip
