"""The graph that langgraph.json names, built from the environment and medloupe.toml."""

from __future__ import annotations

from medloupe.agent.resources import resources_from
from medloupe.graphs.reader import make_graph
from medloupe.settings import load_settings
from medloupe.tools.imaging import DiskStore

__all__ = ["graph"]

_settings = load_settings()
# The server that loads this module brings its own checkpointer.
graph = make_graph(resources_from(_settings, store=DiskStore(_settings.sessions / "server")))
