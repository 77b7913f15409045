"""An agent made with the official Python SDK for A2A 1.0, as a server.

    python a2a_agent_v1.py JSONRPC|HTTP+JSON [silent]

It prints its port. `say WORDS` says them back word by word, `ask` asks which one, `wait` works until it is canceled. A silent one does not stream.
"""
import asyncio
import socket
import sys

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message, new_text_part
from a2a.server.agent_execution import AgentExecutor
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_agent_card_routes, create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentInterface, AgentSkill
from starlette.applications import Starlette

BINDING, STREAMS = sys.argv[1], "silent" not in sys.argv


class Agent(AgentExecutor):
    async def execute(self, context, queue):
        task = context.current_task
        answers = task is not None
        if not answers:
            task = new_task_from_user_message(context.message)
            await queue.enqueue_event(task)
        updater = TaskUpdater(queue, task.id, task.context_id)
        await updater.start_work()
        said = context.get_user_input()
        if said == "wait":
            await asyncio.sleep(3600)
        elif said == "ask":
            return await updater.requires_input(new_text_message("Which one?", task_id=task.id, context_id=task.context_id))
        words = ["you ", "chose ", said] if answers else [word + " " for word in said.split()[1:]]
        for n, word in enumerate(words):
            await updater.add_artifact([new_text_part(word)], artifact_id="answer", append=n > 0, last_chunk=n + 1 == len(words))
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


def card(url, description):
    return AgentCard(
        name="Official",
        description=description,
        version="1.0.0",
        supported_interfaces=[AgentInterface(url=url, protocol_binding=BINDING, protocol_version="1.0")],
        capabilities=AgentCapabilities(streaming=STREAMS, extended_agent_card=True),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="say", name="Say", description="Says it back", tags=["say"])],
    )


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
url = f"http://127.0.0.1:{listener.getsockname()[1]}"
public, extended = card(url, "Says things"), card(url, "Says more to those who are known")
handler = DefaultRequestHandler(Agent(), InMemoryTaskStore(), public, extended_agent_card=extended)
routes = create_agent_card_routes(public)
routes += create_jsonrpc_routes(handler, "/") if BINDING == "JSONRPC" else create_rest_routes(handler)
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(Starlette(routes=routes), log_level="warning")).run(sockets=[listener])
