//! The operator's port, and `pcf-operator probe`: what a whole program shows of a failover on a real API server, and what it says where it
//! cannot. The same by day and by night.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};

use crate::common;
use crate::common::scene::{Scene, quick};
use persistent_chat_failover::telemetry::probe;

fn operator(arguments: &[&str], metrics_address: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_pcf-operator"))
        .args(arguments)
        .env("PCF_METRICS_ADDRESS", metrics_address)
        .env("KUBECONFIG", "/nowhere")
        .output()
        .unwrap()
}

fn said(o: &Output) -> (Option<i32>, String) {
    (o.status.code(), String::from_utf8_lossy(&o.stderr).into_owned())
}

/// Answers one request with this, and gives its port.
fn answering(with: &'static str) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = [0; 1024];
        let n = stream.read(&mut request).unwrap();
        assert!(request[..n].starts_with(b"GET /healthz HTTP/1.1\r\n"));
        stream.write_all(with.as_bytes()).unwrap();
    });
    port
}

#[test]
fn a_port_that_is_taken_ends_the_program_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for o in [operator(&["run"], &address), operator(&["run", "--metrics-address", &address], "")] {
        let (code, text) = said(&o);
        assert_eq!(code, Some(1), "{text}");
        let last = text.lines().last().unwrap();
        assert!(last.starts_with(&format!("pcf-operator: cannot listen on {address}")), "{text}");
        assert!(last.contains("another process has this port: choose another one"), "{text}");
    }
    let (code, text) = said(&operator(&["run"], "8080"));
    assert_eq!(code, Some(1));
    assert!(text.contains("is no address and port like 0.0.0.0:8080"), "{text}");
}

#[test]
fn a_variable_that_is_empty_asks_for_no_port() {
    let (code, text) = said(&operator(&["run"], ""));
    assert_eq!(code, Some(1));
    assert!(text.contains("cannot reach Kubernetes") && !text.contains("metrics"), "{text}");
}

#[test]
fn a_program_that_has_never_reached_the_api_server_is_alive_is_not_ready_and_stops_when_it_is_told() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let directory = tempfile::tempdir().unwrap();
    let kubeconfig = directory.path().join("kubeconfig");
    let nobody = "{apiVersion: v1, kind: Config, current-context: a, clusters: [{name: a, cluster: {server: 'http://127.0.0.1:1'}}], \
        contexts: [{name: a, context: {cluster: a, user: a}}], users: [{name: a, user: {}}]}";
    std::fs::write(&kubeconfig, nobody).unwrap();
    let mut running = Command::new(env!("CARGO_BIN_EXE_pcf-operator"))
        .args(["run", "--metrics-address", &free])
        .env("KUBECONFIG", &kubeconfig)
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let patience = std::time::Instant::now() + std::time::Duration::from_secs(30);
    let wait_for = |what: &str, holds: &mut dyn FnMut() -> bool| {
        while !holds() {
            assert!(std::time::Instant::now() < patience, "{what}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    };
    let asked = |path: &str| operator(&["probe", &format!("http://{free}{path}")], "").status.code();
    wait_for("alive", &mut || asked("/healthz") == Some(0));
    assert_eq!(asked("/readyz"), Some(1));
    common::signal(running.id(), "TERM");
    wait_for("the end", &mut || running.try_wait().unwrap().is_some());
}

#[test]
fn a_probe_prints_what_is_answered_and_says_by_its_code_whether_that_is_well() {
    let well = answering("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok\n");
    let o = operator(&["probe", &format!("http://127.0.0.1:{well}/healthz")], "");
    assert_eq!((o.status.code(), o.stdout.as_slice()), (Some(0), b"ok\n".as_slice()), "{}", said(&o).1);
    let ill = answering("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 6\r\n\r\nstuck\n");
    let o = operator(&["probe", &format!("http://127.0.0.1:{ill}/healthz")], "");
    assert_eq!((o.status.code(), o.stdout.as_slice()), (Some(1), b"stuck\n".as_slice()));
    assert!(said(&o).1.contains("answered 503 Service Unavailable"));
    let (code, text) = said(&operator(&["probe", "https://127.0.0.1/healthz"], ""));
    assert_eq!(code, Some(1));
    assert!(text.contains("does not begin with http://"), "{text}");
}

/// What the operator of a scene answers.
async fn get(address: &str, path: &str) -> (bool, String) {
    match probe::get(&format!("http://{address}{path}")).await {
        Ok(answer) => (answer.well, String::from_utf8(answer.body.to_vec()).unwrap()),
        Err(e) => (false, e),
    }
}

/// The value of a series, whose labels stand as in the text; those of the resource are put before them.
fn value(text: &str, name: &str, labels: &[&str], of_resource: bool) -> Option<f64> {
    let whose = [r#"resource_namespace="telemetry""#, r#"resource="litware""#];
    let labels = [if of_resource { &whose[..] } else { &[] }, labels].concat().join(",");
    let series = if labels.is_empty() { format!("{name} ") } else { format!("{name}{{{labels}}} ") };
    text.lines().find_map(|l| l.strip_prefix(&series)?.parse().ok())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failover_shows_in_the_metrics_and_a_resource_that_is_gone_does_not() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let address: &'static str = free.leak();
    let mut scene = Scene::set("telemetry", quick()).await;
    scene.env.push(("PCF_METRICS_ADDRESS", address));
    scene.begin().await;
    assert_eq!(get(address, "/healthz").await, (true, "ok\n".into()));
    assert_eq!(get(address, "/readyz").await, (true, "ok\n".into()));
    let (_, text) = get(address, "/metrics").await;
    let of = |text: &str, name: &str, labels: &[&str]| value(text, name, labels, true);
    let all = |text: &str, name: &str, labels: &[&str]| value(text, name, labels, false).unwrap_or_default();
    let ready = [r#"type="Ready""#, r#"status="True""#];
    let failed_over = [r#"procedure="Failover""#, r#"outcome="Completed""#];
    assert_eq!(of(&text, "persistentchat_condition", &ready), Some(1.0), "{text}");
    assert_eq!(of(&text, "persistentchat_active_data_center", &[r#"data_center="atlanta""#]), Some(1.0));
    assert_eq!(of(&text, "persistentchat_transitions_total", &failed_over), Some(0.0));
    let lag = of(&text, "persistentchat_backup_lag_seconds", &[]).unwrap();
    let loss = of(&text, "persistentchat_expected_loss_seconds", &[]).unwrap();
    assert!(lag > loss && loss > 0.0, "some backups stand in the share only: {lag} {loss}");
    assert!(all(&text, "persistentchat_look_duration_seconds_count", &[]) > 0.0, "{text}");

    scene.lose().await;
    scene.want(1);
    scene.wait_until_failed_over().await;
    let (_, text) = get(address, "/metrics").await;
    assert_eq!(of(&text, "persistentchat_transitions_total", &failed_over), Some(1.0), "{text}");
    assert_eq!(of(&text, "persistentchat_active_data_center", &[r#"data_center="seattle""#]), Some(1.0));
    for step in
        ["LogShippingRemoved", "BackupsCopied", "LogBackupsApplied", "DatabaseOnline", "MirrorEstablished"]
    {
        let step = format!("step=\"{step}\"");
        let done = all(&text, "persistentchat_step_attempts_total", &[&step, r#"outcome="Answered""#]);
        assert!(done > 0.0, "{step}: {text}");
        assert_eq!(all(&text, "persistentchat_step_duration_seconds_count", &[&step]), 1.0, "{step}");
    }
    assert!(all(&text, "persistentchat_status_writes_total", &[r#"outcome="Written""#]) > 0.0, "{text}");
    assert!(all(&text, "persistentchat_reconciles_total", &[r#"outcome="Done""#]) > 0.0, "{text}");
    assert_eq!(get(address, "/healthz").await, (true, "ok\n".into()));

    scene.kubectl(&["delete", "pcf/litware", "--wait=true"], None);
    let mut left = String::from("nothing was answered");
    for _ in 0..200 {
        left = get(address, "/metrics").await.1;
        if !left.contains("litware") && left.contains("persistentchat_build_info") {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    panic!("{left}");
}
