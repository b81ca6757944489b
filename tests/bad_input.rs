//! Wrong Secrets, certificates, hosts, disks and hostile texts: each is told by its name, and nothing irreversible happens.
//! The same by day and by night.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod common;

use common::scene::{Scene, backups, quick};
use lab::chat::SHELL_PASSWORD;
use lab::scenario::Scenario;
use lab::sql::SQL_PASSWORD;
use lab::world::journal::Effect;

/// Nothing that the operator says anywhere holds a password.
fn assert_no_secret_is_told(scene: &Scene) {
    let said = [
        scene.object().to_string(),
        std::fs::read_to_string(scene.log()).unwrap(),
        scene.kubectl(&["get", "events", "-o", "yaml"], None),
        serde_json::to_string(&scene.lab.journal()).unwrap(),
    ];
    for text in said {
        for secret in [SQL_PASSWORD, SHELL_PASSWORD] {
            assert!(!text.contains(secret), "a password is told: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_logins_and_hosts_are_named_with_field_and_user() {
    let mut scene = Scene::set("certificates", quick()).await;
    let good = scene.lab.resource("litware");

    // Another CA: neither the SQL Servers nor the Management Shells can be trusted.
    let other = rcgen::generate_simple_self_signed(vec!["someone.else".into()]).unwrap().cert.pem();
    let at = good.find("ca.crt: ").unwrap() + 8;
    let end = at + good[at..].find('\n').unwrap();
    let foreign = format!("{}{}{}", &good[..at], serde_json::Value::String(other), &good[end..]);
    scene.apply(&foreign);
    scene.start_operator();
    let message = scene.wait_for("FailoverReady", "False", "CertificateInvalid").await;
    for part in ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com", "caRef"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_no_secret_is_told(&scene);

    // Mended: the operator sees it by itself.
    scene.apply(&good);
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // The Management Shell refuses the logon.
    scene.lab.fault("refuse-shell-login", &["sea-fe-1.litwareinc.com".into()]).unwrap();
    let message = scene.wait_for("FailoverReady", "False", "LoginRefused").await;
    for part in ["spec.dataCenters[1].managementShell", "sea-fe-1.litwareinc.com", r"LITWARE\pcf"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    scene.lab.fault("accept-shell-login", &["sea-fe-1.litwareinc.com".into()]).unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // SQL Server refuses the login.
    scene.lab.fault("refuse-login", &["sea-sql-1.litwareinc.com".into()]).unwrap();
    let message = scene.wait_for("FailoverReady", "False", "LoginRefused").await;
    for part in
        ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com", "seattle-sql", "Login failed for user"]
    {
        assert!(message.contains(part), "{part}: {message}");
    }
    scene.lab.fault("accept-login", &["sea-sql-1.litwareinc.com".into()]).unwrap();
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // A Secret that is gone.
    scene.kubectl(&["delete", "secret", "seattle-sql"], None);
    let message = scene.wait_for("FailoverReady", "False", "SecretUnusable").await;
    assert!(
        message.contains("seattle-sql") && message.contains("spec.dataCenters[1].sqlServer"),
        "{message}"
    );
    scene.apply(&good);
    scene.wait_for("FailoverReady", "True", "Completed").await;

    // A side that cannot be reached.
    scene.lab.lose("seattle").await.unwrap();
    let message = scene.wait_for("FailoverReady", "False", "HostUnreachable").await;
    for part in ["spec.dataCenters[1].sqlServer", "sea-sql-1.litwareinc.com:1433"] {
        assert!(message.contains(part), "{part}: {message}");
    }
    assert_eq!(scene.writes(), Vec::<String>::new());
    assert_no_secret_is_told(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_disks_close_the_right_gate_and_are_waited_for() {
    let mut scene = Scene::ready("disks", quick()).await;
    let names = backups(&scene.lab);
    let last = scene.lab.backup_shares()[1].join(names.last().unwrap());
    let length = std::fs::metadata(&last).unwrap().len();
    // A backup that no disk of this machine can take.
    scene.lab.fault("grow-backup", &[names.last().unwrap().clone(), "8000000000000".into()]).unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    let message = scene.wait_for("PreflightPassed", "False", "DiskFull").await;
    assert!(
        message.contains("spec.dataCenters[1].logShipping.copyFolder") && message.contains("bytes free"),
        "{message}"
    );
    scene.assert_nothing_moves().await;
    std::fs::OpenOptions::new().write(true).open(&last).unwrap().set_len(length).unwrap();

    // The disk of the SQL Server is full: nothing is applied, nothing is recovered, and the moment there is room it goes on.
    scene.lab.fault("disk-full", &["sea-sql-1.litwareinc.com".into(), "on".into()]).unwrap();
    let message = scene.wait_for("LogBackupsApplied", "False", "DiskFull").await;
    assert!(message.contains("sea-sql-1.litwareinc.com"), "{message}");
    assert!(!scene.writes().iter().any(|w| w.contains("WITH RECOVERY")));
    // A Central Management store that takes no change: told, and waited for.
    scene.lab.fault("cms-read-only", &["on".into()]).unwrap();
    scene.lab.fault("disk-full", &["sea-sql-1.litwareinc.com".into(), "off".into()]).unwrap();
    scene.wait_for_text("PoolStateSet", "False", "EffectFailed", "read-only mode").await;
    scene.lab.fault("cms-read-only", &["off".into()]).unwrap();
    scene.wait_until_failed_over().await;
    assert_no_secret_is_told(&scene);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_texts_of_the_outside_systems_stay_texts() {
    // Names as an attacker would give them: in the world, in files, in what servers answer.
    let hostile = "x'; DROP DATABASE mgc; --\u{1b}[2J\n{\"level\":\"ERROR\",\"forged\":true}";
    let scenario = Scenario { hostile_text: Some(hostile.into()), ..quick() };
    let mut scene = Scene::ready("hostile", scenario).await;
    std::fs::write(scene.lab.backup_shares()[1].join("mgc_\u{1b}[2J'; SHUTDOWN --.trn"), b"x").unwrap();
    scene.lose().await;
    scene.patch(r#"{"activeDataCenter":"seattle"}"#);
    scene.wait_until_failed_over().await;
    let texts = [scene.object().to_string(), std::fs::read_to_string(scene.log()).unwrap()];
    for text in texts {
        // As JSON a control character would be written \u001b; decoded it must not be there at all.
        assert!(!text.contains("\\u001b") && !text.contains('\u{1b}'), "{text}");
    }
    for line in std::fs::read_to_string(scene.log()).unwrap().lines() {
        let entry: serde_json::Value =
            serde_json::from_str(line).expect("every line of the log is one JSON object");
        assert!(entry.get("forged").is_none(), "{line}");
    }
    // Whatever was sent, the servers understood nothing that is not ours.
    let understood: std::collections::BTreeSet<String> =
        scene.lab.journal().into_iter().filter(|e| e.effect == Effect::Write).map(|e| e.name).collect();
    for name in &understood {
        assert!(!name.contains("DROP DATABASE") && !name.contains("SHUTDOWN"), "{understood:?}");
    }
    assert!(understood.contains("ALTER USER"), "the hostile user was mapped to its login: {understood:?}");
}
