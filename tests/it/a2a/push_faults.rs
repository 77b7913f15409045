//! Webhooks whose receivers are down, slow, unwilling or forbidden, and servers that end.

use super::caller::{Binding, Caller};
use super::push::{TO_PRIVATE, begin, is_end, machine, told_state};
use crate::support::{Cx, Http, Postgres, Receiver, Reply, Server, Shared, TlsProxy, cases, items, text, wait_for};
use anyhow::{Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

cases! {
    [] =>
        nothing_is_lost_when_the_server_is_killed_while_the_receiver_is_down,
        a_try_in_vain_is_repeated_until_it_is_taken,
        what_cannot_be_read_at_the_end_is_told_when_it_can,
        a_receiver_is_left_alone_as_long_as_it_asks_for,
        a_receiver_that_hangs_holds_up_neither_the_task_nor_other_webhooks,
        a_thousand_webhooks_that_hang_delay_no_other,
        a_receiver_that_refuses_is_given_up_and_the_log_says_so,
        a_redirect_is_not_followed,
        addresses_that_are_not_public_are_refused,
        a_name_of_this_machine_is_not_reached;
    [A2aSdk] => a_webhook_with_https_is_told_if_its_certificate_is_trusted;
    [Postgres] => nothing_is_lost_when_the_server_is_killed_while_the_receiver_is_down_on_postgresql;
}

static SERVER: Shared = Shared::embedded("a2a-push-faults", TO_PRIVATE);
static PUBLIC_ONLY: Shared = Shared::embedded("a2a-push-public", "name = \"Server-A\"\n");

/// How long a webhook that is refused may take to be given up, several pauses included.
const GIVEN_UP: Duration = Duration::from_secs(90);

fn with_settings(cx: &Cx) -> Result<Server> {
    let config = cx.dir().join("server.toml");
    std::fs::write(&config, TO_PRIVATE)?;
    Ok(Server::new(cx.dir(), "server")?.with_args(["--config".into(), config.into_os_string()]))
}

async fn nothing_is_lost_when_the_server_is_killed_while_the_receiver_is_down(cx: &Cx) -> Result<()> {
    nothing_is_lost(with_settings(cx)?.launch().await?).await
}

async fn nothing_is_lost_when_the_server_is_killed_while_the_receiver_is_down_on_postgresql(cx: &Cx) -> Result<()> {
    let url = Postgres::fresh_database().await?;
    nothing_is_lost(with_settings(cx)?.with_args(["--database-url".to_owned(), url]).launch().await?).await
}

async fn nothing_is_lost(mut server: Server) -> Result<()> {
    let mut receiver = Receiver::new()?;
    let (worker, caller) = machine(&server, Binding::Rpc, "lost").await?;
    begin(&caller, Some(json!({ "url": receiver.url("/new"), "token": "t" }))).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_lost").await?;
    worker.append(&given, 0, &["one ", "two "]).await?;
    server.kill().await?;
    server.restart().await?;
    worker.append(&given, 2, &["three"]).await?;
    worker.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "one two three" })).await?;
    server.kill().await?;
    receiver.begin()?;
    server.restart().await?;
    let heard = receiver.until("/new", is_end).await?;
    let states: Vec<_> = heard.iter().map(told_state).filter(|state| !state.is_empty()).collect();
    let (first, last) = (states.first(), states.last());
    ensure!(first == Some(&"TASK_STATE_SUBMITTED") && last == Some(&"TASK_STATE_COMPLETED"), "{states:?}");
    ensure!(heard[0]["task"].is_object(), "{heard:#?}");
    let texts: Vec<_> = heard.iter().filter_map(|event| event["artifactUpdate"]["artifact"]["parts"][0]["text"].as_str()).collect();
    ensure!(texts.concat() == "one two three", "{texts:?}");
    // All of it was told, so that nothing is told again: a server that stops keeps what was answered last.
    ensure!(server.stop().await?.success(), "it did not end well");
    server.restart().await?;
    let monitor = Caller::new(&Http::new(&server), Binding::Rpc)?.at("monitor");
    let task = monitor.say("x", json!({})).await?;
    monitor.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": receiver.url("/other") })).await?;
    receiver.until("/other", is_end).await?;
    ensure!(receiver.tries("/new").len() == heard.len(), "{:#?}", receiver.tries("/new"));
    Ok(())
}

async fn a_try_in_vain_is_repeated_until_it_is_taken(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "vain").await?;
    receiver.reply("/vain", [Reply::Status(500), Reply::Status(503)]);
    begin(&caller, Some(json!({ "url": receiver.url("/vain") }))).await?;
    receiver.until("/vain", |event| told_state(event) == "TASK_STATE_SUBMITTED").await?;
    ensure!(receiver.tries("/vain").len() == 3, "{:#?}", receiver.tries("/vain"));
    receiver.reply("/vain", [Reply::Status(502)]);
    worker.run(&worker.take().await?, &["one ", "two"]).await?;
    let heard = receiver.until("/vain", is_end).await?;
    // What is sent again is the same, and says so.
    let tries = receiver.tries("/vain");
    for (one, next) in tries.iter().zip(&tries[1..]).filter(|(one, _)| !one.taken) {
        ensure!(one.body == next.body && one.headers["x-event-id"] == next.headers["x-event-id"], "{tries:#?}");
    }
    let kinds: Vec<_> = heard.iter().filter_map(|event| event.as_object()?.keys().next()).collect();
    ensure!(kinds == ["task", "statusUpdate", "artifactUpdate", "statusUpdate"], "{kinds:?}");
    Ok(())
}

async fn what_cannot_be_read_at_the_end_is_told_when_it_can(cx: &Cx) -> Result<()> {
    let (server, receiver) = (with_settings(cx)?.launch().await?, Receiver::start()?);
    let (worker, caller) = machine(&server, Binding::Rpc, "unread").await?;
    begin(&caller, Some(json!({ "url": receiver.url("/unread") }))).await?;
    let given = worker.take().await?;
    worker.start(&given, "ses_unread").await?;
    receiver.until("/unread", |event| told_state(event) == "TASK_STATE_WORKING").await?;
    let spoil = "CREATE TRIGGER spoil AFTER UPDATE OF state ON tasks WHEN NEW.state = 'completed' BEGIN
        UPDATE tasks SET changes = 'no' || changes WHERE id = NEW.id; END";
    server.spoil(spoil).await?;
    let change = json!([{ "path": "a.rs", "change": "modified", "additions": 1, "deletions": 0, "patch": "@@" }]);
    worker.report(&given, muster_protocol::task::ReportedStatus::Completed, json!({ "result": "", "changes": change })).await?;
    let failed = async || Ok(server.log().contains("cannot be read or noted").then_some(()));
    wait_for("a turn in vain", Duration::from_secs(20), failed).await?;
    ensure!(!receiver.taken("/unread").iter().any(is_end), "the end is told without what was changed");
    server.spoil("DROP TRIGGER spoil; UPDATE tasks SET changes = substr(changes, 3) WHERE changes LIKE 'no%'").await?;
    let heard = receiver.until("/unread", is_end).await?;
    let [.., file, _] = heard.as_slice() else { anyhow::bail!("{heard:?}") };
    ensure!(file["artifactUpdate"]["artifact"]["artifactId"] == "file:a.rs", "{heard:#?}");
    Ok(())
}

async fn a_receiver_is_left_alone_as_long_as_it_asks_for(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (_worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "alone").await?;
    receiver.reply("/alone", [Reply::With(429, "retry-after", "3".to_owned())]);
    begin(&caller, Some(json!({ "url": receiver.url("/alone") }))).await?;
    receiver.until("/alone", |event| told_state(event) == "TASK_STATE_SUBMITTED").await?;
    let tries = receiver.tries("/alone");
    ensure!(tries.len() == 2 && tries[1].at.duration_since(tries[0].at) >= Duration::from_secs(3), "{tries:#?}");
    Ok(())
}

async fn a_receiver_that_hangs_holds_up_neither_the_task_nor_other_webhooks(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "hangs").await?;
    // The first tries of eight webhooks hang until the receiver is gone.
    receiver.reply("/hangs", std::iter::repeat_n(Reply::Never, 100));
    let task = begin(&caller, Some(json!({ "url": receiver.url("/hangs") }))).await?;
    for n in 0..7 {
        let more = json!({ "taskId": task["id"], "id": format!("hangs-{n}"), "url": receiver.url("/hangs") });
        caller.call("CreateTaskPushNotificationConfig", more).await?;
    }
    let hang = wait_for("the receiver to hang", Duration::from_secs(30), async || Ok((receiver.tries("/hangs").len() >= 8).then_some(())));
    hang.await?;
    let other = Receiver::start()?;
    let good = json!({ "taskId": task["id"], "id": "good", "url": other.url("/good") });
    caller.call("CreateTaskPushNotificationConfig", good).await?;
    let ended = worker.run(&worker.take().await?, &["one"]).await?;
    ensure!(ended.state.is_terminal(), "{ended:?}");
    other.until("/good", is_end).await?;
    ensure!(receiver.taken("/hangs").is_empty(), "it took something");
    Ok(())
}

async fn a_thousand_webhooks_that_hang_delay_no_other(cx: &Cx) -> Result<()> {
    let (mut server, slow, good) = (with_settings(cx)?.launch().await?, Receiver::start()?, Receiver::start()?);
    slow.reply("/slow", std::iter::repeat_n(Reply::Never, 10_000));
    let (worker, caller) = machine(&server, Binding::Rpc, "thousand").await?;
    let mut tasks = Vec::new();
    for _ in 0..32 {
        tasks.push(begin(&caller, None).await?);
    }
    let set = async |task: &Value, n: usize| {
        let webhook = json!({ "taskId": task["id"], "id": format!("w{n}"), "url": slow.url("/slow") });
        caller.call("CreateTaskPushNotificationConfig", webhook).await
    };
    for task in &tasks {
        futures_util::future::try_join_all((0..32).map(|n| set(task, n))).await?;
    }
    let hang = wait_for("the receiver to hang", Duration::from_secs(30), async || Ok((!slow.tries("/slow").is_empty()).then_some(())));
    hang.await?;
    let task = begin(&caller, Some(json!({ "url": good.url("/good") }))).await?;
    caller.call("CancelTask", json!({ "id": task["id"] })).await?;
    good.until("/good", |event| told_state(event) == "TASK_STATE_CANCELED").await?;
    let under_way = slow.tries("/slow").len();
    ensure!(under_way < 200, "{under_way} requests were sent to a receiver that answers none");
    // The tasks go on as if there were no webhooks.
    let ended = worker.run(&worker.take().await?, &["one"]).await?;
    ensure!(ended.state.is_terminal(), "{ended:?}");
    // Nor does the end of the server wait for them.
    server.stop().await?;
    ensure!(!server.log().contains("did not end within"), "it waits for requests that nobody answers");
    Ok(())
}

async fn a_webhook_with_https_is_told_if_its_certificate_is_trusted(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let proxy = TlsProxy::start(cx.dir(), receiver.port(), "good").await?;
    let (variable, authority) = proxy.trust();
    let trusting = with_settings(cx)?.with_env(variable, authority).launch().await?;
    let config = cx.dir().join("server.toml").into_os_string();
    let strict = Server::new(cx.dir(), "strict")?.with_args(["--config".into(), config]).launch().await?;
    for (server, host, trusts) in [(&strict, "127.0.0.1", false), (&trusting, "127.0.0.1", true), (&trusting, "localhost", true)] {
        let caller = Caller::new(&Http::new(server), Binding::Rpc)?.at("monitor");
        let task = caller.say("x", json!({})).await?;
        let webhook = json!({ "taskId": task["id"], "url": format!("https://{host}:{}/{host}", proxy.port()) });
        caller.call("CreateTaskPushNotificationConfig", webhook).await?;
        if !trusts {
            let told = wait_for("the stranger to be refused", Duration::from_secs(30), async || {
                Ok(server.log().contains("invalid peer certificate: UnknownIssuer").then_some(()))
            });
            told.await?;
            ensure!(receiver.tries(&format!("/{host}")).is_empty(), "something was sent to a stranger");
            continue;
        }
        let told = receiver.until(&format!("/{host}"), |event| event["task"].is_object()).await?;
        ensure!(told[0]["task"]["id"] == task["id"], "{told:?}");
    }
    Ok(())
}

/// The event that says that a webhook of a task was given up.
async fn given_up(http: &Http, task: &Value) -> Result<Value> {
    let path = format!("/v1/events?subject=tasks/{}", text(task, "id")?);
    wait_for("a webhook to be given up", GIVEN_UP, async || {
        let page = http.get(&path).await?.ok()?;
        Ok(items(&page)?.iter().find(|event| event["type"] == "webhook.failed").map(|event| event["data"].clone()))
    })
    .await
}

async fn a_receiver_that_refuses_is_given_up_and_the_log_says_so(cx: &Cx) -> Result<()> {
    let (server, receiver) = (SERVER.get(cx).await?, Receiver::start()?);
    let (worker, caller) = machine(server, Binding::Rpc, "refuses").await?;
    receiver.reply("/gone", [Reply::Status(410)]);
    receiver.reply("/refuses", std::iter::repeat_n(Reply::Status(403), 100));
    let secret =
        json!({ "id": "own", "url": receiver.url("/gone?key=s3cret"), "authentication": { "scheme": "Bearer", "credentials": "s3cret" } });
    let task = begin(&caller, Some(secret)).await?;
    let told = given_up(&caller.http, &task).await?;
    ensure!(told["webhook"] == "own" && told["tries"] == 1 && text(&told, "problem")?.contains("410"), "{told}");
    ensure!(told["origin"] == receiver.url(""), "{told}");
    ensure!(!server.log().contains("s3cret"), "the log tells secrets");
    let task = begin(&caller, Some(json!({ "url": receiver.url("/refuses") }))).await?;
    let told = given_up(&caller.http, &task).await?;
    ensure!(told["tries"] == 5 && text(&told, "problem")?.contains("403"), "{told}");
    worker.run(&worker.take().await?, &["one"]).await?;
    worker.run(&worker.take().await?, &["one"]).await?;
    caller.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": receiver.url("/good") })).await?;
    receiver.until("/good", is_end).await?;
    ensure!(receiver.tries("/gone").len() == 1 && receiver.tries("/refuses").len() == 5, "what was given up is told again");
    Ok(())
}

async fn a_redirect_is_not_followed(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let (_worker, caller) = machine(SERVER.get(cx).await?, Binding::Rpc, "moved").await?;
    let to = |status| Reply::With(status, "location", receiver.url("/elsewhere"));
    receiver.reply("/moved", [to(307), to(302), to(308), to(303), to(301)]);
    let task = begin(&caller, Some(json!({ "url": receiver.url("/moved") }))).await?;
    let told = given_up(&caller.http, &task).await?;
    ensure!(text(&told, "problem")?.contains("301"), "{told}");
    ensure!(receiver.tries("/elsewhere").is_empty(), "it was followed");
    Ok(())
}

async fn addresses_that_are_not_public_are_refused(cx: &Cx) -> Result<()> {
    let caller = Caller::new(&PUBLIC_ONLY.http(cx).await?, Binding::Rpc)?;
    let task = caller.say("x", json!({})).await?;
    let hosts = [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "169.254.169.254",
        "100.64.0.1",
        "[fd00::1]",
        "[fe80::1]",
        "0.0.0.0",
        "[::]",
    ];
    for host in hosts {
        let config = json!({ "taskId": task["id"], "url": format!("http://{host}:8080/hook") });
        let refused = caller.fault("CreateTaskPushNotificationConfig", config).await?;
        ensure!(refused.reason == "INVALID_PARAMS" && refused.message.contains("no public address"), "{host}: {refused:?}");
    }
    caller.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": "https://hooks.invalid" })).await?;
    Ok(())
}

async fn a_name_of_this_machine_is_not_reached(cx: &Cx) -> Result<()> {
    let receiver = Receiver::start()?;
    let caller = Caller::new(&PUBLIC_ONLY.http(cx).await?, Binding::Rpc)?;
    let task = caller.say("x", json!({})).await?;
    let url = format!("http://localhost:{}/hook", receiver.port());
    caller.call("CreateTaskPushNotificationConfig", json!({ "taskId": task["id"], "url": url })).await?;
    let told = given_up(&caller.http, &task).await?;
    ensure!(text(&told, "problem")?.contains("not public"), "{told}");
    ensure!(receiver.tries("/hook").is_empty(), "it was reached");
    Ok(())
}
