//! Webhooks in the store: each has its place, is replaced as a whole, and ends once.

use super::bench::{Bench, on_both};
use anyhow::{Context as _, Result, ensure};
use muster::store::events::EventFilter;
use muster::store::upkeep::Forget;
use muster::store::webhooks::{DeleteWebhook, MOST_WEBHOOKS, NoteWebhook, OpenWebhook, PutWebhook, Webhook, WebhookEnd, WebhookKey};
use muster_protocol::a2a::TaskPushNotificationConfig;
use muster_protocol::event::kind;
use muster_protocol::ids::TaskId;
use muster_protocol::time::Timestamp;

on_both! {
    a_webhook_is_open_until_all_was_told,
    a_webhook_that_is_set_again_is_another_one,
    a_task_has_no_more_webhooks_than_it_may,
    what_was_given_up_is_in_the_event_log,
    open_webhooks_are_read_page_by_page,
    those_that_ended_are_forgotten_after_a_day,
    who_sends_hears_of_every_change,
}

const URL: &str = "https://hooks.invalid/a?key=secret";

async fn task(bench: &Bench) -> Result<TaskId> {
    Ok(bench.submit(bench.task("tell")).await?.id)
}

async fn put(bench: &Bench, task: TaskId, id: &str, begins_at: Option<u64>) -> Result<bool> {
    let config = TaskPushNotificationConfig { id: id.into(), task_id: task.to_string(), url: URL.into(), ..Default::default() };
    let (revision, now) = (bench.uuid(), bench.now());
    Ok(bench.store.write(PutWebhook { task, config, version: "1.0", revision, begins_at, now }).await?)
}

async fn open(bench: &Bench, task: TaskId) -> Result<Vec<OpenWebhook>> {
    Ok(bench.store.open_webhooks_of(task).await?)
}

async fn only(bench: &Bench, task: TaskId) -> Result<Webhook> {
    let open = open(bench, task).await?;
    ensure!(open.len() == 1, "{open:?}");
    bench.store.open_webhook(&open[0].key).await?.context("it is not open")
}

fn note(key: &WebhookKey, now: Timestamp) -> NoteWebhook {
    NoteWebhook { key: key.clone(), told: None, tried: None, failures: 0, not_before: None, end: None, now }
}

async fn a_webhook_is_open_until_all_was_told(bench: &Bench) -> Result<()> {
    let task = task(bench).await?;
    ensure!(put(bench, task, "a", None).await?, "it is not kept");
    let webhook = only(bench, task).await?;
    ensure!(webhook.told.is_none() && webhook.begins_at == 0 && webhook.version == "1.0" && webhook.config.url == URL, "{webhook:?}");
    let later = Timestamp(bench.now().0 + 5_000);
    let failed = NoteWebhook { tried: Some(0), failures: 2, not_before: Some(later), ..note(&webhook.key, bench.now()) };
    ensure!(bench.store.write(failed).await?, "it is gone");
    let again = only(bench, task).await?;
    ensure!(again.told.is_none() && again.tried == Some(0) && again.failures == 2, "{again:?}");
    ensure!(open(bench, task).await?[0].not_before == Some(later), "the pause is lost");
    ensure!(bench.store.write(NoteWebhook { told: Some(0), ..note(&webhook.key, bench.now()) }).await?, "it is gone");
    let told = open(bench, task).await?;
    ensure!(told[0].not_before.is_none() && !told[0].has_news, "{told:?}");
    ensure!(
        bench.store.write(NoteWebhook { told: Some(0), end: Some(WebhookEnd::Told), ..note(&webhook.key, bench.now()) }).await?,
        "it is gone"
    );
    ensure!(open(bench, task).await?.is_empty() && bench.store.open_webhook(&webhook.key).await?.is_none(), "it is open");
    ensure!(!bench.store.write(note(&webhook.key, bench.now())).await?, "it ends twice");
    ensure!(bench.store.webhook_config(task, "a").await?.is_some(), "its end made it unknown");
    Ok(())
}

async fn a_webhook_that_is_set_again_is_another_one(bench: &Bench) -> Result<()> {
    let task = task(bench).await?;
    put(bench, task, "a", None).await?;
    let first = only(bench, task).await?;
    bench.store.write(NoteWebhook { told: Some(0), end: Some(WebhookEnd::Told), ..note(&first.key, bench.now()) }).await?;
    // A place that the task has not reached is where it is.
    put(bench, task, "a", Some(7)).await?;
    let second = only(bench, task).await?;
    ensure!(second.key.revision != first.key.revision && second.told.is_none() && second.begins_at == 0, "{second:?}");
    ensure!(!bench.store.write(NoteWebhook { told: Some(5), ..note(&first.key, bench.now()) }).await?, "the former one has a say");
    ensure!(only(bench, task).await?.told.is_none(), "the former one has a say");
    for _ in 0..2 {
        bench.store.write(DeleteWebhook { task, id: "a".into() }).await?;
    }
    ensure!(!bench.store.write(note(&second.key, bench.now())).await?, "what was deleted is noted");
    ensure!(open(bench, task).await?.is_empty() && bench.store.webhook_config(task, "a").await?.is_none(), "it is there");
    Ok(())
}

async fn a_task_has_no_more_webhooks_than_it_may(bench: &Bench) -> Result<()> {
    let (first, other) = (task(bench).await?, task(bench).await?);
    for n in 0..MOST_WEBHOOKS {
        ensure!(put(bench, first, &n.to_string(), None).await?, "the {n}th is refused");
    }
    ensure!(!put(bench, first, "more", None).await?, "one more is kept");
    ensure!(put(bench, first, "3", None).await? && put(bench, other, "more", None).await?, "a change, or another task's, is refused");
    ensure!(!put(bench, TaskId(bench.uuid()), "a", None).await?, "one of no task is kept");
    Ok(())
}

async fn what_was_given_up_is_in_the_event_log(bench: &Bench) -> Result<()> {
    let task = task(bench).await?;
    put(bench, task, "a", None).await?;
    let key = only(bench, task).await?.key;
    let end = WebhookEnd::GivenUp { origin: "https://hooks.invalid".into(), problem: "it answered 410 Gone".into() };
    for is_first in [true, false] {
        let noted = bench.store.write(NoteWebhook { failures: 1, end: Some(end.clone()), ..note(&key, bench.now()) }).await?;
        ensure!(noted == is_first, "it is given up {noted}");
    }
    let filter = EventFilter { after: 0, kind: Some(kind::WEBHOOK_FAILED.into()), subject: None, origin: None, limit: 10 };
    let events = bench.store.events(&filter).await?;
    ensure!(events.len() == 1 && events[0].subject == format!("tasks/{task}"), "{events:?}");
    ensure!(events[0].data["problem"] == "it answered 410 Gone" && events[0].data["tries"] == 1, "{}", events[0].data);
    ensure!(!events[0].data.to_string().contains("secret"), "{}", events[0].data);
    ensure!(open(bench, task).await?.is_empty(), "it is open");
    Ok(())
}

async fn open_webhooks_are_read_page_by_page(bench: &Bench) -> Result<()> {
    let mut wanted = Vec::new();
    for _ in 0..5 {
        let task = task(bench).await?;
        for id in ["a", "b", "c"] {
            put(bench, task, id, None).await?;
            wanted.push((task, id.to_owned()));
        }
    }
    let mut ended = note(&open(bench, wanted[4].0).await?[0].key, bench.now());
    ended.end = Some(WebhookEnd::Told);
    let name = (ended.key.task, ended.key.id.clone());
    bench.store.write(ended).await?;
    wanted.retain(|other| *other != name);
    let (mut seen, mut after) = (Vec::new(), None);
    loop {
        let page = bench.store.open_webhooks(after.as_ref(), 4).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.key.clone());
        seen.extend(page.iter().map(|webhook| (webhook.key.task, webhook.key.id.clone())));
        ensure!(page.iter().all(|webhook| webhook.has_news && webhook.url == URL), "{page:?}");
    }
    ensure!(seen == wanted, "{seen:?}");
    Ok(())
}

async fn those_that_ended_are_forgotten_after_a_day(bench: &Bench) -> Result<()> {
    let task = task(bench).await?;
    put(bench, task, "ended", None).await?;
    let key = only(bench, task).await?.key;
    bench.store.write(NoteWebhook { end: Some(WebhookEnd::Told), ..note(&key, bench.now()) }).await?;
    put(bench, task, "open", None).await?;
    for (hours, is_there) in [(0, true), (23, true), (2, false)] {
        bench.pass(hours * 3_600);
        bench.store.write(Forget { now: bench.now() }).await?;
        ensure!(bench.store.webhook_config(task, "ended").await?.is_some() == is_there, "after {hours} more hours");
    }
    ensure!(open(bench, task).await?.len() == 1, "an open one is forgotten");
    Ok(())
}

async fn who_sends_hears_of_every_change(bench: &Bench) -> Result<()> {
    let watched = bench.store.hub().watched();
    let task = task(bench).await?;
    put(bench, task, "a", None).await?;
    let changes = watched.changes().await;
    ensure!(changes.webhooks.contains(&task) && changes.tasks.is_empty(), "{changes:?}");
    watched.watch(task);
    let worker = bench.worker("w", 1, &[]).await?;
    let given = bench.pull_one(&worker).await?;
    let changes = watched.changes().await;
    ensure!(given.task.id == task && changes.tasks.contains(&task), "{changes:?}");
    let news = open(bench, task).await?;
    ensure!(news[0].has_news, "{news:?}");
    bench.store.write(DeleteWebhook { task, id: "a".into() }).await?;
    ensure!(watched.changes().await.webhooks.contains(&task), "it does not hear of the end");
    Ok(())
}
