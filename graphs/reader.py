"""The reader: ask a question of a study, look closer where it must, check every claim, answer or abstain.

open -> plan -> look (fan-out, one branch a region) -> plan ... -> draft -> claims -> verify (fan-out) -> revise
-> (at most once: look -> verify -> revise) -> answer
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph

from medloupe.agent.checkpoints import open_checkpoints
from medloupe.agent.nodes import ReaderNodes
from medloupe.agent.resources import Resources
from medloupe.agent.state import LookTask, ReaderState, VerifyTask

if TYPE_CHECKING:
    from langgraph.checkpoint.base import BaseCheckpointSaver

__all__ = ["ReaderGraph", "make_graph", "open_checkpoints"]

ReaderGraph = CompiledStateGraph[ReaderState, None, ReaderState, ReaderState]


def make_graph(
    resources: Resources | None = None,
    *,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    review: bool = False,
) -> ReaderGraph:
    """The compiled reader graph.

    Args:
        resources: models, store, segmenter and budget; by default no model and a store in memory: it measures only.
        checkpointer: the caller's own; `open_checkpoints(path)` gives a private SQLite one. Needed for sessions of
            several turns and for `review`.
        review: stop (LangGraph interrupt) before the draft, so that a person may add, move or exclude regions; resume
            with `Command(resume={"add": [[x0, y0, x1, y1]], "move": {"R1": [...]}, "exclude": ["R2"]})`, or with
            `Command(resume=True)` to go on as it is. A moved region becomes a new one in its place.

    Input: `{"study": path, "question": text}`; later turns of a thread need the question only. Output: state with
    `answer` (an Answer). Stream mode "custom" gives the trace's events as they happen. Raises UserError and ModelError.
    """
    resources = resources or Resources()
    nodes = ReaderNodes(resources)
    builder = StateGraph(ReaderState)
    builder.add_node("open", nodes.open)
    builder.add_node("plan", nodes.plan)
    builder.add_node("look", nodes.look, input_schema=LookTask)
    builder.add_node("draft", nodes.draft)
    builder.add_node("claims", nodes.claims)
    builder.add_node("verify", nodes.verify, input_schema=VerifyTask)
    builder.add_node("revise", nodes.revise)
    builder.add_node("answer", nodes.answer)
    builder.add_edge(START, "open")
    builder.add_edge("open", "plan")
    if review:
        builder.add_node("review", nodes.review)
        builder.add_conditional_edges("plan", nodes.after_plan_reviewed, ["look", "review"])
        builder.add_conditional_edges(
            "look", nodes.after_look_reviewed, ["plan", "review", "draft", "verify", "revise"]
        )
        builder.add_conditional_edges("review", nodes.after_plan, ["look", "draft"])
    else:
        builder.add_conditional_edges("plan", nodes.after_plan, ["look", "draft"])
        builder.add_conditional_edges("look", nodes.after_look, ["plan", "draft", "verify", "revise"])
    builder.add_edge("draft", "claims")
    builder.add_conditional_edges("claims", nodes.after_claims, ["verify", "revise"])
    builder.add_edge("verify", "revise")
    # A claim that its probe left open is worth one closer look; it goes back through look and verify, nothing else.
    builder.add_conditional_edges("revise", nodes.after_revise, ["look", "answer"])
    builder.add_edge("answer", END)
    graph = builder.compile(checkpointer=checkpointer, name="medloupe")
    return graph.with_config(
        {"recursion_limit": resources.budget.recursion_limit(), "max_concurrency": resources.concurrency}
    )
