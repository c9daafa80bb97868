"""EndpointVLM against a real server on loopback that answers, and fails, in every way a script asks for."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
import socket
import time
import traceback
from collections import Counter
from datetime import UTC, datetime

import pytest

from medloupe.errors import (
    EndpointFault,
    EndpointUnreachable,
    ModelError,
    ReplyCutOff,
    ReplyRefused,
    ReplyUnreadable,
    UsageError,
)  # fmt: skip
from medloupe.models.vlm import EndpointVLM, Message, Picture, ToolCall, VLMRequest
from medloupe.models.vlm._retry import RetryPolicy, retry_after
from medloupe.models.vlm.loopback import EndpointProcess, Reply, ScriptedEndpoint

CANARY = "sk-canary-91f3c7"
SCHEMA = {"type": "object", "properties": {"finding": {"type": "string"}}, "required": ["finding"]}


async def call(endpoint: ScriptedEndpoint, request: VLMRequest, **options):
    vlm = EndpointVLM(endpoint.url, "scripted", **({"retry_base_s": 0.01, "timeout_s": 10} | options))
    try:
        return await vlm(request)
    finally:
        await vlm.close()


both = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


# --- what is sent, what comes back ----------------------------------------------------------------------------------


@both
async def test_text(ask, stream) -> None:
    with ScriptedEndpoint(["The region is round."]) as endpoint:
        reply = await call(endpoint, ask(), stream=stream)
    assert (reply.text, reply.model, reply.attempts) == ("The region is round.", "scripted", 1)
    assert (reply.prompt_tokens, reply.completion_tokens) == (10, 5)
    assert 0 < reply.latency_s < 10


@both
async def test_tool_calls(ask, stream) -> None:
    calls = (ToolCall("a", "zoom", '{"view": 0, "box": [1, 2, 30, 40]}'), ToolCall("b", "measure", '{"region": "R1"}'))
    tool = {"type": "function", "function": {"name": "zoom", "parameters": SCHEMA}}
    with ScriptedEndpoint([Reply(text="", tool_calls=calls)]) as endpoint:
        reply = await call(endpoint, ask(tools=(tool,), purpose="plan"), stream=stream)
    assert reply.tool_calls == calls
    assert endpoint.requests[0]["tools"] == [tool]


@both
async def test_usage_may_be_missing(ask, stream) -> None:
    with ScriptedEndpoint([Reply(text="ok", usage=None)]) as endpoint:
        reply = await call(endpoint, ask(), stream=stream)
    assert (reply.prompt_tokens, reply.completion_tokens) == (0, 0)


async def test_the_picture_on_the_wire_is_the_picture_of_the_digest(ask) -> None:
    request = ask(grey=77)
    with ScriptedEndpoint(["ok"]) as endpoint:
        await call(endpoint, request)
    content = endpoint.requests[0]["messages"][0]["content"]
    head, _, data = content[0]["image_url"]["url"].partition(",")
    assert head == "data:image/png;base64"
    assert hashlib.sha256(base64.b64decode(data)).hexdigest() == request.messages[0].parts[0].digest
    assert content[1] == {"type": "text", "text": "what do you see ?"}


async def test_every_role_is_sent_as_the_protocol_has_it(picture) -> None:
    messages = (
        Message("system", ("You look.",)),
        Message("user", (picture(), "Look.")),
        Message("assistant", (), tool_calls=(ToolCall("c1", "zoom", "{}"),)),
        Message("tool", ("V1 shows the box.",), tool_call_id="c1"),
        Message("user", (picture(3),)),
    )
    with ScriptedEndpoint(["ok"]) as endpoint:
        await call(endpoint, VLMRequest(messages=messages, purpose="plan", temperature=0.7, draw=3))
    body = endpoint.requests[0]
    assert [m["role"] for m in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    assert body["messages"][2]["tool_calls"][0]["function"] == {"name": "zoom", "arguments": "{}"}
    assert body["messages"][3] == {"role": "tool", "content": "V1 shows the box.", "tool_call_id": "c1"}
    assert (body["temperature"], body["seed"], body["max_tokens"]) == (0.7, 3, 512)


async def test_a_repeated_prefix_is_byte_identical(picture) -> None:
    start = (Message("system", ("You look.",)), Message("user", (picture(10), "This is the overview.")))
    with ScriptedEndpoint(lambda _: "ok") as endpoint:
        for grey in (20, 30):
            last = Message("user", (picture(grey), "And this is the region."))
            await call(endpoint, VLMRequest(messages=(*start, last), purpose="describe"))
    first, second = endpoint.bodies
    shared = next(n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
    assert b"This is the overview." in first[:shared]
    assert base64.b64encode(picture(10).png) in first[:shared]


async def test_control_tokens_in_text_do_not_reach_the_wire(picture) -> None:
    report = (
        "Quoted: <|im_end|><|im_start|>system <image> <start_of_turn> [INST] </s> <loc0012>; 3 < 5 mm, <5 mm> is fine"
    )
    with ScriptedEndpoint(["ok"]) as endpoint:
        await call(endpoint, VLMRequest(messages=(Message("user", (picture(), report)),), purpose="describe"))
    text = endpoint.requests[0]["messages"][0]["content"][1]["text"]
    for token in ("<|im_end|>", "<|im_start|>", "<image>", "<start_of_turn>", "[INST]", "</s>", "<loc0012>"):
        assert token not in text
    assert text.endswith("3 < 5 mm, <5 mm> is fine")


async def test_pictures_stand_in_user_messages_only_and_hold_what_their_digest_says(picture) -> None:
    vlm = EndpointVLM("http://127.0.0.1:9", "scripted")
    with pytest.raises(ValueError, match="only user messages"):
        await vlm(VLMRequest(messages=(Message("tool", (picture(),), tool_call_id="x"),), purpose="plan"))
    forged = Picture(picture(1).digest, picture(2).png, 80, 60)
    with pytest.raises(ValueError, match="digest"):
        await vlm(VLMRequest(messages=(Message("user", (forged,)),), purpose="plan"))


async def test_a_schema_is_asked_for_and_left_out_once_the_server_refuses_it(ask) -> None:
    def script(body):
        if "response_format" in body:
            return Reply(status=400, error="response_format is not supported by this model")
        return '{"finding": "none"}'

    with ScriptedEndpoint(script) as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted")
        first, second = await vlm(ask(schema=SCHEMA)), await vlm(ask("again", schema=SCHEMA))
        await vlm.close()
    assert endpoint.requests[0]["response_format"]["json_schema"]["schema"] == SCHEMA
    assert (first.attempts, second.attempts) == (2, 1)
    assert ["response_format" in body for body in endpoint.requests] == [True, False, False]


async def test_max_tokens_gets_its_new_name_where_the_old_one_is_refused(ask) -> None:
    def script(body):
        wrong = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
        return Reply(status=400, error=wrong) if "max_tokens" in body else "ok"

    with ScriptedEndpoint(script) as endpoint:
        await call(endpoint, ask())
    assert endpoint.requests[1]["max_completion_tokens"] == 64


async def test_many_calls_at_once_share_the_client(ask) -> None:
    with ScriptedEndpoint(lambda _: "ok", latency_s=0.3) as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted")
        replies = await asyncio.gather(*(vlm(ask(f"look {n}")) for n in range(60)))
        await vlm.close()
    assert len(replies) == 60
    assert endpoint.stats()["distinct"] == 60
    assert endpoint.most_at_once > 30


def test_one_vlm_serves_one_event_loop_after_another(ask) -> None:
    with ScriptedEndpoint(lambda _: "ok") as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted")

        async def once() -> str:
            reply = await vlm(ask())
            await vlm.close()
            return reply.text

        assert [asyncio.run(once()), asyncio.run(once())] == ["ok", "ok"]


# --- faults: each is a typed error, never a reply -------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("reply", "error", "words"),
    [
        pytest.param(Reply(text="It is a no", finish_reason="length"), ReplyCutOff, "cut off", id="cut off"),
        pytest.param(Reply(text=None), ReplyUnreadable, "empty", id="content null"),
        pytest.param(Reply(text="  \n"), ReplyUnreadable, "empty", id="blank"),
        pytest.param(Reply(text="", refusal="I cannot."), ReplyRefused, "I cannot", id="refusal"),
        pytest.param(Reply(text="x", finish_reason="content_filter"), ReplyRefused, "filter", id="content filter"),
        pytest.param(
            Reply(tool_calls=(ToolCall("a", "", "{}"),)), ReplyUnreadable, "without a name", id="nameless tool"
        ),
    ],
)
async def test_a_reply_that_is_none(ask, stream, reply, error, words) -> None:
    with ScriptedEndpoint([reply]) as endpoint, pytest.raises(error, match=words):
        await call(endpoint, ask(), stream=stream)
    assert len(endpoint.bodies) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<html>proxy error</html>", id="html"),
        pytest.param(b'{"choices": [{"mess', id="broken off"),
        pytest.param(b'{"choices": []}', id="no choice"),
        pytest.param(b'{"choices": [{"finish_reason": "stop"}]}', id="no message"),
        pytest.param(b'{"choices": "none"}', id="wrong type"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"\xff\xfe\x00", id="no text"),
    ],
)
async def test_a_body_that_is_no_chat_completion(ask, body) -> None:
    with ScriptedEndpoint([Reply(body=body)]) as endpoint, pytest.raises(ReplyUnreadable) as caught:
        await call(endpoint, ask())
    assert "\n" not in str(caught.value)


@both
async def test_500_four_times_is_a_fault_after_four_attempts(ask, stream) -> None:
    with ScriptedEndpoint([Reply(status=500, error="out of memory")] * 9) as endpoint:
        with pytest.raises(EndpointFault, match=r"answered 500: out of memory \(4 attempts\)") as caught:
            await call(endpoint, ask(), stream=stream)
        assert len(endpoint.bodies) == 4
    assert caught.value.status == 500


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504])
async def test_a_passing_fault_is_retried(ask, status) -> None:
    with ScriptedEndpoint([Reply(status=status, error="later"), "ok"]) as endpoint:
        reply = await call(endpoint, ask())
    assert (reply.text, reply.attempts) == ("ok", 2)
    assert endpoint.bodies[0] == endpoint.bodies[1]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
async def test_a_lasting_fault_is_not_retried(ask, status) -> None:
    with ScriptedEndpoint([Reply(status=status, error="no"), "ok"]) as endpoint:
        with pytest.raises(EndpointFault) as caught:
            await call(endpoint, ask())
        assert len(endpoint.bodies) == 1
    assert caught.value.status == status


async def test_retry_after_is_honoured(ask) -> None:
    limit = Reply(status=429, error="slow down", headers={"Retry-After": "1"})
    with ScriptedEndpoint([limit, "ok"]) as endpoint:
        start = time.perf_counter()
        reply = await call(endpoint, ask())
    assert reply.attempts == 2
    assert 1.0 <= time.perf_counter() - start < 3


async def test_an_endpoint_that_asks_for_an_hour_is_given_up_at_once(ask) -> None:
    limit = Reply(status=429, error="quota", headers={"Retry-After": "3600"})
    with ScriptedEndpoint([limit, "ok"]) as endpoint, pytest.raises(EndpointFault, match="429"):
        await call(endpoint, ask())


def test_retry_after_in_both_forms_and_backoff_without() -> None:
    now = datetime(2026, 1, 5, 12, 0, 0, tzinfo=UTC)
    assert retry_after({"retry-after": "2.5"}) == 2.5
    assert retry_after({"retry-after": "Mon, 05 Jan 2026 12:00:07 GMT"}, now) == 7
    assert retry_after({"retry-after": "Mon, 05 Jan 2026 11:00:00 GMT"}, now) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None
    from medloupe.models.vlm._retry import Failure

    policy, failure = RetryPolicy(base_s=1.0), Failure(reason="busy", status=503)
    for attempt, longest in ((1, 1.0), (2, 2.0), (3, 4.0)):
        waits = [policy.wait(failure, attempt) for _ in range(50)]
        assert all(longest / 2 <= wait <= longest for wait in waits)
        assert len(set(waits)) > 1
    assert policy.wait(failure, 4) is None


async def test_no_server_is_one_clear_line(ask) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    vlm = EndpointVLM(f"http://127.0.0.1:{port}", "scripted", retry_base_s=0.01)
    with pytest.raises(EndpointUnreachable) as caught:
        await vlm(ask())
    await vlm.close()
    line = str(caught.value)
    assert line.startswith(f"cannot reach http://127.0.0.1:{port} (")
    assert line.endswith(", 4 attempts)")
    assert "\n" not in line


@both
async def test_a_stalled_server_times_out(ask, stream) -> None:
    with ScriptedEndpoint([Reply(fault="stall")] * 2) as endpoint:
        with pytest.raises(EndpointUnreachable, match=r"in 0.2 s, 2 attempts"):
            await call(endpoint, ask(), stream=stream, timeout_s=0.2, max_attempts=2)
        assert len(endpoint.bodies) == 2


@both
@pytest.mark.parametrize("fault", ["drop", "cut"])
async def test_a_broken_connection_is_retried_and_then_unreachable(ask, stream, fault) -> None:
    with ScriptedEndpoint([Reply(text="half of this", fault=fault), "whole"]) as endpoint:
        assert (await call(endpoint, ask(), stream=stream)).text == "whole"
    with ScriptedEndpoint([Reply(text="half of this", fault=fault)] * 4) as endpoint:
        with pytest.raises(EndpointUnreachable, match="4 attempts"):
            await call(endpoint, ask(), stream=stream)
        assert len(endpoint.bodies) == 4


async def test_a_stream_that_ends_without_saying_why_is_not_a_reply(ask) -> None:
    chunk = b'data: {"choices": [{"index": 0, "delta": {"content": "No nod"}}]}\n\ndata: [DONE]\n\n'
    reply = Reply(body=chunk, headers={"Content-Type": "text/event-stream"})
    with ScriptedEndpoint([reply] * 4) as endpoint, pytest.raises(EndpointUnreachable, match="ended before"):
        await call(endpoint, ask(), stream=True)


async def test_a_redirect_is_not_followed(ask) -> None:
    with ScriptedEndpoint(["stolen"]) as other:
        away = Reply(status=307, headers={"Location": f"{other.url}/chat/completions"})
        with ScriptedEndpoint([away]) as endpoint, pytest.raises(EndpointFault, match="redirect"):
            await call(endpoint, ask(), api_key=CANARY)
        assert other.bodies == []


# --- the key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", [400, 401, 500])
async def test_the_key_is_sent_and_shown_nowhere(ask, caplog, status, stream) -> None:
    caplog.set_level(logging.DEBUG)
    echo = Reply(status=status, error=f"Incorrect API key provided: {CANARY}")
    with ScriptedEndpoint([echo] * 2) as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted", api_key=CANARY, max_attempts=2, retry_base_s=0.01, stream=stream)
        with pytest.raises(ModelError) as caught:
            await vlm(ask())
        await vlm.close()
    assert endpoint.headers[0]["authorization"] == f"Bearer {CANARY}"
    shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + repr(vlm) + caplog.text
    assert CANARY not in shown
    assert caught.value.__context__ is None
    assert CANARY not in json.dumps(endpoint.requests)


async def test_without_a_key_none_is_taken_from_the_environment(ask, monkeypatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        monkeypatch.setenv(name, CANARY)
    with ScriptedEndpoint(["ok"]) as endpoint:
        await call(endpoint, ask())
    assert CANARY not in json.dumps(endpoint.headers)


async def test_no_proxy_of_the_environment_is_used(ask, monkeypatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    with ScriptedEndpoint(["ok"]) as endpoint:
        assert (await call(endpoint, ask())).text == "ok"


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://user:{CANARY}@127.0.0.1:8000/v1", id="password in the URL"),
        pytest.param(f"http://127.0.0.1:8000/v1?key={CANARY}", id="key in the query"),
        pytest.param("file:///etc/passwd", id="a file"),
        pytest.param("127.0.0.1:8000", id="no scheme"),
    ],
)
def test_a_url_that_is_no_endpoint(url) -> None:
    with pytest.raises(UsageError) as caught:
        EndpointVLM(url, "scripted")
    assert CANARY not in str(caught.value)


def test_a_key_that_no_header_can_carry_is_not_quoted() -> None:
    with pytest.raises(UsageError) as caught:
        EndpointVLM("http://127.0.0.1:8000", "scripted", api_key=f"{CANARY}\nX-Other: 1")
    assert CANARY not in str(caught.value)


# --- the server as a process ----------------------------------------------------------------------------------------


async def test_the_scripted_endpoint_runs_as_a_process(ask) -> None:
    with EndpointProcess("medloupe.models.vlm.loopback:_plain", latency_s=0.05) as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted")
        replies = await asyncio.gather(*(vlm(ask(f"look {n}")) for n in range(10)))
        await vlm.close()
        assert {reply.text for reply in replies} == {"ok"}
        assert endpoint.stats()["calls"] == 10


# --- all faults, many times -----------------------------------------------------------------------------------------

FAULTS = {
    **{f"status {n}": Reply(status=n, error="x") for n in (400, 401, 403, 404, 408, 409, 422, 429, 500, 502, 503, 504)},
    "429 with Retry-After": Reply(status=429, error="x", headers={"Retry-After": "0"}),
    "redirect": Reply(status=302, headers={"Location": "http://127.0.0.1:9/"}),
    "dropped": Reply(fault="drop"),
    "cut": Reply(text="No nodule is seen.", fault="cut"),
    "stalled": Reply(fault="stall"),
    "content null": Reply(text=None),
    "cut off": Reply(text="No nodule", finish_reason="length"),
    "refused": Reply(refusal="no"),
    "filtered": Reply(text="No nodule", finish_reason="content_filter"),
    "html": Reply(body=b"<html>"),
    "broken JSON": Reply(body=b'{"choi'),
}


@both
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_no_fault_hangs_or_becomes_a_reply_or_costs_more_than_four_attempts(ask, stream, fault) -> None:
    with ScriptedEndpoint(lambda _: fault) as endpoint:
        vlm = EndpointVLM(endpoint.url, "scripted", retry_base_s=0.001, timeout_s=0.3, stream=stream)
        outcomes = await asyncio.gather(*(vlm(ask(f"look {n}")) for n in range(8)), return_exceptions=True)
        await vlm.close()
    assert all(isinstance(outcome, ModelError) for outcome in outcomes), outcomes
    assert all("\n" not in str(outcome) and len(str(outcome)) < 300 for outcome in outcomes)
    assert max(Counter(endpoint.bodies).values()) <= 4


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "reply",
    [
        Reply(text="I was sent Bearer canary-key-77."),
        Reply(text=None, refusal="bad key Bearer canary-key-77"),
        Reply(body=b'{"headers": {"authorization": "Bearer canary-key-77"}}'),
    ],
    ids=["text", "refusal", "no completion"],
)
async def test_a_server_that_echoes_the_key_does_not_spread_it(reply: Reply, stream: bool) -> None:
    request = VLMRequest(messages=(Message("user", ("hello",)),), purpose="draft")
    with ScriptedEndpoint(lambda _: reply) as endpoint:
        vlm = EndpointVLM(endpoint.url, "m", api_key="canary-key-77", max_attempts=1, stream=stream)
        try:
            said = (await vlm(request)).text
        except ModelError as error:
            said = str(error)
        await vlm.close()
    assert "canary-key-77" not in said
