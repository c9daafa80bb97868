"""Looking closer at a study: views, regions, outlines and measurements, and the same as LangChain tools."""

from medloupe.tools.look.loupe import Loupe
from medloupe.tools.look.segment import Outline, Outliner
from medloupe.tools.look.tools import LookBook, look_tools

__all__ = ["LookBook", "Loupe", "Outline", "Outliner", "look_tools"]
