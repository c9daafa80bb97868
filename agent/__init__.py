"""The agent: state, planners, nodes, budget and trace. State types live here because import paths are a persisted format."""
