//! `kubectl pcf` against a real API server and a lab. The same by day and by night.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use crate::common::plane;
use crate::common::proxy::Proxy;
use crate::common::scene::{RESOURCE, Scene, backups, quick};
use crate::common::terminal::Terminal;
use lab::scenario::Scenario;
use serde_json::{Value, json};

/// As kubectl runs it: a program `kubectl-pcf` on the PATH.
fn with_plugin(kubeconfig: &Path) -> Command {
    let program = Path::new(env!("CARGO_BIN_EXE_kubectl-pcf"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(plane().kubectl_path());
    command.env("PATH", path).env("KUBECONFIG", kubeconfig).stdin(Stdio::null());
    command
}

fn command_by(kubeconfig: &Path, scene: &Scene, arguments: &[&str]) -> Command {
    let mut command = with_plugin(kubeconfig);
    command.arg("pcf").args(arguments).args(["-n", &scene.namespace]).envs(scene.lab.operator_env());
    command
}

fn command(scene: &Scene, arguments: &[&str]) -> Command {
    command_by(&plane().admin_kubeconfig(), scene, arguments)
}

fn pcf(scene: &Scene, arguments: &[&str]) -> Output {
    command(scene, arguments).output().unwrap()
}

fn begun(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn shown(o: &Output) -> String {
    let text = String::from_utf8_lossy(&o.stdout).into_owned();
    assert!(o.status.success(), "{}{text}", String::from_utf8_lossy(&o.stderr));
    text
}

/// That a command ended with a code, and said something about it.
fn ends(o: &Output, code: i32, said: &str) {
    let text = format!("{}{}", String::from_utf8_lossy(&o.stdout), String::from_utf8_lossy(&o.stderr));
    assert_eq!(o.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "{said} is missing: {text}");
}

/// The kubeconfig of an account with verbs on the resource.
fn account(scene: &Scene, name: &str, verbs: &str) -> PathBuf {
    let resource = "persistentchatfailovers.persistentchat.dev";
    scene.kubectl(&["create", "serviceaccount", name], None);
    let verbs: Vec<String> = verbs.split(',').map(|v| format!("--verb={v}")).collect();
    let mut role = vec!["create", "role", name, "--resource", resource];
    role.extend(verbs.iter().map(String::as_str));
    scene.kubectl(&role, None);
    let subject = format!("--serviceaccount={}:{name}", scene.namespace);
    scene.kubectl(&["create", "rolebinding", name, "--role", name, &subject], None);
    plane().service_account_kubeconfig(&scene.namespace, name).unwrap()
}

/// A policy as a cluster may have it: who writes a consent needs the verb `approve`.
fn only_approvers(scene: &Scene) {
    let (name, namespace) = (&scene.namespace, &scene.namespace);
    let allowed = "authorizer.group('persistentchat.dev').resource('persistentchatfailovers').namespace(request.namespace)\
                   .check('approve').allowed()";
    let policy = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy",
        "metadata": {"name": name}, "spec": {"failurePolicy": "Fail",
        "matchConstraints": {"resourceRules": [{"apiGroups": ["persistentchat.dev"], "apiVersions": ["*"],
            "operations": ["UPDATE"], "resources": ["persistentchatfailovers"]}]},
        "validations": [{"expression": format!("!has(object.spec.consent) || {allowed}"), "message": "approvers only"}]}});
    let binding = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
        "metadata": {"name": name}, "spec": {"policyName": name, "validationActions": ["Deny"],
        "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}}});
    scene.apply(&json!({"apiVersion": "v1", "kind": "List", "items": [policy, binding]}).to_string());
}

/// Begins to wait, and gives it when the API server has seen it watch.
async fn waits(kubeconfig: &Path, scene: &Scene, goal: &str) -> Child {
    let watched = format!("\"namespace\":\"{}\"", scene.namespace);
    let watches = || {
        let log = plane().audit_log();
        let of_admin = |l: &&str| l.contains("\"verb\":\"watch\",\"user\":{\"username\":\"admin\"");
        log.lines().filter(of_admin).filter(|l| l.contains(&watched)).count()
    };
    let before = watches();
    let waits =
        begun(&mut command_by(kubeconfig, scene, &["wait", "litware", "--for", goal, "--timeout=3m"]));
    scene.until("it watches", || watches() > before).await;
    waits
}

fn needed(scene: &Scene) -> Value {
    scene.object()["status"]["transition"]["consentNeeded"].take()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_plan_and_report_tell_the_whole_story_and_write_nothing() {
    let mut scene = Scene::ready("cli", quick()).await;
    let file = scene.directory.path().join("resource.yaml");
    std::fs::write(&file, scene.lab.resource("litware")).unwrap();
    let file = file.to_str().unwrap().to_string();

    // Nothing has happened.
    let text = shown(&pcf(&scene, &["status", "litware"]));
    assert!(text.contains("active: atlanta   wanted: atlanta"), "{text}");
    let text = shown(&pcf(&scene, &["plan", "litware"]));
    assert!(text.contains("Nothing: atlanta is active"), "{text}");
    let text = shown(&pcf(&scene, &["survey", "-f", &file]));
    for belief in [
        "ChatRole",
        "FileTransferAgents",
        "LastError",
        "ServerAddress",
        "ChatDate",
        "RedoFiles",
        "MasterPort",
        "FolderListing",
    ] {
        let line = text.lines().find(|l| l.contains(belief)).unwrap_or_else(|| panic!("{text}"));
        assert!(line.trim_start().starts_with("confirmed"), "{line}");
    }
    let version = "PowerShell 5.1.14393.2248";
    assert_eq!(text.lines().filter(|l| l.contains("-fe-1.") && l.ends_with(version)).count(), 2, "{text}");
    let report = shown(&pcf(&scene, &["survey", "litware", "-o", "yaml"]));
    let told: Value = serde_saphyr::from_str(&report).unwrap();
    assert_eq!(told["managementShells"][1]["powerShell"], "5.1.14393.2248", "{report}");
    assert!(report.contains("MirrorWarnings") && report.contains("13.0."), "{report}");
    for name in ["litware", "atl-", "sea-", "atlanta", "seattle", "mgc", ".trn"] {
        assert!(!report.to_lowercase().contains(name), "{name}: {report}");
    }
    let none = pcf(&scene, &["report", "litware"]);
    assert!(!none.status.success());
    assert!(String::from_utf8_lossy(&none.stderr).contains("no transition"));

    // While the primary lives, a failover would be refused, and it is said why.
    let text = shown(&pcf(&scene, &["plan", "litware", "--to", "seattle"]));
    assert!(text.contains("answers") && text.contains("WHAT STANDS IN THE WAY"), "{text}");

    // After the loss: every statement, without a cluster, and nothing is written.
    scene.lose().await;
    let text = shown(&pcf(&scene, &["survey", "-f", &file]));
    let of = |word: &str| text.lines().find(|l| l.contains(word)).unwrap_or_else(|| panic!("{text}"));
    assert!(of("atl-fe-1.").contains("no answer: ") && of("sea-fe-1.").ends_with(version), "{text}");
    let text = shown(&pcf(&scene, &["plan", "-f", &file, "--to", "seattle"]));
    for part in [
        "sp_delete_log_shipping_secondary_database",
        "RESTORE LOG",
        "THE POINT OF NO RETURN",
        "WITH RECOVERY",
        "Set-CsPersistentChatState",
        "Install-CsMirrorDatabase",
        "Set-CsPersistentChatActiveServer",
        "Nothing that can be seen from here",
    ] {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    assert_eq!(scene.writes(), Vec::<String>::new());

    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_for("LogShippingRemoved", "True", "Completed").await;
    let text = shown(&pcf(&scene, &["status", "litware"]));
    assert!(
        text.contains("Failover") && text.contains("from atlanta to seattle") && text.contains("["),
        "{text}"
    );
    scene.wait_until_failed_over().await;
    scene.wait_until_at_rest().await;
    let text = shown(&pcf(&scene, &["report", "litware"]));
    assert!(text.contains("Kept for certain: everything until") && text.contains("mgccomp"), "{text}");
    let json = shown(&pcf(&scene, &["status", "litware", "-o", "json"]));
    let status: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(status["activeDataCenter"], "seattle");
    let yaml = shown(&pcf(&scene, &["status", "litware", "-o", "yaml"]));
    assert_eq!(serde_saphyr::from_str::<Value>(&yaml).unwrap()["transition"], status["transition"]);
    let told: Value =
        serde_json::from_str(&shown(&pcf(&scene, &["report", "litware", "-o", "json"]))).unwrap();
    assert_eq!((&told["to"], &told["outcome"]), (&json!("seattle"), &json!("Completed")), "{told}");

    // What was decided can be decided again, without a cluster and without the servers: from a plan, from the status, from the log.
    let recorded = shown(&pcf(&scene, &["plan", "litware", "-o", "json"]));
    assert!(!recorded.contains(lab::sql::SQL_PASSWORD) && !recorded.contains(lab::chat::SHELL_PASSWORD));
    let same = shown(&pcf(&scene, &["plan", "litware", "-o", "yaml"]));
    let object = scene.object().to_string();
    let log = std::fs::read_to_string(scene.log()).unwrap();
    for (name, text, said) in [
        ("plan.json", recorded.as_str(), "next: Settled"),
        ("plan.yaml", same.as_str(), "next: Settled"),
        ("resource.json", object.as_str(), "next: Settled"),
        ("operator.log", log.as_str(), "next: Act DatabaseOnline"),
    ] {
        let path = scene.directory.path().join(name);
        std::fs::write(&path, text).unwrap();
        let text = shown(&pcf(&scene, &["replay", path.to_str().unwrap()]));
        assert!(text.contains(said), "{name}: {said} is missing:\n{text}");
        let json = shown(&pcf(&scene, &["replay", path.to_str().unwrap(), "-o", "json"]));
        let mut decided = serde_json::Deserializer::from_str(&json).into_iter::<Value>();
        assert!(
            decided.any(|d| d.unwrap()["next"].as_str().unwrap() == said.trim_start_matches("next: ")),
            "{json}"
        );
    }

    // Bad input.
    std::fs::write(scene.directory.path().join("bad.json"), "{\"schema\": 99, \"situation\": {}}").unwrap();
    let bad = scene.directory.path().join("bad.json").to_str().unwrap().to_string();
    let no_recording = pcf(&scene, &["replay", &bad]);
    assert!(String::from_utf8_lossy(&no_recording.stderr).contains("schema 99"));
    for (arguments, said) in [
        (vec!["status", "nobody"], "nobody"),
        (vec!["status", "litware", "-o", "xml"], "[possible values: json, yaml]"),
        (vec!["plan", "-f", "/nowhere.yaml"], "/nowhere.yaml"),
        (vec!["survey", "-f", "/nowhere.yaml"], "/nowhere.yaml"),
        (vec!["wait", "nobody", "--for", "ready"], "nobody"),
        (vec!["wait", "litware", "--for", "ready", "--timeout", "soon"], "15m"),
        (vec!["approve", "nobody", "--yes", "1"], "nobody"),
    ] {
        ends(&pcf(&scene, &arguments), 1, said);
    }
    ends(
        &command_by(Path::new("/nowhere"), &scene, &["status", "litware"]).output().unwrap(),
        1,
        "cannot reach Kubernetes",
    );
    ends(&pcf(&scene, &["--help"]), 0, "124 timed out");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_yes_is_written_to_exactly_what_is_asked_by_whoever_may() {
    let mut scene = Scene::ready("cli_approve", quick()).await;
    ends(&pcf(&scene, &["approve", "litware"]), 3, "nothing is asked of you about litware");
    let names = backups(&scene.lab);
    scene.lab.fault("remove-backup", &[names[6].clone()]).unwrap();
    scene.lose().await;
    scene.want(1);
    ends(&pcf(&scene, &["wait", "litware", "--for=human", "--timeout=2m"]), 0, "ConsentRequired");
    ends(&pcf(&scene, &["wait", "litware", "--for=ready"]), 2, "ConsentRequired");

    // What is asked, for a human and for programs.
    let first = needed(&scene);
    let digest = first["situation"].as_str().unwrap().to_string();
    let text = shown(&pcf(&scene, &["approve", "litware", "--dry-run"]));
    assert!(text.contains("gap") && text.contains(&names[7]) && text.contains(&digest), "{text}");
    let yaml = shown(&pcf(&scene, &["approve", "litware", "--dry-run", "-o", "yaml"]));
    let question: Value = serde_saphyr::from_str(&yaml).unwrap();
    assert_eq!((&question["transition"], &question["why"]), (&first["transition"], &first["why"]), "{yaml}");

    // Nobody to ask; a yes to something else; no right to.
    ends(&pcf(&scene, &["approve", "litware"]), 1, &format!("--yes {digest}"));
    ends(&pcf(&scene, &["approve", "litware", "--yes", "0123"]), 3, "0123 is not what is asked now");
    let reader = account(&scene, "reader", "get");
    let refused = command_by(&reader, &scene, &["approve", "litware", "--yes", &digest]).output().unwrap();
    ends(&refused, 3, &format!("system:serviceaccount:{}:reader lacks the verb patch", scene.namespace));
    let editor = account(&scene, "editor", "get,list,watch,patch");
    only_approvers(&scene);
    let patch = json!({"spec": {"consent": {"transition": "1", "situation": "1", "by": "x"}}}).to_string();
    let by_hand =
        ["patch", "pcf/litware", "-n", &scene.namespace, "--dry-run=server", "--type=merge", "-p", &patch];
    scene
        .until("the policy is at work", || {
            !with_plugin(&editor).args(by_hand).output().unwrap().status.success()
        })
        .await;
    let refused = command_by(&editor, &scene, &["approve", "litware", "--yes", &digest]).output().unwrap();
    ends(&refused, 3, "editor lacks the verb approve");
    assert_eq!(scene.object()["spec"]["consent"], Value::Null);

    // More is lost by the time at which the yes comes.
    scene.lab.fault("remove-backup", &[names[5].clone()]).unwrap();
    scene.patch(r#"{"policy":{"mirrorDeadline":"1m"}}"#);
    scene
        .until("it is asked anew, by who has seen that", || {
            let seen = scene.object();
            let is_seen = seen["status"]["observedGeneration"] == seen["metadata"]["generation"];
            is_seen && needed(&scene)["situation"].as_str().is_some_and(|s| s != digest)
        })
        .await;
    let refused = pcf(&scene, &["approve", "litware", "--yes", &digest]);
    ends(&refused, 3, needed(&scene)["situation"].as_str().unwrap());
    scene.assert_nothing_moves().await;

    // On a terminal.
    let terminal = Terminal::of(&command(&scene, &["approve", "litware"]));
    terminal.wait_for("Type yes to agree as admin: ");
    terminal.type_in("y");
    terminal.press(&["Enter"]);
    assert_eq!(terminal.end(), 3, "{}", terminal.shown());
    assert_eq!(scene.object()["spec"]["consent"], Value::Null);
    let terminal = Terminal::of(&command(&scene, &["approve", "litware"]));
    terminal.wait_for("Type yes to agree as admin: ");
    assert!(terminal.shown().contains(&names[7]), "{}", terminal.shown());
    // The object has changed meanwhile, and what is asked has not.
    scene.kubectl(&["annotate", "pcf/litware", "note=x"], None);
    terminal.type_in("yes");
    terminal.press(&["Enter"]);
    assert_eq!(terminal.end(), 0, "{}", terminal.shown());
    let written = scene.kubectl(&["get", "pcf/litware", "-o", "json", "--show-managed-fields"], None);
    let written: Value = serde_json::from_str(&written).unwrap();
    assert_eq!(written["spec"]["consent"]["by"], "admin");
    let fields = written["metadata"]["managedFields"].as_array().unwrap();
    let ours: Vec<&Value> =
        fields.iter().filter(|f| f["fieldsV1"]["f:spec"].get("f:consent").is_some()).collect();
    assert_eq!(
        (ours.len(), &ours[0]["manager"], &ours[0]["operation"]),
        (1, &json!("pcf-approve"), &json!("Apply"))
    );
    ends(&pcf(&scene, &["wait", "litware", "--for=serving", "--timeout=3m"]), 0, "");
    ends(&pcf(&scene, &["wait", "litware", "--for=ready", "--timeout=3m"]), 0, "Ready is True");
    scene.wait_until_failed_over().await;
    assert_eq!(scene.last_failover()["loss"]["acceptedBy"], "admin");
    ends(&pcf(&scene, &["approve", "litware", "--yes", &digest]), 3, "nothing is asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn waiting_ends_when_it_holds_and_when_it_will_not_come() {
    let mut scene = Scene::ready("cli_wait", Scenario { restore_ms: 3000, ..quick() }).await;
    for goal in ["ready", "serving", "protected"] {
        ends(&pcf(&scene, &["wait", "litware", "--for", goal, "--timeout=90s"]), 0, "True");
    }
    ends(&pcf(&scene, &["wait", "litware", "--for=human", "--timeout=1s"]), 124, "after 1s: Ready is True");

    // The API server goes away and comes back.
    let proxy = Proxy::to(plane().port()).await;
    let text = std::fs::read_to_string(plane().admin_kubeconfig()).unwrap();
    let kubeconfig = scene.directory.path().join("proxied.kubeconfig");
    let port = |p: u16| format!("https://127.0.0.1:{p}");
    std::fs::write(&kubeconfig, text.replace(&port(plane().port()), &port(proxy.port))).unwrap();
    let waiting = waits(&kubeconfig, &scene, "human").await;
    proxy.cut();
    // The active side lives: only a human can say what is meant.
    scene.want(1);
    scene.wait_for("Stalled", "True", "SourceAlive").await;
    scene.until("it has noticed", || proxy.turned_away() > 0).await;
    proxy.mend();
    let o = waiting.wait_with_output().unwrap();
    ends(&o, 0, "SourceAlive");
    ends(&o, 0, "the API server cannot be asked, it is asked again");
    ends(&pcf(&scene, &["wait", "litware", "--for=ready"]), 2, "Stalled is True (SourceAlive)");
    scene.want(0);
    ends(&pcf(&scene, &["wait", "litware", "--for=ready", "--timeout=2m"]), 0, "Ready is True");

    // Nothing goes on by somebody's wish.
    scene.patch(r#"{"suspend":true}"#);
    scene.lose().await;
    scene.want(1);
    scene.wait_for("Ready", "False", "Suspended").await;
    ends(&pcf(&scene, &["wait", "litware", "--for=ready"]), 3, "spec.suspend is true");

    // The wish is taken back while somebody waits for it.
    scene.patch(r#"{"suspend":false}"#);
    scene.wait_for("LogShippingRemoved", "True", "Completed").await;
    let waiting = waits(&plane().admin_kubeconfig(), &scene, "serving").await;
    scene.want(0);
    ends(&waiting.wait_with_output().unwrap(), 3, "seattle is not wanted any more");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_picture_is_drawn_in_place_on_a_terminal_and_one_after_the_other_elsewhere() {
    let scene = Scene::ready("cli_watch", quick()).await;
    let terminal = Terminal::of(&command(&scene, &["status", RESOURCE, "--watch"]));
    terminal.wait_for("active: atlanta   wanted: atlanta");
    assert!(terminal.is_taken(), "{}", terminal.shown());
    scene.patch(r#"{"suspend":true}"#);
    scene.want(1);
    terminal.wait_for("wanted: seattle");
    // Drawn in place of the one before.
    assert!(!terminal.shown().contains("wanted: atlanta"), "{}", terminal.shown());
    terminal.press(&["C-c"]);
    assert_eq!(terminal.end(), 0);
    assert!(!terminal.is_taken() && terminal.shown().contains("wanted: seattle"), "{}", terminal.shown());

    // The reader of a pipe gets one after the other, as they change, and ends it by leaving.
    let mut follows = begun(&mut command(&scene, &["status", RESOURCE, "--watch"]));
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let mut read_until = |text: &str| {
        let mut read = String::new();
        while !read.contains(text) {
            read.push_str(&lines.next().expect("it goes on").unwrap());
        }
        assert!(!read.contains('\u{1b}'), "{read:?}");
    };
    read_until("wanted: seattle");
    scene.want(0);
    read_until("wanted: atlanta");
    drop(lines);
    scene.want(1);
    assert_eq!(follows.wait().unwrap().code(), Some(0));

    // A right that is missing is told at once, and so is that there is nothing left to wait for.
    let reader = account(&scene, "reader", "get");
    let refused = command_by(&reader, &scene, &["wait", "litware", "--for=human"]).output().unwrap();
    ends(&refused, 3, "cannot list resource");
    let waiting = waits(&plane().admin_kubeconfig(), &scene, "human").await;
    scene.kubectl(&["delete", "pcf/litware"], None);
    ends(&waiting.wait_with_output().unwrap(), 3, "cli-watch/litware was deleted");
}

#[test]
fn kubectl_completes_what_may_follow() {
    let directory = tempfile::tempdir().unwrap();
    let write = |target: &str| {
        with_plugin(Path::new("/nowhere")).args(["pcf", "completions", target]).output().unwrap()
    };
    for shell in ["bash", "zsh", "fish", "powershell"] {
        assert!(shown(&write(shell)).contains("completions"), "{shell}");
    }
    let shim = directory.path().join("kubectl_complete-pcf");
    std::fs::write(&shim, shown(&write("kubectl"))).unwrap();
    std::fs::set_permissions(&shim, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    for (words, wanted) in [
        (vec!["a"], "approve\n:4\n"),
        (vec!["wait", "--for", ""], "ready\nserving\nprotected\nhuman\n:4\n"),
        (vec!["status", "x", "--w"], "--watch\n:4\n"),
        (vec!["replay", ""], ":0\n"),
    ] {
        let mut command = with_plugin(Path::new("/nowhere"));
        let plugin = Path::new(env!("CARGO_BIN_EXE_kubectl-pcf")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{}:{path}", directory.path().display(), plugin.display()));
        let o = command.args(["__complete", "pcf"]).args(&words).output().unwrap();
        assert_eq!(shown(&o), wanted, "{words:?}: {}", String::from_utf8_lossy(&o.stderr));
    }
}

#[test]
fn a_shell_on_a_terminal_completes_what_is_typed() {
    let program = Path::new(env!("CARGO_BIN_EXE_kubectl-pcf"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap_or_default());
    let mut shell = Command::new("bash");
    shell
        .args(["--norc", "--noprofile", "-i"])
        .env("PATH", path)
        .env("PS1", "$ ")
        .env("INPUTRC", "/dev/null");
    let terminal = Terminal::of(&shell);
    terminal.wait_for("$");
    terminal.type_in("source <(kubectl-pcf completions bash)");
    terminal.press(&["Enter"]);
    terminal.type_in("kubectl-pcf app");
    terminal.press(&["Tab"]);
    terminal.wait_for("kubectl-pcf approve");
    terminal.press(&["C-u"]);
    terminal.type_in("kubectl-pcf wait x --for hu");
    terminal.press(&["Tab"]);
    terminal.wait_for("--for human");
    terminal.press(&["C-u"]);
    terminal.type_in("exit");
    terminal.press(&["Enter"]);
    assert_eq!(terminal.end(), 0);
}
