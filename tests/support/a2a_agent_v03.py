"""An agent made with the official Python SDK for A2A 0.3, as a server.

    python a2a_agent_v03.py JSONRPC [silent]

It prints its port. `say WORDS` says them back word by word, `ask` asks which one, `wait` works until it is canceled. A silent one does not stream.
"""
import asyncio
import socket
import sys

import uvicorn
from a2a.server.agent_execution import AgentExecutor
from a2a.server.apps import A2AStarletteApplication
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import AgentCapabilities, AgentCard, AgentSkill, Part, TextPart
from a2a.utils import new_agent_text_message, new_task

STREAMS = "silent" not in sys.argv


class Agent(AgentExecutor):
    async def execute(self, context, queue):
        task = context.current_task
        answers = task is not None
        if not answers:
            task = new_task(context.message)
            await queue.enqueue_event(task)
        updater = TaskUpdater(queue, task.id, task.context_id)
        await updater.start_work()
        said = context.get_user_input()
        if said == "wait":
            await asyncio.sleep(3600)
        elif said == "ask":
            return await updater.requires_input(new_agent_text_message("Which one?", task.context_id, task.id), final=True)
        words = ["you ", "chose ", said] if answers else [word + " " for word in said.split()[1:]]
        for n, word in enumerate(words):
            part = Part(root=TextPart(text=word))
            await updater.add_artifact([part], artifact_id="answer", append=n > 0, last_chunk=n + 1 == len(words))
        await updater.complete()

    async def cancel(self, context, queue):
        await TaskUpdater(queue, context.task_id, context.context_id).cancel()


def card(url, description):
    return AgentCard(
        name="Official",
        description=description,
        version="1.0.0",
        url=url,
        capabilities=AgentCapabilities(streaming=STREAMS),
        default_input_modes=["text/plain"],
        default_output_modes=["text/plain"],
        skills=[AgentSkill(id="say", name="Say", description="Says it back", tags=["say"])],
        supports_authenticated_extended_card=True,
    )


listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(128)
url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
public, extended = card(url, "Says things"), card(url, "Says more to those who are known")
handler = DefaultRequestHandler(Agent(), InMemoryTaskStore())
app = A2AStarletteApplication(public, handler, extended_agent_card=extended).build()
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
