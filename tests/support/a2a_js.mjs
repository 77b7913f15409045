// The official JavaScript SDK of A2A as a client: the whole round on one binding, against a built-in agent and a machine with the fake language model.
//
//     node a2a_js.mjs SERVER WORKER BINDING [0.3]
import { strict as assert } from "node:assert";
import { createRequire } from "node:module";
import { randomUUID } from "node:crypto";

const [server, worker, binding, version = "1.0"] = process.argv.slice(2);
const require = createRequire(new URL("../../build/a2a/js/package.json", import.meta.url));
const { ClientFactory, DefaultAgentCardResolver, JsonRpcTransportFactory, RestTransportFactory } = require("@a2a-js/sdk/client");
const sdk = require("@a2a-js/sdk");
const errors = require("@a2a-js/sdk/errors");

const old = version === "0.3";
const agent = `${server}/agents/${worker}`;

async function connect(url) {
  const legacyCompat = { enabled: old };
  // The server answers the card of 0.3 to whoever asks for it.
  const fetchImpl = (at, init = {}) => fetch(at, { ...init, headers: { ...init.headers, ...(old ? { "A2A-Version": "0.3" } : {}) } });
  const factory = new ClientFactory({
    transports: [new JsonRpcTransportFactory({ legacyCompat }), new RestTransportFactory({ legacyCompat })],
    preferredTransports: [binding],
    cardResolver: new DefaultAgentCardResolver({ legacyCompat, fetchImpl }),
  });
  const client = await factory.createFromUrl(`${url}/.well-known/agent-card.json`, "");
  assert.equal(client.transport.protocolName, binding);
  assert.ok(client.protocolVersion.startsWith(version), client.protocolVersion);
  return client;
}

function request(text, more = {}, configuration = {}) {
  const message = { messageId: randomUUID(), role: "ROLE_USER", parts: [{ text }], ...more };
  return sdk.SendMessageRequest.fromJSON({ message, configuration });
}

/** As the protocol spells it, which is easier to compare. */
const plain = (task) => sdk.Task.toJSON(task);
const update = (event) => sdk.StreamResponse.toJSON(event);
const said = (task) => (task.artifacts ?? []).flatMap((artifact) => artifact.parts.map((part) => part.text ?? "")).join("");
const send = async (client, ...about) => plain(await client.sendMessage(request(...about)));
const get = async (client, id) => plain(await client.getTask(sdk.GetTaskRequest.fromJSON({ id })));
const cancel = async (client, id) => plain(await client.cancelTask(sdk.CancelTaskRequest.fromJSON({ id })));
const follow = (client, id) => client.resubscribeTask(sdk.SubscribeToTaskRequest.fromJSON({ id }));

async function all(events) {
  const told = [];
  for await (const event of events) told.push(update(event));
  return told;
}

async function refused(kind, call) {
  await assert.rejects(call, (error) => {
    assert.ok(error instanceof errors[kind], `${error?.constructor?.name} instead of ${kind}: ${error}`);
    return true;
  });
}

async function builtIn() {
  const client = await connect(`${server}/agents/monitor`);
  const task = await send(client, "hello from JavaScript");
  assert.equal(task.status.state, "TASK_STATE_COMPLETED");
  assert.match(said(task), /^Status of /);
  assert.deepEqual(await get(client, task.id), task);
  const told = await all(client.sendMessageStream(request("and again", { contextId: task.contextId })));
  assert.ok(told[0].task.contextId === task.contextId && told.at(-1).statusUpdate.status.state === "TASK_STATE_COMPLETED", JSON.stringify(told));
}

async function oneAnswer() {
  const client = await connect(agent);
  const task = await send(client, "hello js sdk");
  assert.equal(task.status.state, "TASK_STATE_COMPLETED");
  assert.equal(said(task), "echo: hello js sdk");
  assert.equal(task.history[0].parts[0].text, "hello js sdk");
  assert.deepEqual(await get(client, task.id), task);
  const next = await send(client, "what came before", { contextId: task.contextId });
  assert.ok(next.contextId === task.contextId && next.id !== task.id);
  if (!old) {
    const listed = await client.listTasks(sdk.ListTasksRequest.fromJSON({ contextId: task.contextId, includeArtifacts: true }));
    assert.deepEqual(listed.tasks.map((one) => one.id), [next.id, task.id]);
    assert.ok(listed.totalSize === 2 && listed.nextPageToken === "" && said(plain(listed.tasks[1])) === said(task));
  }
  await refused("TaskNotFoundError", () => get(client, "nobody"));
  await refused("TaskNotCancelableError", () => cancel(client, task.id));
  await refused("UnsupportedOperationError", () => all(follow(client, task.id)));
  await refused("UnsupportedOperationError", () => client.sendMessage(request("too late", { taskId: task.id })));
  const hook = sdk.TaskPushNotificationConfig.fromJSON({ taskId: task.id, url: "https://example.com/hook" });
  const card = await client.getAgentCard();
  if (card.capabilities.pushNotifications) {
    const made = await client.createTaskPushNotificationConfig(hook);
    const id = { taskId: task.id, id: made.id };
    assert.equal((await client.getTaskPushNotificationConfig(sdk.GetTaskPushNotificationConfigRequest.fromJSON(id))).url, hook.url);
    await client.deleteTaskPushNotificationConfig(sdk.DeleteTaskPushNotificationConfigRequest.fromJSON(id));
  } else {
    // The client does not even ask where the card says no: its transport does.
    const options = { serviceParameters: { "A2A-Version": version } };
    await refused("PushNotificationNotSupportedError", () => client.transport.createTaskPushNotificationConfig(hook, options));
  }
}

async function streams() {
  const client = await connect(agent);
  const told = await all(client.sendMessageStream(request("one two three")));
  assert.ok(told[0].task, JSON.stringify(told[0]));
  assert.equal(said({ artifacts: told.flatMap((event) => (event.artifactUpdate ? [event.artifactUpdate.artifact] : [])) }), "echo: one two three");
  assert.equal(told.at(-1).statusUpdate.status.state, "TASK_STATE_COMPLETED");
}

async function followAndCancel() {
  const client = await connect(agent);
  const begun = await send(client, "!slow 606 100", {}, { returnImmediately: true });
  assert.match(begun.status.state, /SUBMITTED|WORKING/);
  let pieces = 0;
  let last;
  for await (const event of follow(client, begun.id)) {
    last = update(event);
    if (last.artifactUpdate && ++pieces === 3) {
      assert.equal((await cancel(client, begun.id)).status.state, "TASK_STATE_CANCELED");
    }
  }
  assert.ok(pieces >= 3 && last.statusUpdate.status.state === "TASK_STATE_CANCELED", JSON.stringify(last));
}

async function permission() {
  const client = await connect(agent);
  const mark = `ask-me js ${binding} ${version}`;
  const told = await all(client.sendMessageStream(request(`!bash ${mark} || echo permitted-js`)));
  const status = told.at(-1).statusUpdate.status;
  assert.equal(status.state, "TASK_STATE_INPUT_REQUIRED");
  assert.ok(status.message.parts[0].text.includes(mark), JSON.stringify(status));
  const { id, contextId } = told[0].task;
  const more = await all(client.sendMessageStream(request("yes", { taskId: id, contextId })));
  assert.ok(more[0].task.id === id && more.at(-1).statusUpdate.status.state === "TASK_STATE_COMPLETED", JSON.stringify(more));
  assert.ok(said(await get(client, id)).includes("permitted-js"));
}

async function cards() {
  const client = await connect(server);
  const extended = await client.getAgentCard();
  assert.ok(extended.skills.some((skill) => skill.id === worker), JSON.stringify(extended.skills));
  const own = await (await connect(agent)).getAgentCard();
  assert.ok(own.name === worker && own.description.includes("models: "), JSON.stringify(own));
}

for (const step of [builtIn, oneAnswer, streams, followAndCancel, permission, cards]) {
  await step();
  console.log(step.name, "ok");
}
console.log("all is well");
