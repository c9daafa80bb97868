"""medloupe looks closer at medical images and checks every claim before it answers.

Research use only, not for diagnosis.

    from medloupe import Resources, make_graph

    graph = make_graph(Resources())
    state = await graph.ainvoke({"study": "slice.dcm", "question": "Where is the brightest structure?"})
    print(state["answer"].answer)

Names are loaded on first use, so that `import medloupe` is light.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Read by langgraph when it loads, so it must stand before: without it, bytes in a checkpoint can call a class.
os.environ.setdefault("LANGGRAPH_STRICT_MSGPACK", "true")

if TYPE_CHECKING:
    from medloupe.agent.budget import Budget
    from medloupe.agent.checkpoints import open_checkpoints
    from medloupe.agent.resources import Resources
    from medloupe.agent.verifying import averify_claims, verify_claims, verify_tool
    from medloupe.graphs.reader import make_graph
    from medloupe.models.segment import load_segmenter
    from medloupe.models.vlm import ChatModelVLM, EndpointVLM, LocalVLM, ScriptedVLM, load_vlm
    from medloupe.tools.imaging import DiskStore, MemoryStore, load_study
    from medloupe.tools.look import Loupe, look_tools
    from medloupe.types import Answer

_HOME = {
    "Answer": "medloupe.types",
    "Budget": "medloupe.agent.budget",
    "ChatModelVLM": "medloupe.models.vlm",
    "DiskStore": "medloupe.tools.imaging",
    "EndpointVLM": "medloupe.models.vlm",
    "LocalVLM": "medloupe.models.vlm",
    "Loupe": "medloupe.tools.look",
    "MemoryStore": "medloupe.tools.imaging",
    "Resources": "medloupe.agent.resources",
    "ScriptedVLM": "medloupe.models.vlm",
    "averify_claims": "medloupe.agent.verifying",
    "load_segmenter": "medloupe.models.segment",
    "load_study": "medloupe.tools.imaging",
    "load_vlm": "medloupe.models.vlm",
    "look_tools": "medloupe.tools.look",
    "make_graph": "medloupe.graphs.reader",
    "open_checkpoints": "medloupe.agent.checkpoints",
    "verify_claims": "medloupe.agent.verifying",
    "verify_tool": "medloupe.agent.verifying",
}

__all__ = [
    "Answer",
    "Budget",
    "ChatModelVLM",
    "DiskStore",
    "EndpointVLM",
    "LocalVLM",
    "Loupe",
    "MemoryStore",
    "Resources",
    "ScriptedVLM",
    "__version__",
    "averify_claims",
    "load_segmenter",
    "load_study",
    "load_vlm",
    "look_tools",
    "make_graph",
    "open_checkpoints",
    "verify_claims",
    "verify_tool",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'medloupe' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
