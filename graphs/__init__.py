"""Compiled graphs: `reader` builds them, `app` holds the instance that langgraph.json names."""
