//! Every cmdlet that the operator can send, in every form, bound by a real PowerShell to functions with the parameters that the help pages
//! give (the lab's module: what they do is simulated).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "common/product.rs"]
mod product;

use std::path::Path;
use std::time::Duration;

use lab::scenario::{Dialect, PowerShell, Scenario};
use lab::serve::Lab;
use product::cmdlets;
use psrp::client::{Client, Output, PoolOptions};
use psrp::clixml::Value;
use psrp::message::Command;

const LIMIT: Duration = Duration::from_secs(60);

/// Why a command could not be bound: there is no such cmdlet or parameter, or a value is none of its type.
fn unbound(out: &Output) -> Vec<String> {
    let of_binding = |name: &str| name.contains("ParameterBinding") || name.contains("CommandNotFound");
    let errors = out.errors.iter().filter(|e| of_binding(e.exception_type()));
    errors.map(|e| format!("{} ({})", e.message, e.id)).collect()
}

#[test]
fn every_cmdlet_of_the_module_is_on_its_list() {
    let text = include_str!("../src/systems/management_shell/cmdlets.rs");
    let forms = cmdlets::forms();
    let made: Vec<&str> = text
        .lines()
        .filter_map(|l| l.strip_prefix("pub fn ")?.split('(').next())
        .filter(|n| *n != "forms")
        .collect();
    assert!(made.len() > 9, "{made:?}");
    for name in made {
        assert!(forms.iter().any(|(of, _)| *of == name), "{name} is not listed");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_cmdlet_in_every_form_is_bound() {
    if psrp::engine::for_tests(Path::new("")).expect("an engine is required").is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let scenario = Scenario {
        dialect: Dialect { power_shell: PowerShell::Engine, ..Dialect::default() },
        ..Scenario::default()
    };
    let lab = Lab::start(scenario, directory.path()).await.unwrap();
    // Where a failover goes.
    let endpoint = lab.management_shell(&lab.scenario().data_centers[1].name).unwrap();
    let client = Client::connect_with(&endpoint, PoolOptions::default()).await.unwrap();
    for (_, cmdlet) in cmdlets::forms() {
        let command = cmdlet.command();
        let out = client.invoke(&command, LIMIT).await.unwrap();
        assert_eq!(unbound(&out), Vec::<String>::new(), "{}", cmdlet.shown());
        // What arrived in the lab is what was sent: it is in its journal as a human would type it.
        let journal = serde_json::to_string(&lab.journal()).unwrap();
        assert!(journal.contains(cmdlet.name), "{}", cmdlet.shown());
        psrp::engine::driven("cmdlets_on_powershell", 1).unwrap();
    }
    // And a binding that is wrong is told as one.
    for (name, parameter, value) in [
        ("Get-CsPersistentChatStates", "LocalStore", Value::Bool(true)),
        ("Get-CsPersistentChatState", "LocalStores", Value::Bool(true)),
        ("Set-CsPersistentChatState", "PoolState", Value::text("Moved")),
        ("Test-CsDatabase", "SqlServerFqdn", Value::text("not a name")),
    ] {
        let command = Command { name: name.into(), parameters: vec![(parameter.into(), value)] };
        let out = client.invoke(&command, LIMIT).await.unwrap();
        assert!(!unbound(&out).is_empty(), "{command:?}: {out:?}");
    }
    client.close().await.unwrap();
}
