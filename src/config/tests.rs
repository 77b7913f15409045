use super::*;
use rstest::rstest;

fn around(env: &[(&str, &str)]) -> Surroundings {
    Surroundings {
        env: env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        host: "build-1.example.com".to_owned(),
        user_data_dir: Some(PathBuf::from("/home/u/.local/share")),
    }
}

fn load(file: &str, env: &[(&str, &str)], args: ServeArgs) -> Result<Config, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("muster.toml");
    std::fs::write(&path, file).unwrap();
    let args = ServeArgs { config: Some(path.clone()), ..args };
    let shorten = |problem: String| problem.replace(&path.display().to_string(), "FILE");
    Config::load(&args, &around(env)).map_err(|ConfigError(problems)| problems.into_iter().map(shorten).collect())
}

#[test]
fn the_embedded_file_is_a_usable_configuration_with_the_documented_defaults() {
    let config = Config::load(&ServeArgs::default(), &around(&[])).unwrap();
    assert_eq!(config.name, "build-1");
    assert_eq!(config.data_dir, Path::new("/home/u/.local/share/muster/servers/default"));
    assert_eq!(config.listen.addresses, ["127.0.0.1:5001".parse().unwrap(), "[::1]:5001".parse().unwrap()]);
    assert!(config.listen.is_default && config.listen.beyond_loopback().next().is_none());
    assert_eq!(config.database.url(), "sqlite:///home/u/.local/share/muster/servers/default/muster.db");
    assert_eq!((config.leases.lease, config.leases.wait), (Duration::from_secs(45), Duration::from_secs(15)));
    assert_eq!(config.leases.plain_lease, Duration::from_mins(15));
    assert_eq!(config.limits.max_body, 16 << 20);
    let names: Vec<_> = config.agents.iter().map(|agent| agent.name.as_str()).collect();
    assert_eq!(names, ["data-processing", "analytics"]);
    assert_eq!(config.agents[0].capability.as_deref(), Some("opencode"));
}

#[test]
fn flags_win_over_environment_over_file_over_default() {
    let file = "port = 1001\nname = \"from-file\"\n[limits]\nmax_body = \"1 MiB\"\n[log]\nformat = \"json\"";
    let env = [("MUSTER_PORT", "1002"), ("MUSTER_NAME", "from-env"), ("MUSTER_LOG", "debug"), ("MUSTER_LIMITS_MAX_REQUESTS", "7")];
    let config = load(file, &env, ServeArgs { port: Some(1003), ..ServeArgs::default() }).unwrap();
    assert_eq!(config.listen.addresses[0].port(), 1003);
    assert_eq!(config.name, "from-env");
    assert_eq!((config.limits.max_body, config.limits.max_requests), (1 << 20, 7));
    assert_eq!((config.log.format, config.log.filter.as_str()), (LogFormat::Json, "debug"));
    assert_eq!(config.data_dir, Path::new("/home/u/.local/share/muster/servers/from-env"));
}

#[test]
fn every_option_has_an_environment_variable() {
    let env = [
        ("MUSTER_LISTEN", "127.0.0.1:1, [::1]:2"),
        ("MUSTER_DATA_DIR", "/d"),
        ("MUSTER_PUBLIC_URL", "https://m.example.com"),
        ("MUSTER_INSECURE", "true"),
        ("MUSTER_DATABASE_URL", "postgres://u:p@h/db"),
        ("MUSTER_LOG_HTTP", "true"),
        ("MUSTER_LEASES_PLAIN_LEASE", "20m"),
        ("MUSTER_AGENTS", r#"[{name="solo",specialty="all"}]"#),
    ];
    let config = Config::load(&ServeArgs::default(), &around(&env)).unwrap();
    assert_eq!(config.listen.addresses, ["127.0.0.1:1".parse().unwrap(), "[::1]:2".parse().unwrap()]);
    assert!(!config.listen.is_default && config.insecure && config.log.http);
    assert_eq!((config.database.file(), config.database.url().as_str()), (None, "postgres://u:p@h/db"));
    assert_eq!(config.leases.plain_lease, Duration::from_mins(20));
    assert_eq!(config.agents[0].name, "solo");
    assert_eq!(config.data_dir, Path::new("/d"));
}

#[test]
fn all_problems_are_told_at_once_and_each_names_its_source() {
    let file = r#"
        prot = 1
        listen = ["127.0.0.1"]
        [leases]
        wait = "20s"
        lease_ms = 5
        [limits]
        max_requests = "many"
        [[agents]]
        name = "coordinator"
        speciality = "all"
    "#;
    let env = [("MUSTER_PORT", "high"), ("MUSTER_LOG_FORMAT", "xml")];
    let problems = load(file, &env, ServeArgs { public_url: Some("muster".to_owned()), ..ServeArgs::default() }).unwrap_err();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    unknown key `agents[0].speciality` in FILE; known here: name, specialty, instructions, capability, model
    unknown key `leases.lease_ms` in FILE; known here: lease, lost_after, offline_after, plain_lease, reservation, wait
    unknown key `prot` in FILE; known here: a2a, agents, coordination, data_dir, database, insecure, leases, limits, listen, log, name, network, port, public_url
    `limits.max_requests` in FILE is string "many", but must be a whole number from 0 on
    `port` in the environment variable MUSTER_PORT is string "high", but must be a number from 0 to 65535
    `listen` in FILE: `127.0.0.1` has no port; write 127.0.0.1:5001
    `public_url` in the option --public-url: must be an http or https address without user and password, such as https://muster.example.com
    `leases.wait` in FILE: 20s is more than a third of leases.lease (45s)
    `agents[0].name` in FILE: `coordinator` is taken; choose another
    `log.format` in the environment variable MUSTER_LOG_FORMAT: `xml` is unknown; use human or json
    "#);
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_place() {
    let problems = load("port = = 1", &[], ServeArgs::default()).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("FILE is not TOML: ") && problems[0].contains("line 1"), "{}", problems[0]);
}

#[test]
fn a_missing_file_is_one_clear_line() {
    let args = ServeArgs { config: Some(PathBuf::from("/no/such/file.toml")), ..ServeArgs::default() };
    let ConfigError(problems) = Config::load(&args, &around(&[])).unwrap_err();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].contains("/no/such/file.toml") && problems[0].contains("--config"), "{}", problems[0]);
}

#[rstest]
#[case("mysql://u:hunter2@h/db", "mysql:// is not supported")]
#[case("postgres://u:hunter2@h", "names no database")]
#[case("u:hunter2@h/db", "")]
#[case("hunter2", "must be postgres://")]
#[case("sqlite::memory:", "names no file")]
fn a_wrong_database_address_is_told_without_its_password(#[case] url: &str, #[case] expected: &str) {
    let args = ServeArgs { database_url: Some(url.to_owned()), ..ServeArgs::default() };
    let ConfigError(problems) = Config::load(&args, &around(&[])).unwrap_err();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].starts_with("`database.url` in the option --database-url: ") && problems[0].contains(expected), "{}", problems[0]);
    assert!(!problems[0].contains("hunter2"));
}

#[test]
fn the_password_of_the_database_is_never_printed() {
    let config = DatabaseConfig::postgres("postgres://user:hunter2@db.example.com:5432/muster");
    assert_eq!(config.to_string(), "PostgreSQL, db.example.com/muster");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn a_file_with_special_characters_survives_as_an_address() {
    assert_eq!(DatabaseConfig::sqlite("/a b/100%?#.db".into()).url(), "sqlite:///a%20b/100%25%3F%23.db");
}
