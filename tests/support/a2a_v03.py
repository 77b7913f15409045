"""The official SDK of A2A 0.3 as a client: the whole round over JSON-RPC, against a machine with the fake language model.

    python a2a_v03.py SERVER WORKER JSONRPC
"""
import uuid

import httpx
from a2a.client import A2ACardResolver, ClientConfig, ClientFactory
from a2a.client.errors import A2AClientJSONRPCError
from a2a.types import Message, Part, Role, TaskIdParams, TaskQueryParams, TaskState, TextPart
from a2a.utils import get_message_text
from a2a_round import SERVER, WORKER, check, drain, go, refused


def message(text, **more):
    return Message(role=Role.user, message_id=uuid.uuid4().hex, parts=[Part(root=TextPart(text=text))], **more)


async def connect(agent, streaming, polling=False):
    http = httpx.AsyncClient(timeout=60)
    card = await A2ACardResolver(http, agent).get_agent_card()
    return ClientFactory(ClientConfig(streaming=streaming, polling=polling, httpx_client=http)).create(card), card


def said(task):
    texts = [part.root.text for artifact in task.artifacts or [] for part in artifact.parts if part.root.kind == "text"]
    return "".join(texts)


async def send(client, wanted):
    """All pairs of the task as it then is and what was told."""
    return await drain(client.send_message(wanted))


async def refused_with(code, call):
    await refused(A2AClientJSONRPCError, call, lambda error: error.error.code == code)


async def one_answer(agent):
    client, card = await connect(agent, streaming=False)
    check(card.name == WORKER and card.protocol_version == "0.3.0" and card.url == agent, card)
    ((task, update),) = await send(client, message("hello old sdk"))
    check(update is None and task.status.state == TaskState.completed and said(task) == "echo: hello old sdk", task)
    check(get_message_text(task.history[0]) == "hello old sdk", task)
    check(await client.get_task(TaskQueryParams(id=task.id)) == task, "it is read otherwise than it was answered")
    ((other, _),) = await send(client, message("and then", context_id=task.context_id))
    check(other.context_id == task.context_id and other.id != task.id, other)
    await refused_with(-32001, client.get_task(TaskQueryParams(id="nobody")))
    await refused_with(-32002, client.cancel_task(TaskIdParams(id=task.id)))


async def streams(agent):
    client, _ = await connect(agent, streaming=True)
    events = await send(client, message("one two three"))
    task, last = events[-1]
    check(last.kind == "status-update" and last.final and task.status.state == TaskState.completed, last)
    check(said(task) == "echo: one two three", task)
    check(sum(update is not None and update.kind == "artifact-update" for _, update in events) >= 1, events)


async def follow_and_cancel(agent):
    sender, _ = await connect(agent, streaming=False, polling=True)
    ((task, _),) = await send(sender, message("!slow 605 100"))
    check(task.status.state in (TaskState.submitted, TaskState.working), task)
    follower, _ = await connect(agent, streaming=True)
    pieces, last = 0, None
    async for _, last in follower.resubscribe(TaskIdParams(id=task.id)):
        if last is not None and last.kind == "artifact-update":
            pieces += 1
            if pieces == 3:
                canceled = await sender.cancel_task(TaskIdParams(id=task.id))
                check(canceled.status.state == TaskState.canceled, canceled)
    check(pieces >= 3 and last.final and last.status.state == TaskState.canceled, last)


async def permission(agent):
    client, _ = await connect(agent, streaming=True)
    events = await send(client, message("!bash ask-me old sdk || echo permitted-old-sdk"))
    task, last = events[-1]
    check(last.status.state == TaskState.input_required and last.final, last)
    check("ask-me old sdk" in get_message_text(last.status.message), last)
    events = await send(client, message("yes", task_id=task.id, context_id=task.context_id))
    check(events[-1][0].id == task.id and events[-1][0].status.state == TaskState.completed, events[-1])
    check("permitted-old-sdk" in said(await client.get_task(TaskQueryParams(id=task.id))), task)


async def cards(agent):
    client, card = await connect(SERVER, streaming=False)
    check(card.supports_authenticated_extended_card, card)
    extended = await client.get_card()
    check(WORKER in [skill.id for skill in extended.skills], extended)


go(one_answer, streams, follow_and_cancel, permission, cards)
