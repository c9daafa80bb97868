"""The scripted VLM, the replay of a trace, a wrapped LangChain chat model, and choosing between VLMs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from langchain_core.language_models.fake_chat_models import FakeMessagesListChatModel, GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage

from medloupe.errors import MedloupeError, ModelError, ReplyCutOff, ReplyRefused, ReplyUnreadable, UsageError
from medloupe.models.vlm import (
    VLM,
    ChatModelVLM,
    EndpointVLM,
    LocalVLM,
    Message,
    ScriptedVLM,
    ToolCall,
    VLMReply,
    VLMRequest,
    load_vlm,
)  # fmt: skip


async def test_a_script_by_purpose(ask) -> None:
    vlm = ScriptedVLM({"describe": "It is round.", "probe": ["yes", "no"]})
    assert (await vlm(ask())).text == (await vlm(ask())).text == "It is round."
    assert [(await vlm(ask(purpose="probe"))).text for _ in range(2)] == ["yes", "no"]
    with pytest.raises(ModelError, match="no further reply for probe"):
        await vlm(ask(purpose="probe"))
    with pytest.raises(ModelError):
        await vlm(ask(purpose="draft"))
    assert [r.purpose for r in vlm.requests] == ["describe", "describe", "probe", "probe", "probe", "draft"]


async def test_a_script_of_errors_and_functions(ask) -> None:
    vlm = ScriptedVLM(["first", ReplyRefused("no")], model="qwen2.5-vl-fake")
    assert (await vlm(ask())).model == "qwen2.5-vl-fake"
    assert vlm.profile.convention == "absolute"
    with pytest.raises(ReplyRefused):
        await vlm(ask())
    with pytest.raises(ModelError, match="no further reply"):
        await vlm(ask())
    echo = ScriptedVLM(lambda request: str(request.messages[0].parts[-1]))
    assert (await echo(ask("hello"))).text == "hello"


async def test_a_trace_is_replayed_request_by_request(ask, tmp_path: Path) -> None:
    seen, faulted = ask("seen"), ask("faulted")
    tool = {"id": "a", "name": "zoom", "arguments": "{}"}
    said = {"reply": "It is\u2028round.", "tool_calls": [tool], "model": "m1", "prompt_tokens": 7}
    events = [
        {"event": "trace", "schema_version": "medloupe.trace/1"},
        {"event": "open", "data": {"study": "x"}},
        {"event": "call", "data": {"key": seen.key, "model": "m1", "fault": "no reply in 5 s", "reply": ""}},
        {"event": "call", "data": {"key": seen.key, "fault": None} | said},
        {"event": "call", "data": {"key": faulted.key, "fault": "the model's reply is empty"}},
    ]
    trace = tmp_path / "trace.jsonl"
    lines = [json.dumps(event, ensure_ascii=False) for event in events]
    trace.write_text("\n".join(lines) + '\n{"event": "call", "da', "utf-8")  # killed while it wrote
    vlm = ScriptedVLM.from_trace(trace)
    reply = await vlm(ask("seen"))
    assert reply == VLMReply("It is\u2028round.", (ToolCall("a", "zoom", "{}"),), model="m1", prompt_tokens=7)
    with pytest.raises(ModelError, match="empty"):
        await vlm(faulted)
    with pytest.raises(ModelError, match="holds no reply"):
        await vlm(ask("never asked"))
    with pytest.raises(ModelError, match="holds no reply"):
        await vlm(ask("seen", grey=5))


@pytest.mark.parametrize(
    "content", [None, "", "not json\n{}\n", '{"event": "open"}\n'], ids=["absent", "empty", "text", "no call"]
)
def test_a_trace_that_cannot_be_replayed(tmp_path: Path, content) -> None:
    trace = tmp_path / "trace.jsonl"
    if content is not None:
        trace.write_text(content)
    with pytest.raises(UsageError):
        ScriptedVLM.from_trace(trace)


class Recording(FakeMessagesListChatModel):
    """LangChain's own fake, which also keeps what it was sent."""

    seen: list
    bound: list

    def _generate(self, messages, stop=None, run_manager=None, **options):
        self.seen.append((messages, options))
        return super()._generate(messages, stop, run_manager, **options)

    def bind_tools(self, tools, **options):
        self.bound.extend(tools)
        return self


async def test_a_langchain_chat_model_is_a_vlm(picture) -> None:
    answer = AIMessage(
        "It is round.",
        tool_calls=[{"id": "a", "name": "zoom", "args": {"view": 0}}],
        usage_metadata={"input_tokens": 9, "output_tokens": 4, "total_tokens": 13},
        response_metadata={"finish_reason": "tool_calls", "model_name": "chat-1"},
    )
    chat = Recording(responses=[answer], seen=[], bound=[])
    vlm = ChatModelVLM(chat, model="chat")
    assert isinstance(vlm, VLM)
    tool = {"type": "function", "function": {"name": "zoom", "parameters": {"type": "object", "properties": {}}}}
    messages = (
        Message("user", (picture(), "Look.")),
        Message("assistant", ("I zoom.",), tool_calls=(ToolCall("b", "zoom", '{"view": 1}'),)),
        Message("tool", ("done",), tool_call_id="b"),
    )
    reply = await vlm(VLMRequest(messages=messages, purpose="plan", tools=(tool,), max_tokens=50))
    assert (reply.text, reply.model, reply.prompt_tokens, reply.completion_tokens) == ("It is round.", "chat-1", 9, 4)
    assert reply.tool_calls == (ToolCall("a", "zoom", '{"view": 0}'),)
    (human, said, done), options = chat.seen[0]
    assert isinstance(human, HumanMessage)
    assert human.content[0]["image_url"]["url"].startswith("data:image/png;base64,")
    assert said.tool_calls[0]["args"] == {"view": 1}
    assert isinstance(done, ToolMessage)
    assert (options["max_tokens"], options["temperature"]) == (50, 0.0)
    assert chat.bound == [tool]


@pytest.mark.parametrize(
    ("message", "error"),
    [
        pytest.param(AIMessage("It is", response_metadata={"finish_reason": "length"}), ReplyCutOff, id="length"),
        pytest.param(AIMessage("It is", response_metadata={"stop_reason": "max_tokens"}), ReplyCutOff, id="max_tokens"),
        pytest.param(AIMessage("", additional_kwargs={"refusal": "I will not"}), ReplyRefused, id="refusal"),
        pytest.param(AIMessage(""), ReplyUnreadable, id="empty"),
    ],
)
async def test_a_chat_model_that_does_not_reply(ask, message, error) -> None:
    with pytest.raises(error):
        await ChatModelVLM(FakeMessagesListChatModel(responses=[message]), model="chat")(ask())


async def test_a_chat_models_own_exception_is_typed_and_not_quoted(ask) -> None:
    def broken():
        raise RuntimeError("Bearer sk-canary-91f3c7")
        yield

    vlm = ChatModelVLM(GenericFakeChatModel(messages=broken()), model="chat")
    with pytest.raises(ModelError, match="chat failed: RuntimeError") as caught:
        await vlm(ask())
    assert "canary" not in str(caught.value)


def test_a_vlm_is_chosen_by_what_is_given(tmp_path: Path) -> None:
    assert isinstance(load_vlm("http://127.0.0.1:8000/v1", "m"), EndpointVLM)
    (tmp_path / "config.json").write_text("{}")
    assert isinstance(load_vlm(str(tmp_path)), LocalVLM)
    for given, model in (("http://127.0.0.1:8000", ""), (str(tmp_path / "nowhere"), "m"), ("gpt-5", "")):
        with pytest.raises(MedloupeError):
            load_vlm(given, model)


def test_importing_the_vlms_loads_nothing_heavy() -> None:
    code = "import sys, medloupe.models.vlm; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"openai", "httpx2", "torch", "transformers", "langchain_core"} & set(done.stdout.split())
