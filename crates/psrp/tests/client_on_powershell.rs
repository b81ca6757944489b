//! Our client against a real PowerShell. Without one these tests say so and pass, unless one is required (see `psrp::engine`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::PathBuf;
use std::time::Duration;

use psrp::client::{Client, Error, Output, PoolOptions};
use psrp::clixml::Value;
use psrp::message::{Command, PipelineState};

/// For what ends by itself.
const PATIENCE: Duration = Duration::from_secs(120);

fn engine(options: PoolOptions) -> Option<Client> {
    let modules = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/engine");
    let program = psrp::engine::for_tests(&modules).expect("an engine is required")?;
    psrp::engine::driven("client_on_powershell", 1).unwrap();
    Some(Client::program(program, options))
}

fn command(name: &str) -> Command {
    Command { name: name.into(), parameters: vec![] }
}

async fn ask(client: &Client, name: &str) -> Result<Output, Error> {
    client.invoke(&command(name), PATIENCE).await
}

/// The client serves the next command, in this pool or in another.
async fn is_usable(client: &Client) {
    let quick = Command {
        name: "Get-Quick".into(),
        parameters: vec![("Text".into(), Value::text("x'; $(exit) `\"_x0041_\r😀"))],
    };
    let out = client.invoke(&quick, PATIENCE).await.unwrap();
    assert_eq!(out.objects, [quick.parameters[0].1.clone()]);
}

#[tokio::test]
async fn every_type_of_value_is_read_and_nulls_are_kept() {
    let Some(client) = engine(PoolOptions::default()) else { return };
    let out = ask(&client, "Get-Values").await.unwrap();
    let o = &out.objects;
    assert_eq!((out.state, out.errors.len(), o.len()), (PipelineState::Completed, 0, 24));
    let shown: Vec<String> = o[..6].iter().map(Value::shown).collect();
    assert_eq!(
        shown,
        [
            "2026-11-25T01:02:03Z",
            "P1DT2H3M4.5S",
            "00112233-4455-6677-8899-aabbccddeeff",
            "http://x/?a=<&>",
            "1.2.3",
            "255"
        ]
    );
    assert_eq!(o[6..9], [Value::text("c"), Value::text("😀 _x0041_ \0 \r\n \t"), Value::text("1.5")]);
    assert_eq!(o[9..11], [Value::Double(f64::NEG_INFINITY), Value::Double(1.5)]);
    assert_eq!(o[11..14], [Value::I64(i64::MIN), Value::U64(u64::MAX), Value::I32(-1)]);
    assert_eq!((o[14].shown(), o[14].as_i64()), ("Friday".into(), Some(5)));
    assert_eq!(o[15..17], [Value::Bool(true), Value::Null]);
    assert_eq!(o[17].as_list(), [Value::I32(1), Value::Null, Value::I32(3)]);
    assert_eq!(o[18].get("a"), Some(&Value::I32(1)));
    assert_eq!(o[21].get("Nothing"), Some(&Value::Null));
    assert_eq!(o[22..], [Value::text("\u{fffe}x"), Value::text("last")]);
    let secret = ask(&client, "Get-Secret").await.unwrap();
    assert!(matches!(secret.objects.as_slice(), [Value::Secret(_)]), "{secret:?}");
    client.close().await.unwrap();
}

#[tokio::test]
async fn errors_warnings_and_progress_are_kept_with_their_numbers() {
    let Some(client) = engine(PoolOptions::default()) else { return };
    let out = ask(&client, "Write-Errors").await.unwrap();
    let errors: Vec<_> = out.errors.iter().map(|e| (e.id.as_str(), e.category.number)).collect();
    assert_eq!(errors, [("One,Write-Errors", Some(13)), ("Two,Write-Errors", Some(3))]);
    assert_eq!((out.state, out.objects), (PipelineState::Completed, vec![Value::text("between")]));
    assert_eq!(out.errors[0].details.recommended_action.as_deref(), Some("look for it"));
    assert_eq!(out.errors[0].category.target_name.as_deref(), Some("thing"));
    assert_eq!(out.errors[1].exceptions[0].hresult, Some(-2_147_024_784));

    let out = ask(&client, "Throw-Error").await.unwrap();
    let [down] = out.errors.as_slice() else { panic!("{out:?}") };
    assert_eq!((out.state, down.category.number), (PipelineState::Failed, Some(27)));
    assert_eq!(down.exceptions.last().unwrap().native_error_code, Some(53));

    let out = ask(&client, "Show-Streams").await.unwrap();
    assert_eq!((out.warnings, out.objects), (vec!["w1".into(), "w2".into()], vec![Value::text("o")]));
    assert_eq!(out.progress.unwrap().percent, Some(50));

    for (name, id) in [
        ("Get-Broken", "CouldNotAutoloadMatchingModule"),
        ("Get-Nothing", "CommandNotFoundException"),
        // There is nobody to ask: a prompt fails and never hangs.
        ("Read-Answer", "HostFunctionNotImplemented,Microsoft.PowerShell.Commands.ReadHostCommand"),
        ("Set-Important", "HostException,Set-Important"),
    ] {
        let out = ask(&client, name).await.unwrap();
        assert_eq!((out.state, out.errors[0].id.as_str()), (PipelineState::Failed, id), "{name}");
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn five_commands_are_answered_beside_one_that_takes_long() {
    let Some(client) = engine(PoolOptions { runspaces: 6, ..PoolOptions::default() }) else { return };
    is_usable(&client).await;
    let quick = async {
        tokio::join!(
            is_usable(&client),
            is_usable(&client),
            is_usable(&client),
            is_usable(&client),
            is_usable(&client)
        )
    };
    // The long one is asked for first, and would hold up the others for ten minutes. Dropped, it is stopped.
    tokio::select! {
        biased;
        long = ask(&client, "Wait-Long") => panic!("{long:?}"),
        _ = quick => {}
    }
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_deadline_stops_the_command_and_the_pool_serves_on() {
    let options = PoolOptions { runspaces: 1, ..PoolOptions::default() };
    let Some(client) = engine(options) else { return };
    is_usable(&client).await;
    let e = client.invoke(&command("Wait-Long"), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(&e, Error::Lost(why) if why.contains("deadline")) && e.outcome_unknown(), "{e}");
    // In the only runspace: it is free again.
    is_usable(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn a_command_that_cannot_be_stopped_costs_its_engine_and_another_serves_on() {
    let options =
        PoolOptions { runspaces: 1, stop_timeout: Duration::from_millis(500), ..PoolOptions::default() };
    let Some(client) = engine(options) else { return };
    is_usable(&client).await;
    let e = client.invoke(&command("Wait-Stuck"), Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(e, Error::Lost(_)), "{e}");
    is_usable(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn an_engine_that_is_lost_leaves_the_outcome_unknown_and_another_serves_on() {
    let Some(client) = engine(PoolOptions::default()) else { return };
    // What is written past PowerShell into the pipe cannot be told from the protocol.
    for (name, words) in [("Stop-Engine", "ended"), ("Write-Pipe", "raw")] {
        let e = ask(&client, name).await.unwrap_err();
        assert!(matches!(&e, Error::Lost(why) if why.contains(words)) && e.outcome_unknown(), "{name}: {e}");
        is_usable(&client).await;
    }
    // These do no harm: the engine keeps its pipe from the console, and `exit` ends the command only.
    for (name, object) in [("Write-Console", "object"), ("Exit-Engine", "before")] {
        let out = ask(&client, name).await.unwrap();
        assert_eq!((out.state, out.objects), (PipelineState::Completed, vec![Value::text(object)]), "{name}");
    }
    is_usable(&client).await;
    client.close().await.unwrap();
}

#[tokio::test]
async fn too_much_costs_its_command_only() {
    let Some(client) = engine(PoolOptions::default()) else { return };
    let deep = ask(&client, "New-Deep").await.unwrap();
    let deepest = (0..29).fold(deep.objects[0].clone(), |v, _| v.as_list()[0].clone());
    assert_eq!(deepest.as_list(), [Value::text("deep")]);
    for (name, words) in [("New-Million", "nodes"), ("Write-Flood", "50 MiB")] {
        let e = ask(&client, name).await.unwrap_err();
        assert!(matches!(&e, Error::Protocol(why) if why.contains(words)), "{name}: {e}");
        is_usable(&client).await;
    }
    client.close().await.unwrap();
}
