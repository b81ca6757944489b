//! The resource on a real API server: what is accepted, what is refused, and what the refusal says.
//! The same by day and by night.

use crate::common::{count, manifests, plane};
use lab::serve::demo;
use serde_json::{Value, json};

/// The resource of `examples/litware.yaml`.
fn litware() -> Value {
    let text = std::fs::read_to_string(manifests().join("examples/litware.yaml")).unwrap();
    let document = text.split("\n---\n").find(|d| d.contains("kind: PersistentChatFailover")).unwrap();
    let out =
        plane().kubectl(&["create", "--dry-run=client", "-o", "json", "-f", "-"], Some(document)).unwrap();
    let mut object: Value = serde_json::from_str(&out).unwrap();
    object["metadata"].as_object_mut().unwrap().remove("namespace");
    object
}

/// Offers an object to the API server without keeping it.
fn offer(object: &Value) -> Result<String, String> {
    let arguments = ["create", "--dry-run=server", "--validate=strict", "-o", "json", "-f", "-"];
    plane().kubectl(&arguments, Some(&object.to_string())).map_err(|e| e.stderr)
}

type Change = fn(&mut Value);

/// What is refused, and a part of what is said. The object without the change is accepted.
const REFUSED: &[(&str, Change, &str)] = &[
    (
        "an active data centre that is none",
        |o| o["spec"]["activeDataCenter"] = json!("denver"),
        "activeDataCenter must be the name of one of the dataCenters",
    ),
    (
        "two primary stores",
        |o| o["spec"]["dataCenters"][1]["store"] = json!("Primary"),
        "one data centre must have store: Primary and the other store: Backup",
    ),
    ("an unknown store", |o| o["spec"]["dataCenters"][1]["store"] = json!("Spare"), "Unsupported value"),
    (
        "the same SQL Server twice",
        |o| o["spec"]["dataCenters"][1]["sqlServer"]["host"] = json!("atl-sql-1.litwareinc.com"),
        "different SQL Server hosts",
    ),
    (
        "one data centre",
        |o| {
            o["spec"]["dataCenters"].as_array_mut().unwrap().pop();
        },
        "should have at least 2 items",
    ),
    (
        "three data centres",
        |o| {
            let mut d = o["spec"]["dataCenters"][1].clone();
            d["name"] = json!("denver");
            o["spec"]["dataCenters"].as_array_mut().unwrap().push(d);
        },
        "must have at most 2 items",
    ),
    ("one name twice", |o| o["spec"]["dataCenters"][1]["name"] = json!("atlanta"), "Duplicate value"),
    (
        "five active servers",
        |o| {
            let five: Vec<String> = (1..=5).map(|n| format!("sea-cs-{n}.litwareinc.com")).collect();
            o["spec"]["dataCenters"][1]["servers"] = json!(five);
            o["spec"]["dataCenters"][1]["activeServers"] = json!(five);
        },
        "must have at most 4 items",
    ),
    (
        "five servers and no choice",
        |o| {
            let five: Vec<String> = (1..=5).map(|n| format!("sea-cs-{n}.litwareinc.com")).collect();
            let d = &mut o["spec"]["dataCenters"][1];
            d["servers"] = json!(five);
            d.as_object_mut().unwrap().remove("activeServers");
        },
        "at most 4 servers can be active",
    ),
    (
        "an active server of a far data centre",
        |o| o["spec"]["dataCenters"][1]["activeServers"] = json!(["atl-cs-1.litwareinc.com"]),
        "an active server must be one of the servers of its data centre",
    ),
    (
        "a low-latency link to itself",
        |o| o["spec"]["dataCenters"][1]["lowLatencyTo"] = json!(["seattle"]),
        "lowLatencyTo must name the other data centre",
    ),
    (
        "a low-latency link to nowhere",
        |o| o["spec"]["dataCenters"][1]["lowLatencyTo"] = json!(["denver"]),
        "lowLatencyTo must name the other data centre",
    ),
    (
        "a mirror without its share",
        |o| {
            o["spec"]["dataCenters"][1].as_object_mut().unwrap().remove("mirrorFileShare");
        },
        "mirror needs mirrorFileShare",
    ),
    (
        "a mirror on the principal",
        |o| o["spec"]["dataCenters"][1]["mirror"]["host"] = json!("sea-sql-1.litwareinc.com"),
        "the mirror must be on another host than sqlServer",
    ),
    ("the compliance database", |o| o["spec"]["database"] = json!("mgccomp"), "mgccomp are never touched"),
    ("a system database", |o| o["spec"]["database"] = json!("MSDB"), "system databases"),
    (
        "Basic in clear",
        |o| o["spec"]["dataCenters"][1]["managementShell"]["authentication"] = json!("Basic"),
        "use port 5986 with TLS",
    ),
    (
        "no way to the files",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"] = json!({"path": r"E:\mgc-logs"}),
        "exactly one of volume and smb",
    ),
    (
        "two ways to the files",
        |o| {
            o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"]["smb"] =
                json!({"server": "x", "share": "y"})
        },
        "exactly one of volume and smb",
    ),
    ("an empty host", |o| o["spec"]["dataCenters"][0]["sqlServer"]["host"] = json!(""), "sqlServer.host"),
    (
        "a host with a space",
        |o| o["spec"]["dataCenters"][0]["sqlServer"]["host"] = json!("a b"),
        "sqlServer.host",
    ),
    (
        "a host with a line break",
        |o| o["spec"]["dataCenters"][0]["sqlServer"]["host"] = json!("a\nb"),
        "sqlServer.host",
    ),
    (
        "a host that ends with a line break",
        |o| o["spec"]["dataCenters"][0]["sqlServer"]["host"] = json!("a.b\n"),
        "sqlServer.host",
    ),
    (
        "a database with a quote",
        |o| o["spec"]["database"] = json!("mgc'; DROP DATABASE mgc; --"),
        "spec.database",
    ),
    ("a database with a bracket", |o| o["spec"]["database"] = json!("mgc]"), "spec.database"),
    ("a database with a line break", |o| o["spec"]["database"] = json!("mgc\n"), "spec.database"),
    (
        "an instance with a quote",
        |o| o["spec"]["dataCenters"][0]["sqlServer"]["instance"] = json!("A'B"),
        "instance",
    ),
    ("a port that is none", |o| o["spec"]["dataCenters"][0]["sqlServer"]["port"] = json!(70000), "port"),
    (
        "a folder that climbs",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"]["path"] = json!(r"E:\mgc\..\other"),
        "must not contain '..'",
    ),
    (
        "a share that climbs",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["backupShare"]["unc"] = json!(r"\\sea-fs-1\mgc\.."),
        "backupShare",
    ),
    (
        "a folder with a quote",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"]["path"] = json!(r"E:\mgc'logs"),
        "copyFolder",
    ),
    (
        "a folder with a line break",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"]["path"] = json!("E:\\mgc\nlogs"),
        "copyFolder",
    ),
    (
        "a mirror share that climbs",
        |o| o["spec"]["dataCenters"][0]["mirrorFileShare"] = json!(r"\\a\b\x..y"),
        "must not contain '..'",
    ),
    ("a pool with a quote", |o| o["spec"]["pool"] = json!("chat'.litwareinc.com"), "spec.pool"),
    ("a server with a backtick", |o| o["spec"]["dataCenters"][0]["servers"][0] = json!("a`b"), "servers"),
    (
        "a session configuration with a bracket",
        |o| o["spec"]["dataCenters"][0]["managementShell"]["configurationName"] = json!("a[b]"),
        "configurationName",
    ),
    (
        "a volume that is a path",
        |o| o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"]["volume"] = json!("../etc"),
        "volume",
    ),
    (
        "a Secret that is a path",
        |o| o["spec"]["dataCenters"][0]["sqlServer"]["credentialsSecretRef"]["name"] = json!("../x"),
        "credentialsSecretRef",
    ),
    ("a deadline that is none", |o| o["spec"]["policy"]["mirrorDeadline"] = json!("soon"), "mirrorDeadline"),
    (
        "a policy that is none",
        |o| o["spec"]["policy"]["whenActiveAnswers"] = json!("Hope"),
        "Unsupported value",
    ),
    (
        "a drain deadline that is none",
        |o| o["spec"]["policy"]["drainDeadline"] = json!("soon"),
        "drainDeadline",
    ),
    ("an utterance at no time", |o| o["spec"]["utteredAt"] = json!("yesterday"), "utteredAt"),
    (
        "an utterance on a day that is none",
        |o| o["spec"]["utteredAt"] = json!("2026-02-30T12:00:00Z"),
        "utteredAt",
    ),
    (
        "an utterance in a zone that is none",
        |o| o["spec"]["utteredAt"] = json!("2026-01-01T12:00:00+99:99"),
        "utteredAt",
    ),
    (
        "an utterance at the end of time",
        |o| o["spec"]["utteredAt"] = json!("9999-12-31T23:59:59-23:59"),
        "utteredAt",
    ),
    (
        "log shipping without its share",
        |o| {
            o["spec"]["dataCenters"][0]["logShipping"].as_object_mut().unwrap().remove("backupShare");
        },
        "backupShare",
    ),
    (
        "log shipping beside the data centres",
        |o| o["spec"]["logShipping"] = o["spec"]["dataCenters"][1]["logShipping"].clone(),
        "unknown field",
    ),
    (
        "a consent without a name",
        |o| o["spec"]["consent"] = json!({"transition": "ab", "situation": "cd", "by": ""}),
        "consent.by",
    ),
    (
        "a consent that is no digest",
        |o| o["spec"]["consent"] = json!({"transition": "x'y", "situation": "cd", "by": "Ann"}),
        "consent.transition",
    ),
    ("a long name", |o| o["metadata"]["name"] = json!("n".repeat(64)), "at most 63 characters"),
    ("an unknown field", |o| o["spec"]["activeDatacenter"] = json!("seattle"), "unknown field"),
];

/// What is accepted, each beside a rule that refuses its neighbour.
const ACCEPTED: &[(&str, Change)] = &[
    ("as it is", |_| {}),
    ("the other data centre active", |o| o["spec"]["activeDataCenter"] = json!("seattle")),
    ("the stores the other way round", |o| {
        o["spec"]["dataCenters"][0]["store"] = json!("Backup");
        o["spec"]["dataCenters"][1]["store"] = json!("Primary");
    }),
    ("five servers, four of them active", |o| {
        let five: Vec<String> = (1..=5).map(|n| format!("sea-cs-{n}.litwareinc.com")).collect();
        o["spec"]["dataCenters"][1]["servers"] = json!(five);
        o["spec"]["dataCenters"][1]["activeServers"] = json!(five[..4]);
    }),
    ("an active server over a low-latency link", |o| {
        o["spec"]["dataCenters"][1]["lowLatencyTo"] = json!(["atlanta"]);
        o["spec"]["dataCenters"][1]["activeServers"] = json!(["atl-cs-1.litwareinc.com"]);
    }),
    ("no mirror and no share", |o| {
        for d in o["spec"]["dataCenters"].as_array_mut().unwrap() {
            d.as_object_mut().unwrap().remove("mirror");
            d.as_object_mut().unwrap().remove("mirrorFileShare");
        }
    }),
    ("Basic over TLS", |o| {
        let m = &mut o["spec"]["dataCenters"][1]["managementShell"];
        m["authentication"] = json!("Basic");
        m["port"] = json!(5986);
    }),
    ("a share instead of a volume", |o| {
        o["spec"]["dataCenters"][1]["logShipping"]["copyFolder"] =
            json!({"path": r"E:\mgc-logs", "smb": {"server": "sea-fs-1", "share": "mgc-logs"}})
    }),
    ("a default instance", |o| {
        o["spec"]["dataCenters"][0]["sqlServer"].as_object_mut().unwrap().remove("instance");
    }),
    ("another database", |o| o["spec"]["database"] = json!("mgc_2015")),
    ("a hidden share with a folder", |o| {
        o["spec"]["dataCenters"][1]["logShipping"]["backupShare"]["unc"] =
            json!(r"\\sea-fs-1\logs$\mgc logs\2026.1")
    }),
    ("a consent", |o| {
        o["spec"]["consent"] =
            json!({"transition": "e8c0ab2524a03604", "situation": "0e7696b1d6d04b22", "by": "Ann"})
    }),
    ("log shipping in one direction", |o| {
        o["spec"]["dataCenters"][0].as_object_mut().unwrap().remove("logShipping");
    }),
    ("log shipping in no direction", |o| {
        for d in o["spec"]["dataCenters"].as_array_mut().unwrap() {
            d.as_object_mut().unwrap().remove("logShipping");
        }
    }),
    ("an utterance", |o| o["spec"]["utteredAt"] = json!("2026-01-01T12:00:00Z")),
    ("an utterance in a zone", |o| o["spec"]["utteredAt"] = json!("2026-01-01T12:00:00.5+05:30")),
    ("a switch", |o| o["spec"]["policy"] = json!({"whenActiveAnswers": "Switch", "drainDeadline": "5m"})),
    ("a name of 63 characters", |o| o["metadata"]["name"] = json!("n".repeat(63))),
];

#[test]
fn every_rule_refuses_its_bad_object_with_a_message_and_accepts_the_good_one() {
    count("rules");
    let base = litware();
    for (what, change) in ACCEPTED {
        let mut object = base.clone();
        change(&mut object);
        if let Err(e) = offer(&object) {
            panic!("{what} is refused: {e}");
        }
    }
    for (what, change, said) in REFUSED {
        let mut object = base.clone();
        change(&mut object);
        match offer(&object) {
            Ok(_) => panic!("{what} is accepted"),
            Err(e) => assert!(e.contains(said), "{what} is refused without {said:?}: {e}"),
        }
    }
}

#[test]
fn defaults_appear_and_a_new_object_does_not_look_finished() {
    count("defaults");
    let text = std::fs::read_to_string(manifests().join("examples/minimal.yaml")).unwrap();
    let document = text.split("\n---\n").find(|d| d.contains("kind: PersistentChatFailover")).unwrap();
    let out =
        plane().kubectl(&["create", "--dry-run=server", "-o", "json", "-f", "-"], Some(document)).unwrap();
    let object: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(object["status"]["observedGeneration"], -1);
    assert_eq!(object["spec"]["database"], "mgc");
    assert_eq!(object["spec"]["suspend"], false);
    assert_eq!(object["spec"]["policy"], json!({"whenActiveAnswers": "Refuse", "consent": "WhenNeeded"}));
    assert_eq!(object["spec"]["dataCenters"][0]["sqlServer"]["port"], 1433);
    assert_eq!(object["spec"]["dataCenters"][0]["managementShell"]["port"], 5986);
}

/// A namespace with `litware` in it whose status says that a transition to Seattle runs.
fn running(test: &str, past_the_point_of_no_return: bool) -> String {
    count(test);
    let namespace = test.replace('_', "-");
    demo::prepare_namespace(plane(), manifests(), &namespace).unwrap();
    plane().kubectl(&["-n", &namespace, "create", "-f", "-"], Some(&litware().to_string())).unwrap();
    let status = json!({"status": {"transition": {
        "id": "e8c0ab2524a03604", "procedure": "Failover", "from": "atlanta", "to": "seattle", "started": "2026-11-24T00:00:00Z",
        "outcome": "Running", "pointOfNoReturn": past_the_point_of_no_return, "steps": []}}});
    patch(&namespace, &json!({"spec": {"activeDataCenter": "seattle"}})).unwrap();
    patch_status(&namespace, &status).unwrap();
    namespace
}

fn patch(namespace: &str, patch: &Value) -> Result<String, String> {
    patched(namespace, &[], patch)
}

fn patch_status(namespace: &str, patch: &Value) -> Result<String, String> {
    patched(namespace, &["--subresource=status"], patch)
}

fn patched(namespace: &str, more: &[&str], patch: &Value) -> Result<String, String> {
    let text = patch.to_string();
    let usual = ["-n", namespace, "patch", "pcf/litware", "--type=merge", "-p", &text];
    plane().kubectl(&[&usual, more].concat(), None).map_err(|e| e.stderr)
}

#[test]
fn while_a_transition_runs_the_pool_is_frozen_and_credentials_can_be_mended() {
    let ns = running("frozen", false);
    let mut centers = litware()["spec"]["dataCenters"].clone();
    for (change, said) in [
        (json!({"spec": {"pool": "other.litwareinc.com"}}), "pool and database are frozen"),
        (json!({"spec": {"database": "other"}}), "pool and database are frozen"),
    ] {
        let e = patch(&ns, &change).unwrap_err();
        assert!(e.contains(said), "{e}");
    }
    let mut other = centers.clone();
    other[1]["sqlServer"]["host"] = json!("sea-sql-9.litwareinc.com");
    let e = patch(&ns, &json!({"spec": {"dataCenters": other}})).unwrap_err();
    assert!(e.contains("names, stores and SQL hosts of the data centres are frozen"), "{e}");
    centers[1]["sqlServer"]["credentialsSecretRef"]["name"] = json!("mended");
    centers[1]["sqlServer"]["port"] = json!(14330);
    patch(&ns, &json!({"spec": {"dataCenters": centers}})).unwrap();
    // Before the point of no return the way back is accepted by the schema; what it means is the operator's to say.
    patch(&ns, &json!({"spec": {"activeDataCenter": "atlanta"}})).unwrap();
}

#[test]
fn what_was_set_back_just_before_the_point_of_no_return_may_stay_so_and_freezes_nothing_else() {
    let ns = running("set_back_before", false);
    patch(&ns, &json!({"spec": {"activeDataCenter": "atlanta"}})).unwrap();
    let status = |what: Value| patch_status(&ns, &json!({"status": {"transition": what}}));
    status(json!({"pointOfNoReturn": true})).unwrap();
    // The rule is asked at each write of the status as well.
    status(json!({"steps": [{"name": "PoolStateSet", "state": "Running", "attempts": 1, "message": "."}]}))
        .unwrap();
    patch(&ns, &json!({"spec": {"suspend": true}})).unwrap();
    patch(&ns, &json!({"spec": {"suspend": false}})).unwrap();
    patch(&ns, &json!({"spec": {"activeDataCenter": "seattle"}})).unwrap();
    let e = patch(&ns, &json!({"spec": {"activeDataCenter": "atlanta"}})).unwrap_err();
    assert!(e.contains("the transition can only go on"), "{e}");
}

#[test]
fn past_the_point_of_no_return_there_is_no_way_back_until_it_has_ended() {
    let ns = running("no_way_back", true);
    let e = patch(&ns, &json!({"spec": {"activeDataCenter": "atlanta"}})).unwrap_err();
    assert!(e.contains("the transition can only go on"), "{e}");
    patch(&ns, &json!({"spec": {"suspend": true}})).unwrap();
    let ended = json!({"status": {"transition": {"outcome": "Completed"}}});
    patch_status(&ns, &ended).unwrap();
    patch(&ns, &json!({"spec": {"activeDataCenter": "atlanta", "database": "other"}})).unwrap();
    // What protects the other side does not lead to it.
    let protects = json!({"status": {"transition": {"outcome": "Running", "procedure": "Protect"}}});
    patch_status(&ns, &protects).unwrap();
    patch(&ns, &json!({"spec": {"suspend": false}})).unwrap();
}

/// The YAML blocks of a Markdown file.
fn blocks(text: &str) -> Vec<String> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("```yaml\n") {
        rest = &rest[start + 8..];
        let end = rest.find("```").expect("a code block ends");
        out.push(rest[..end].to_string());
        rest = &rest[end..];
    }
    out
}

#[test]
fn every_manifest_of_readme_docs_and_examples_is_accepted() {
    count("manifests");
    let mut offered = 0;
    let mut files: Vec<std::path::PathBuf> = vec![manifests().join("README.md")];
    for folder in ["examples", "docs", "docs/runbooks", "crds"] {
        files.extend(std::fs::read_dir(manifests().join(folder)).unwrap().map(|e| e.unwrap().path()));
    }
    files.retain(|f| f.is_file());
    // The one beside it that is ours; the others are of kinds that only Argo CD knows.
    files.push(manifests().join("examples/gitops/argocd/resource.yaml"));
    // What is namespaced is offered in a namespace that exists.
    demo::prepare_namespace(plane(), manifests(), "chat").unwrap();
    for file in files {
        let text = std::fs::read_to_string(&file).unwrap();
        let manifests = if file.extension().is_some_and(|e| e == "md") { blocks(&text) } else { vec![text] };
        for manifest in manifests.into_iter().filter(|m| m.contains("apiVersion:")) {
            let arguments = [
                "apply",
                "--server-side",
                "--dry-run=server",
                "--validate=strict",
                "--force-conflicts",
                "-n",
                "chat",
                "-f",
                "-",
            ];
            if let Err(e) = plane().kubectl(&arguments, Some(&manifest)) {
                panic!("{}: {}\n{manifest}", file.display(), e.stderr);
            }
            offered += 1;
        }
    }
    assert!(offered >= 4, "only {offered} manifests were found");
}

#[test]
fn the_table_shows_what_matters_and_explain_explains() {
    let ns = running("columns", false);
    let table = plane().kubectl(&["-n", &ns, "get", "pcf"], None).unwrap();
    let head: Vec<&str> = table.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(head, ["NAME", "ACTIVE", "DESIRED", "STEP", "READY", "FAILOVERREADY", "AGE"]);
    let text = plane().kubectl(&["explain", "pcf.spec.activeDataCenter"], None).unwrap();
    assert!(text.contains("Changing it begins a transition"), "{text}");
}
