use super::{MOST_PARTS, Part, Plan, Split, Wrong, asked, may_name, split};
use muster_protocol::time::Timestamp;
use proptest::prelude::*;
use serde_json::{Value, json};

/// Agents by their names; `b` is another name of `bob`.
fn known(name: &str) -> Option<String> {
    match name {
        "b" => Some("bob".to_owned()),
        "alice" | "bob" | "Worker-A-Server-B" => Some(name.to_owned()),
        _ => None,
    }
}

fn of(text: &str) -> Result<Split, Wrong> {
    split(text, Vec::new(), known)
}

fn named(split: &Split) -> Vec<(&str, &str)> {
    split.named.iter().map(|(name, prompt)| (name.as_str(), prompt.as_str())).collect()
}

fn unknown(names: &[&str]) -> Wrong {
    Wrong::Unknown(names.iter().map(|name| (*name).to_owned()).collect())
}

#[test]
fn a_text_that_names_nobody_is_for_everybody() {
    let all = of("Coordinate  distributed analytics task\n").unwrap();
    assert_eq!((all.intro.as_str(), named(&all)), ("distributed analytics task", vec![]));
    for prose in [
        "Note: count this",
        "at 12:30 see http://a.b:80/c",
        "first: a\nsecond: b",
        "- Title: x\n- Body: y",
        "1: one\n2: two",
        "@types/node",
    ] {
        let all = of(prose).unwrap();
        assert_eq!((all.intro.as_str(), named(&all)), (prose, vec![]));
    }
    assert_eq!((asked("coordinate"), asked("coordinates all"), asked("COORDINATE\nx")), ("", "coordinates all", "x"));
}

#[test]
fn lines_give_agents_their_own_parts_after_a_common_introduction() {
    let text = "coordinate the release\nBe brief.\n\nalice: write the notes\n  with links\n- b: build it\n@Worker-A-Server-B count the bugs\n  * alice: then rest";
    let plan = of(text).unwrap();
    assert_eq!(plan.intro, "the release\nBe brief.");
    let wanted =
        [("alice", "write the notes\n  with links"), ("bob", "build it"), ("Worker-A-Server-B", "count the bugs"), ("alice", "then rest")];
    assert_eq!(named(&plan), wanted);
    let first = of("coordinate alice: one\n@bob, two\n@alice: three\nbob:\n!write a.txt x").unwrap();
    assert_eq!(named(&first), [("alice", "one"), ("bob", "two"), ("alice", "three"), ("bob", "!write a.txt x")]);
}

#[test]
fn a_name_that_nobody_has_is_told() {
    assert_eq!(of("alice: one\ncarol: two\n@dave three"), Err(unknown(&["carol", "dave"])));
    // Nobody else is named: it looks like a name, or is marked as one.
    assert_eq!(of("Worker-Z-Server-A: count"), Err(unknown(&["Worker-Z-Server-A"])));
    assert_eq!(of("please\n@carol do it"), Err(unknown(&["carol"])));
    // What is indented belongs to the part before it.
    assert_eq!(named(&of("alice: one\n  Format: json").unwrap()), [("alice", "one\n  Format: json")]);
}

#[test]
fn data_says_it_exactly() {
    let plan = json!({ "tasks": [{ "agent": "alice", "prompt": "bob: is a name here" }, { "agent": "b", "prompt": "two" }] });
    let both = split("coordinate carol: hello", vec![json!([1, 2]), plan.clone()], known).unwrap();
    assert_eq!((both.intro.as_str(), both.data.as_slice()), ("carol: hello", [json!([1, 2])].as_slice()));
    assert_eq!(named(&both), [("alice", "bob: is a name here"), ("bob", "two")]);
    assert!(may_name("x", std::slice::from_ref(&plan)) && may_name("x\nalice: y", &[]) && !may_name("coordinate it", &[json!([1])]));
    // Tasks that name no agents are data like any other.
    let data = json!({ "tasks": [{ "title": "t" }] });
    assert_eq!(
        split("count them", vec![data.clone()], known).unwrap(),
        Split { intro: "count them".into(), data: vec![data], named: vec![] }
    );
    let refused = |tasks: Value| split("x", vec![json!({ "tasks": tasks })], known).unwrap_err();
    assert_eq!(refused(json!([{ "agent": "carol", "prompt": "x" }])), unknown(&["carol"]));
    assert_eq!(refused(json!([{ "agent": 7 }])), Wrong::Said("tasks[0].agent must be a name".into()));
    assert_eq!(refused(json!([{ "agent": "alice", "prompt": 7 }])), Wrong::Said("tasks[0].prompt must be a text".into()));
    assert!(matches!(split("x", vec![plan.clone(), plan], known), Err(Wrong::Said(_))));
}

#[test]
fn what_is_no_work_or_too_much_is_refused() {
    let why = |result: Result<Split, Wrong>| match result {
        Err(Wrong::Said(why)) => why,
        other => format!("{other:?}"),
    };
    assert_eq!(why(of("coordinate")), "must say what is to be done");
    assert_eq!(why(of("alice:\nbob: two")), "gives alice nothing to do");
    assert!(split("alice:", vec![json!(1)], known).is_ok(), "data is something to do");
    let many = "alice: x\n".repeat(MOST_PARTS + 1);
    assert_eq!(why(of(&many)), "gives out 65 parts; 64 are the most");
    assert!(why(of(&"x".repeat(200_000))).contains("MiB"));
    assert!(of(&format!("{}\nalice: y", "x".repeat(200_000))).is_ok());
}

#[test]
fn a_prompt_is_the_introduction_and_the_part() {
    let part = |prompt: &str| Part { agent: "a".into(), server: "s".into(), prompt: prompt.into() };
    let plan = Plan {
        intro: "all".into(),
        data: vec![],
        model: None,
        mode: None,
        deadline: Timestamp(5),
        parts: vec![part("one"), part("")],
        left_out: 0,
    };
    assert_eq!(plan.parts.iter().map(|part| plan.prompt(part)).collect::<Vec<_>>(), ["all\n\none", "all"]);
    assert_eq!(serde_json::from_value::<Plan>(json!(plan)).unwrap(), plan);
}

proptest! {
    #[test]
    fn every_word_is_given_to_somebody_and_only_agents_get_some(lines in proptest::collection::vec("(- |@)?(alice|bob|carol|note|x-1)?[:, ]{0,2}[a-z]{0,5}", 0..12)) {
        let text = lines.join("\n");
        if let Ok(split) = split(&text, vec![], known) {
            prop_assert!(split.named.iter().all(|(name, _)| known(name).is_some()));
            let told: usize = split.named.iter().map(|(_, prompt)| prompt.split_whitespace().count()).sum();
            let names = split.named.len();
            let words = |text: &str| text.replace([',', ':'], " ").split_whitespace().filter(|word| *word != "-").count();
            let given: usize = words(&split.intro) + split.named.iter().map(|(_, prompt)| words(prompt)).sum::<usize>();
            prop_assert!(told <= text.split_whitespace().count());
            prop_assert_eq!(given + names, words(asked(&text)));
        }
    }

    #[test]
    fn nothing_that_is_said_panics(text in "\\PC{0,200}", data in proptest::collection::vec("\\PC{0,9}", 0..3)) {
        let data: Vec<Value> = data.into_iter().map(|text| json!({ "tasks": [{ "agent": text }] })).collect();
        let _ = (may_name(&text, &data), split(&text, data, known));
    }
}
