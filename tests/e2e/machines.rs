//! What other programs rely on: `--json` is JSON and nothing else, and exit codes are those of docs/exit-codes.md.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::harness::Sandbox;

const SPEC: &str = "-f webgui.yaml --local";

#[test]
fn json_is_one_document_or_one_object_a_line_and_nothing_else() {
    let sandbox = Sandbox::new();
    sandbox.spec("webgui.yaml");
    let one = "--var VERSION=1.0";
    let kinds = |lines: &[Value]| -> BTreeSet<String> {
        let kind = |line: &Value| line["type"].as_str().expect("a type").to_owned();
        lines.iter().map(kind).collect()
    };

    let plan = sandbox.run(&format!("plan {SPEC} {one} --out p --json")).code(0).json();
    assert_eq!((&plan["type"], &plan["applyable"]), (&"plan".into(), &true.into()));
    assert!(plan["notes"].to_string().contains("no rollback yet"), "{plan:#}");
    let applied = sandbox.run(&format!("apply {SPEC} {one} --auto-approve --json")).code(0);
    let lines = applied.json_lines();
    for kind in ["plan", "apply_start", "apply_complete", "transition_step", "run"] {
        assert!(kinds(&lines).contains(kind), "{kind} is missing\n{applied}");
    }
    assert_eq!(lines.last().expect("lines")["succeeded"], true);

    for (line, code) in [
        ("validate -f webgui.yaml --local --var VERSION=1.0", 0),
        ("plan -f webgui.yaml --local --var VERSION=1.1 --detailed-exitcode", 2),
        ("plan -f webgui.yaml --local --var VERSION=1.1 --destroy", 0),
        ("plan -f webgui.yaml --local --var VERSION=1.1 --format gitlab", 0),
        ("graph -f webgui.yaml --local --var VERSION=1.1", 0),
        ("show p", 0),
        ("drift --local", 0),
        ("status --local", 0),
        ("releases --local", 0),
        ("logs --local", 0),
        ("state list --local", 0),
        ("state show --local", 0),
        ("state history --local", 0),
        ("state diff --local", 0),
        ("state pull --local", 0),
        ("schema", 0),
        // Refusals too, each of another kind.
        ("validate -f absent.yaml", 1),
        ("validate -f webgui.yaml --local", 1),
        ("plan -f webgui.yaml --var VERSION=1.0", 1),
        ("apply p -f webgui.yaml --local --var VERSION=1.0", 1),
        ("show absent.plan", 1),
        ("state show 4711 --local", 1),
        ("logs --worker 9 --local", 1),
        ("local reset --folder absent", 1),
    ] {
        let said = sandbox.run(&format!("{line} --json")).code(code);
        // What began to run has told so before it was refused.
        let last = said.stdout.lines().last().unwrap_or_default();
        let document = if line.starts_with("apply") {
            serde_json::from_str(last).expect("JSON")
        } else {
            said.json()
        };
        if code == 1 {
            assert_eq!(document["type"], "diagnostic", "{said}");
            assert!(document["causes"][0].is_string() && !said.stderr.is_empty(), "{said}");
        }
    }
    for (line, last) in [
        ("apply -f webgui.yaml --local --var VERSION=1.1 --auto-approve", "run"),
        ("rollback --local --dry-run", "plan"),
        ("rollback --local --auto-approve", "run"),
        ("apply -f webgui.yaml --local --var VERSION=unknown --auto-approve", "diagnostic"),
        ("destroy --local --auto-approve", "run"),
    ] {
        let lines = sandbox.run(&format!("{line} --json")).json_lines();
        assert_eq!(lines.last().expect("lines")["type"], last, "{line}");
    }
}

#[test]
fn problems_of_a_spec_are_in_the_json_with_their_place() {
    let sandbox = Sandbox::new();
    sandbox.spec_with("webgui.yaml", |text| text.replace("count: 2", "count: 2\n  colour: red"));
    let said = sandbox.run(&format!("validate {SPEC} --var VERSION=1.0 --json")).code(1).json();
    let found = &said["diagnostics"][0];
    assert_eq!((&found["severity"], &found["file"]), (&"error".into(), &"webgui.yaml".into()));
    assert!(found["message"].to_string().contains("colour"), "{said:#}");
    assert!(found["line"].is_u64() && found["column"].is_u64(), "{said:#}");
}

/// One row of the table: its code, and from what it comes.
fn rows() -> Vec<(i32, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/exit-codes.md");
    let text = std::fs::read_to_string(path).expect("docs/exit-codes.md");
    let row = |line: &str| {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let code = cells.next()?.parse().ok()?;
        Some((code, cells.nth(1)?.to_owned()))
    };
    text.lines().filter_map(row).collect()
}

#[test]
fn every_exit_code_of_the_documentation_is_the_one_that_is_given() {
    let mut sandbox = Sandbox::new();
    let served = sandbox.serve("");
    sandbox.spec_for_served(|text| text);
    let rows = rows();
    let documented: Vec<i32> = rows.iter().map(|(code, _)| *code).collect();
    assert_eq!(documented, [0, 1, 2]);

    // 2: there are changes, or something drifted. The row names these two and nothing else.
    let (_, two) = &rows[2];
    assert_eq!(two, "`plan --detailed-exitcode`, `drift`");
    let plan = "plan -f webgui.yaml --var VERSION=1.0";
    sandbox.run(plan).code(0);
    sandbox.run(&format!("{plan} --detailed-exitcode")).code(2);
    sandbox.run("apply -f webgui.yaml --var VERSION=1.0 --auto-approve").code(0);
    sandbox.run(&format!("{plan} --detailed-exitcode")).code(0);
    sandbox.run("drift -f webgui.yaml").code(0);
    served.ask("DELETE", "/v2/tags/PROD", "");
    sandbox.run("drift -f webgui.yaml").code(2).says("PROD");
    sandbox.run("status -f webgui.yaml").code(0);
    sandbox.run(&format!("{plan} --detailed-exitcode")).code(2);
    sandbox.run("apply -f webgui.yaml --var VERSION=1.0 --auto-approve").code(0);
    sandbox.run("drift -f webgui.yaml").code(0);

    // 1: an error or a refusal, wrong usage included; 0 is for those who only ask for help.
    for line in
        ["", "nonsense", "plan --nonsense", "apply --parallelism 0", "state", "logs nonsense"]
    {
        sandbox.run(line).code(1).complains("--help");
    }
    for line in ["--help", "--version", "plan --help", "state list --help"] {
        sandbox.run(line).code(0);
    }
    sandbox.run("apply -f webgui.yaml --var VERSION=1.1").code(1).complains("--auto-approve");
    sandbox.run("apply -f webgui.yaml --var VERSION=unhealthy --auto-approve").code(1);
    sandbox.run("drift -f absent.yaml").code(1);
    sandbox.run(&format!("{plan} --detailed-exitcode --local --nonsense")).code(1);
}
