"""A run's database: every reply of its models, and every case that was solved. One transaction a case."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from medloupe._database import DurableDatabase
from medloupe.evals.solvers.outcome import Outcome
from medloupe.models.vlm.ledger import LEDGER_SCHEMA, CallLedger

__all__ = ["RunStore", "case_key"]

_SCHEMA = (
    LEDGER_SCHEMA
    + """
CREATE TABLE IF NOT EXISTS cases (
    key TEXT PRIMARY KEY,       -- what the outcome depends on (case_key)
    outcome TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notes (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""
)


def case_key(*parts: object) -> str:
    """sha-256 over all that an outcome depends on: the case, the solver, the models, the prompts, the epoch."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class RunStore:
    """`run.sqlite` of a run's folder; open in one process at a time (RunBusy)."""

    def __init__(self, folder: Path) -> None:
        self._database = DurableDatabase(folder / "run.sqlite", _SCHEMA)
        self.ledger = CallLedger(self._database)

    def outcome(self, key: str) -> Outcome | None:
        """What was recorded of a case; None when it was not solved yet."""
        found = self._database.read("SELECT outcome FROM cases WHERE key = ?", (key,))
        return Outcome.model_validate_json(found[0][0]) if found else None

    async def record(self, key: str, outcome: Outcome) -> None:
        """Keep a solved case; StorageFull when it cannot be kept."""
        await self._database.write(
            "INSERT OR IGNORE INTO cases (key, outcome) VALUES (?, ?)", (key, outcome.model_dump_json())
        )

    def note(self, name: str) -> str | None:
        """A note of the run's ("mlflow_run")."""
        found = self._database.read("SELECT value FROM notes WHERE name = ?", (name,))
        return str(found[0][0]) if found else None

    async def keep_note(self, name: str, value: str) -> None:
        """Keep a note, in place of an earlier one."""
        await self._database.write("INSERT OR REPLACE INTO notes (name, value) VALUES (?, ?)", (name, value))

    def close(self) -> None:
        """Finish writing, and let others in."""
        self._database.close()
