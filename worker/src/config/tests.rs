use super::{Config, Flags, load};
use std::collections::BTreeMap;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::from([("HOME".to_owned(), "/home/u".to_owned())]);
    env.extend(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())));
    env
}

fn good(flags: &Flags, pairs: &[(&str, &str)]) -> Config {
    load(flags, &env(pairs)).unwrap()
}

#[test]
fn the_built_in_defaults_are_complete_and_valid() {
    let config = good(&Flags { state_dir: Some("/s".to_owned()), ..Flags::default() }, &[]);
    assert_eq!(config.server, "http://127.0.0.1:5001");
    assert_eq!(config.slots, 2);
    assert_eq!(config.limits.unfinished_steps, 5);
    assert!(config.token.is_none() && config.codebases.is_empty());
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "slots = 7\nname = \"from-file\"\nserver = \"http://f:1\"\n[limits]\nwall_s = 9\n").unwrap();
    let flags = Flags { config: Some(file), server: Some("http://flag:1".to_owned()), ..Flags::default() };
    let config = good(&flags, &[("MUSTER_SERVER", "http://env:1"), ("MUSTER_NAME", "from-env"), ("MUSTER_LIMITS_STALL_S", "11")]);
    assert_eq!((config.server.as_str(), config.name.as_str(), config.slots), ("http://flag:1", "from-env", 7));
    assert_eq!((config.limits.wall.as_secs(), config.limits.stall.as_secs()), (9, 11));
}

#[test]
fn codebases_come_from_flags_and_from_the_file_with_settings() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "[codebases]\na = \"~/a\"\nb = { path = \"/b/./x\", parallel = 3 }\n").unwrap();
    let config = good(&Flags { config: Some(file), codebases: vec!["c=/c".to_owned()], ..Flags::default() }, &[]);
    let seen: Vec<_> = config.codebases.iter().map(|c| (c.name.as_str(), c.path.to_str().unwrap(), c.parallel)).collect();
    assert_eq!(seen, [("a", "/home/u/a", 1), ("b", "/b/x", 3), ("c", "/c", 1)]);
    for variable in ["MUSTER_CODEBASES", "MUSTER_CODEBASE"] {
        assert_eq!(good(&Flags::default(), &[(variable, "d=/d,e=/e")]).codebases.len(), 2, "{variable}");
    }
}

#[test]
fn all_problems_are_told_at_once_each_with_its_option() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("w.toml");
    std::fs::write(&file, "slot = 1\nslots = \"many\"\n[limits]\nwall = 1\n").unwrap();
    let flags = Flags { config: Some(file), server: Some("ftp://x".to_owned()), codebases: vec!["oops".to_owned()], ..Flags::default() };
    let problems = load(&flags, &env(&[("MUSTER_ISOLATED", "perhaps"), ("MUSTER_LOG_FORMAT", "xml")])).unwrap_err();
    for start in [
        "slot: there is no such option",
        "limits.wall: there is no such option",
        "slots: ",
        "isolated: `perhaps`",
        "server: ",
        "codebases: `oops`",
        "log_format: `xml`",
    ] {
        assert_eq!(problems.iter().filter(|p| p.starts_with(start)).count(), 1, "{start} in {problems:#?}");
    }
}

#[test]
fn a_token_is_never_printed() {
    let config = good(&Flags::default(), &[("MUSTER_TOKEN", "very-secret")]);
    assert!(!format!("{config:?}").contains("very-secret"));
}

#[test]
fn opencode_configuration_must_be_a_json_object() {
    let config = good(&Flags::default(), &[("MUSTER_OPENCODE_CONFIG", r#"{"model":"a/b"}"#)]);
    assert_eq!(config.opencode_config.unwrap()["model"], "a/b");
    assert!(load(&Flags::default(), &env(&[("MUSTER_OPENCODE_CONFIG", "[1]")])).is_err());
}
