//! The benchmark works: a tiny run of what is cheap makes a valid result. How fast it was does not matter here.

use serde_json::Value;
use std::process::Command;

#[test]
fn a_tiny_run_measures_without_an_error_and_keeps_its_results() {
    let dir = tempfile::tempdir().unwrap();
    let saved = dir.path().join("run.json");
    let output = Command::new(env!("CARGO_BIN_EXE_muster-bench"))
        .arg("--dir")
        .arg(dir.path())
        .arg("--save")
        .arg(&saved)
        .args([
            "--only",
            "raw,creates,lives,registrations,list,viewer,sends,subscribers,tasks,events,catchup,coordination,idlenet",
            "--rounds",
            "1",
            "--seconds",
            "0.2",
            "--scale",
            "0.01",
        ])
        .output()
        .unwrap();
    let (said, complaints) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaints}");
    let run: Value = serde_json::from_str(&std::fs::read_to_string(&saved).unwrap()).unwrap();
    for row in [
        "raw.http",
        "creates.rate",
        "lives.rate",
        "registrations.new",
        "list.p50",
        "viewer.p99",
        "sends.rate",
        "subscribers.p99",
        "tasks.p50",
        "events.p99",
        "catchup.rate",
        "coordination.p50",
    ] {
        let columns = run["readings"][row].as_object().unwrap_or_else(|| panic!("no {row} in {run}"));
        for (column, reading) in columns {
            assert!(reading["value"].as_f64().is_some_and(|value| value > 0.0), "{row}, {column}: {reading}");
        }
    }
    assert!(said.contains("| durable creates at 64 clients |"), "{said}");
}
