//! What people are asked: once, with a deadline, and what becomes of the run meanwhile.

use super::*;

fn ask(session: &str) -> SessionEvent {
    event("permission.asked", json!({"sessionID": session, "id": format!("per_{session}"), "permission": "bash", "patterns": ["rm *"]}))
}

fn settled(actions: &[Action]) -> Vec<Settled> {
    let one = |action: &Action| match action {
        Action::Settle(settled) => Some((**settled).clone()),
        _ => None,
    };
    actions.iter().filter_map(one).collect()
}

#[test]
fn where_nobody_is_to_be_asked_permissions_are_refused_once_also_those_of_subagents() {
    let mut run = accepted();
    let child = event("session.created", json!({"sessionID": "ses_child", "info": {"id": "ses_child", "parentID": SESSION}}));
    let refused = settled(&feed(&mut run, &[child, ask("ses_child"), ask("ses_child"), ask(SESSION)]));
    assert_eq!(refused.len(), 2);
    assert!(refused.iter().all(|settled| settled.asked.directory == "/d" && settled.reply.reply == Some(Reply::Reject)));
    assert_eq!((refused[0].note.title.as_str(), refused[0].note.outcome.as_str()), ("bash: rm *", "rejected"));
    assert!(run.sessions().contains("ses_child"));
}

/// A run that asks people, and what it asks.
fn asking(limits: Limits) -> (Run, InteractionId) {
    let limits = Limits { answer: Duration::from_mins(1), ..limits };
    let mut run = Run::new(SESSION, "m", PathBuf::from("/d"), limits, 0);
    let Some(Action::Ask(asked)) = feed(&mut run, &[ask(SESSION), ask(SESSION)]).pop() else { panic!("nobody is asked") };
    let id = InteractionId(uuid::Uuid::from_u128(7));
    let told = told(&[run.opened(*asked, id, 1_000, Timestamp(61_000))], &EntryKind::Interaction);
    assert_eq!((&told[0]["outcome"], &told[0]["id"], &told[0]["directory"]), (&json!("open"), &json!(id), &json!("/d")));
    (run, id)
}

#[test]
fn the_answer_of_a_person_is_given_to_opencode_once() {
    let (mut run, id) = asking(Limits::default());
    let yes = ReplyInteraction { reply: Some(Reply::Once), ..ReplyInteraction::default() };
    let given = settled(&run.on_answer(id, yes.clone(), 2_000));
    assert_eq!((given.len(), given[0].asked.request.clone(), given[0].note.outcome.as_str()), (1, format!("per_{SESSION}"), "applied"));
    assert!(run.on_answer(id, yes, 2_001).is_empty());
    assert!(run.on_tick(90_000).iter().all(|action| !matches!(action, Action::Settle(_))));
}

#[test]
fn what_nobody_answers_is_refused_at_its_deadline_and_the_model_is_told() {
    let (mut run, id) = asking(Limits::default());
    assert!(settled(&run.on_tick(60_999)).is_empty());
    let refused = settled(&run.on_tick(61_000));
    assert_eq!((refused[0].note.outcome.as_str(), refused[0].note.id), ("expired", Some(id)));
    assert!(refused[0].reply.message.as_ref().is_some_and(|message| message.contains("in time")));
}

#[test]
fn limits_of_time_pause_while_people_are_asked() {
    let second = Duration::from_secs(1);
    let (mut run, id) = asking(Limits { wall: 10 * second, stall: 5 * second, ..Limits::default() });
    run.on_tick(50_000);
    assert_eq!(run.verdict(), None, "50 s of waiting are not the run's");
    run.on_answer(id, ReplyInteraction { reply: Some(Reply::Always), ..ReplyInteraction::default() }, 50_000);
    run.on_tick(54_000);
    assert_eq!(run.verdict(), None);
    run.on_tick(55_000);
    assert!(matches!(run.verdict(), Some(Verdict::Stop(failure)) if failure.code == "stall_limit"), "{:?}", run.verdict());
}

#[test]
fn a_run_that_opencode_ends_because_of_a_refusal_is_no_answer() {
    let mut run = accepted();
    let other = event("permission.asked", json!({"sessionID": SESSION, "id": "per_2", "permission": "edit", "patterns": ["x"]}));
    feed(&mut run, &[ask(SESSION), other, assistant("a", true, Some("tool-calls"), &Value::Null), own(Event::Idle)]);
    assert!(matches!(run.verdict(), Some(Verdict::Failed(failure)) if failure.code == "permission_refused"), "{:?}", run.verdict());
}

#[test]
fn what_opencode_gave_up_by_itself_is_void() {
    let (mut run, _) = asking(Limits::default());
    let gone = event("permission.replied", json!({"sessionID": SESSION, "requestID": format!("per_{SESSION}"), "reply": "reject"}));
    let settled_elsewhere = told(&feed(&mut run, &[gone]), &EntryKind::Interaction);
    assert_eq!(settled_elsewhere[0]["outcome"], "void");
    // The same where its event was lost, and OpenCode does not list it any more.
    let (mut lossy, _) = asking(Limits::default());
    assert!(lossy.on_waiting("/d", &[format!("per_{SESSION}")].into(), 2_000).is_empty());
    assert!(lossy.on_waiting("/elsewhere", &std::collections::HashSet::new(), 2_000).is_empty());
    let gone = told(&lossy.on_waiting("/d", &std::collections::HashSet::new(), 2_000), &EntryKind::Interaction);
    assert_eq!(gone[0]["outcome"], "void");
    assert!(run.on_tick(99_000).iter().all(|action| !matches!(action, Action::Settle(_))));
}
