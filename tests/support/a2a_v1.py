"""The official SDK of A2A 1.0 as a client: the whole round on one binding, against a machine with the fake language model.

    python a2a_v1.py SERVER WORKER BINDING
"""
import httpx
from a2a.client import ClientConfig, create_client
from a2a.helpers.proto_helpers import get_artifact_text, get_message_text, new_text_message
from a2a.types import (
    CancelTaskRequest,
    GetExtendedAgentCardRequest,
    GetTaskRequest,
    ListTasksRequest,
    Role,
    SendMessageRequest,
    SubscribeToTaskRequest,
    TaskState,
)
from a2a.utils.errors import TaskNotCancelableError, TaskNotFoundError, UnsupportedOperationError
from a2a_round import BINDING, SERVER, WORKER, check, drain, go, refused


def request(text, at_once=False, **more):
    message = new_text_message(text, role=Role.ROLE_USER)
    for name, value in more.items():
        setattr(message, name, value)
    wanted = SendMessageRequest(message=message)
    wanted.configuration.return_immediately = at_once
    return wanted


async def connect(agent, streaming):
    config = ClientConfig(streaming=streaming, supported_protocol_bindings=[BINDING], httpx_client=httpx.AsyncClient(timeout=60))
    return await create_client(agent, client_config=config)


async def send(client, wanted):
    """All events, and the last task or status."""
    return await drain(client.send_message(wanted))


def said(task):
    return "".join(get_artifact_text(artifact) for artifact in task.artifacts)


async def one_answer(agent):
    client = await connect(agent, streaming=False)
    (event,) = await send(client, request("hello sdk"))
    task = event.task
    check(task.status.state == TaskState.TASK_STATE_COMPLETED, task)
    check(said(task) == "echo: hello sdk", task)
    check(get_message_text(task.history[0]) == "hello sdk", task)
    again = await client.get_task(GetTaskRequest(id=task.id))
    check(again == task, again)
    (event,) = await send(client, request("what came before", context_id=task.context_id))
    check(event.task.context_id == task.context_id, event)
    listed = await client.list_tasks(ListTasksRequest(context_id=task.context_id, include_artifacts=True))
    check([t.id for t in listed.tasks] == [event.task.id, task.id], listed)
    check(listed.total_size == 2 and not listed.next_page_token and said(listed.tasks[1]) == said(task), listed)
    await refused(TaskNotFoundError, client.get_task(GetTaskRequest(id="nobody")))
    await refused(TaskNotCancelableError, client.cancel_task(CancelTaskRequest(id=task.id)))
    await client.close()
    client = await connect(agent, streaming=True)
    await refused(UnsupportedOperationError, drain(client.subscribe(SubscribeToTaskRequest(id=task.id))))
    await client.close()


async def streams(agent):
    client = await connect(agent, streaming=True)
    events = await send(client, request("one two three"))
    check(events[0].HasField("task"), events[0])
    text = "".join(get_artifact_text(e.artifact_update.artifact) for e in events if e.HasField("artifact_update"))
    check(text == "echo: one two three", text)
    check(events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED, events[-1])
    await client.close()


async def follow_and_cancel(agent):
    sender = await connect(agent, streaming=False)
    (event,) = await send(sender, request("!slow 604 100", at_once=True))
    check(event.task.status.state in (TaskState.TASK_STATE_SUBMITTED, TaskState.TASK_STATE_WORKING), event)
    follower = await connect(agent, streaming=True)
    pieces, states = 0, []
    async for event in follower.subscribe(SubscribeToTaskRequest(id=event.task.id)):
        if event.HasField("task"):
            task = event.task
        if event.HasField("artifact_update"):
            pieces += 1
            if pieces == 3:
                canceled = await sender.cancel_task(CancelTaskRequest(id=task.id))
                check(canceled.status.state == TaskState.TASK_STATE_CANCELED, canceled)
        if event.HasField("status_update"):
            states.append(event.status_update.status.state)
    check(pieces >= 3 and states[-1] == TaskState.TASK_STATE_CANCELED, states)
    await sender.close()
    await follower.close()


async def permission(agent):
    client = await connect(agent, streaming=True)
    events = await send(client, request(f"!bash ask-me sdk {BINDING} || echo permitted-sdk"))
    status = events[-1].status_update.status
    check(status.state == TaskState.TASK_STATE_INPUT_REQUIRED, events[-1])
    check("ask-me sdk" in get_message_text(status.message), status)
    task = events[0].task
    events = await send(client, request("yes", task_id=task.id, context_id=task.context_id))
    check(events[0].task.id == task.id, events[0])
    check(events[-1].status_update.status.state == TaskState.TASK_STATE_COMPLETED, events[-1])
    ended = await client.get_task(GetTaskRequest(id=task.id))
    check("permitted-sdk" in said(ended), ended)
    await client.close()


async def cards(agent):
    client = await connect(SERVER, streaming=False)
    card = await client.get_extended_agent_card(GetExtendedAgentCardRequest())
    check(WORKER in [skill.id for skill in card.skills], card)
    own = await (await connect(agent, streaming=False)).get_extended_agent_card(GetExtendedAgentCardRequest())
    check(own.name == WORKER and "models: " in own.description, own)


go(one_answer, streams, follow_and_cancel, permission, cards)
