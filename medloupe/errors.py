"""What can go wrong, by who can do something about it.

    MedloupeError
    ├── UserError            the person can mend it: one line, exit code 2
    │   ├── InputRejected    a file that cannot be read as a study (carries a code)
    │   ├── UsageError       a flag, a setting or a command that makes no sense
    │   ├── BackendMissing   an optional part is not installed (names what to install)
    │   ├── RunBusy          another process is working on the same run
    │   └── StorageFull      the disk is full; nothing that was written is lost
    ├── ModelError           a model or an endpoint failed: exit code 3, the partial trace is kept
    │   ├── EndpointUnreachable
    │   ├── EndpointFault    the endpoint answered with an HTTP error (carries the status)
    │   ├── ReplyCutOff      finish_reason was "length"
    │   ├── ReplyUnreadable  not the JSON that was asked for, or empty
    │   └── ReplyRefused     the model or its filter declined
    └── ActionRejected       the planner asked for something impossible: told to the planner, never to the user

A ModelError never becomes a finding, nor a "no finding". No message here may hold a patient's data, an API key or a
path outside what the user typed.
"""

from __future__ import annotations


class MedloupeError(Exception):
    """Root of every error that medloupe raises on purpose. `str(error)` is one clear line."""

    exit_code = 1


class UserError(MedloupeError):
    """The person who called can mend it."""

    exit_code = 2


class InputRejected(UserError):
    """A file, folder or archive that medloupe will not read as a study."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{reason} [{code}]")
        self.code = code
        """Short, stable, kebab-case: "empty-file", "not-an-image", "truncated", ..."""
        self.reason = reason
        """One sentence for a person; holds no tag value and no pixel."""


class UsageError(UserError):
    """A flag, a setting or a command that makes no sense as given."""


class BackendMissing(UserError):
    """An optional part is not installed or not usable here."""

    def __init__(self, what: str, install: str) -> None:
        super().__init__(f"{what} is not available here; install it with: {install}")
        self.install = install


class RunBusy(UserError):
    """Another process is working on the same run."""


class StorageFull(UserError):
    """A run cannot go on because the disk is full; what was written until then is kept."""


class ModelError(MedloupeError):
    """A model or its endpoint failed."""

    exit_code = 3


class EndpointUnreachable(ModelError):
    """No connection, or no reply within the time limit, after every attempt."""


class EndpointFault(ModelError):
    """The endpoint replied with an HTTP error, after every attempt worth making."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ReplyCutOff(ModelError):
    """The reply ended at the token limit and is incomplete."""


class ReplyUnreadable(ModelError):
    """The reply is empty or not what the schema asked for."""


class ReplyRefused(ModelError):
    """The model, or a filter before it, declined to reply."""


class ActionRejected(MedloupeError):
    """A planner's action that cannot be carried out; the message is written for the planner to mend it."""
