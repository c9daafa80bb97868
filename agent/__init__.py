"""The agent: state, planners, nodes, budget and trace. State types live here: import paths are a persisted format."""
