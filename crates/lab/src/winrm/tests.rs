//! WinRM as Windows does it, asked envelope by envelope. Each test says which source it is from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use psrp::faults;
use psrp::fragment::{Assembler, Fragmenter};
use psrp::message::{self, Command, Message, kind};
use psrp::wsman::{self, Envelope, Fault, Request, action};
use uuid::Uuid;

use super::Service;
use crate::scenario::{Dialect, PowerShell, Scenario, WinRm};
use crate::world::files::MemoryFiles;
use crate::world::{SharedWorld, World};

const HOST: &str = "sea-fe-1.litwareinc.com";

struct Bench {
    service: Service,
    world: SharedWorld,
}

/// A client, by its SessionId.
#[derive(Clone, Copy)]
struct Client<'b> {
    bench: &'b Bench,
    session: &'static str,
}

fn bench(win_rm: WinRm, power_shell: PowerShell) -> Bench {
    let scenario =
        Scenario { win_rm, dialect: Dialect { power_shell, ..Dialect::default() }, ..Scenario::default() };
    let world = World::new(scenario, Box::<MemoryFiles>::default(), Timestamp::now()).unwrap();
    let world = SharedWorld::new(world);
    Bench { service: Service::new(world.clone(), HOST, None), world }
}

impl Bench {
    fn client(&self, session: &'static str) -> Client<'_> {
        Client { bench: self, session }
    }
    /// Cmdlets of a name that have begun.
    fn begun(&self, name: &str) -> usize {
        self.world.now().journal.entries().iter().filter(|e| e.name == name).count()
    }
}

impl Client<'_> {
    async fn ask(
        &self,
        action: &str,
        resource: &str,
        shell: Option<&str>,
        body: &str,
    ) -> Result<Envelope, Fault> {
        let request = Request {
            to: "http://host/wsman",
            action,
            resource_uri: resource,
            message_id: &Uuid::new_v4().to_string(),
            session_id: self.session,
            timeout: 1,
            shell_id: shell,
            options: &[],
            body,
        };
        let (_, text) = self.bench.service.0.soap(&request.write()).await;
        let answer = Envelope::read(&text).unwrap();
        match answer.fault() {
            Some(fault) => Err(fault),
            None => Ok(answer),
        }
    }

    async fn about(&self, action: &str, shell: &str, body: &str) -> Result<Envelope, Fault> {
        let resource = format!("{}PersistentChat.Failover", wsman::CONFIGURATION);
        self.ask(action, &resource, Some(shell), body).await
    }

    async fn create(&self, attributes: &str, inside: &str) -> Result<String, Fault> {
        let pool = Uuid::new_v4();
        let mut fragmenter = Fragmenter::new(32 * 1024);
        let bytes = [
            (kind::SESSION_CAPABILITY, message::session_capability()),
            (kind::INIT_RUNSPACEPOOL, message::init_runspacepool(1)),
        ];
        let bytes = bytes.map(|(kind, body)| {
            fragmenter.fragment(&Message { kind, pool, pipeline: Uuid::nil(), body }.encode(true)).concat()
        });
        let id = pool.to_string().to_uppercase();
        let body = format!(
            "<rsp:Shell ShellId=\"{id}\"{attributes}>{inside}<creationXml xmlns=\"x\">{}</creationXml></rsp:Shell>",
            BASE64.encode(bytes.concat())
        );
        let resource = format!("{}PersistentChat.Failover", wsman::CONFIGURATION);
        self.ask(action::CREATE, &resource, None, &body).await.map(|_| id)
    }

    async fn command(&self, shell: &str, name: &str) -> String {
        let id = Uuid::new_v4();
        let command = Command { name: name.into(), parameters: vec![] };
        let m = Message {
            kind: kind::CREATE_PIPELINE,
            pool: Uuid::parse_str(shell).unwrap(),
            pipeline: id,
            body: message::create_pipeline(&command),
        };
        let id = id.to_string().to_uppercase();
        let body = format!(
            "<rsp:CommandLine CommandId=\"{id}\"><rsp:Command/><rsp:Arguments>{}</rsp:Arguments></rsp:CommandLine>",
            BASE64.encode(Fragmenter::new(32 * 1024).fragment(&m.encode(true)).concat())
        );
        self.about(action::COMMAND, shell, &body).await.unwrap();
        id
    }

    /// Messages that a Receive brings, and whether it says that the command has ended.
    async fn receive(&self, shell: &str, command: Option<&str>) -> Result<(Vec<Message>, bool), Fault> {
        let id = command.map(|c| format!(" CommandId=\"{c}\"")).unwrap_or_default();
        let body = format!("<rsp:Receive><rsp:DesiredStream{id}>stdout</rsp:DesiredStream></rsp:Receive>");
        let answer = self.about(action::RECEIVE, shell, &body).await?;
        let (mut streams, mut assembler) = (vec![], Assembler::default());
        answer.body.all("Stream", &mut streams);
        let bytes = streams.iter().map(|s| BASE64.decode(&s.text).unwrap());
        let messages = bytes.flat_map(|b| assembler.push(&b).unwrap()).map(|m| Message::decode(&m).unwrap());
        Ok((messages.collect(), answer.body.find("CommandState").is_some()))
    }

    /// Receives until the command has ended.
    async fn receives_to_the_end(&self, shell: &str, command: &str) -> Vec<u32> {
        let mut kinds = vec![];
        loop {
            let (messages, done) = self.receive(shell, Some(command)).await.unwrap();
            kinds.extend(messages.iter().map(|m| m.kind));
            if done {
                return kinds;
            }
        }
    }

    async fn connect(&self, shell: &str, version: &str) -> Result<Envelope, Fault> {
        let pool = Uuid::parse_str(shell).unwrap();
        let mut fragmenter = Fragmenter::new(32 * 1024);
        let said = [
            (kind::SESSION_CAPABILITY, message::capability(version)),
            (kind::CONNECT_RUNSPACEPOOL, "<S/>".into()),
        ];
        let bytes = said.map(|(kind, body)| {
            fragmenter.fragment(&Message { kind, pool, pipeline: Uuid::nil(), body }.encode(true)).concat()
        });
        let body = format!(
            "<rsp:Connect><connectXml xmlns=\"x\">{}</connectXml></rsp:Connect>",
            BASE64.encode(bytes.concat())
        );
        self.about(action::CONNECT, shell, &body).await
    }

    async fn disconnect(&self, shell: &str) {
        let body = "<rsp:Disconnect><rsp:BufferMode>Drop</rsp:BufferMode></rsp:Disconnect>";
        self.about(action::DISCONNECT, shell, body).await.unwrap();
    }

    async fn list(&self, of: &str, shell: &str) -> String {
        let body = format!(
            "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"><w:Filter><w:Selector Name=\"ShellId\">{shell}</w:Selector></w:Filter></n:Enumerate>"
        );
        let resource = format!("{}{of}", wsman::SHELL);
        let answer = self.ask(action::ENUMERATE, &resource, None, &body).await.unwrap();
        format!("{:?}", answer.body)
    }

    async fn until_disconnected(&self, shell: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.list("", shell).await.contains("Disconnected") {
            assert!(Instant::now() < deadline, "it stays connected");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn code<T: std::fmt::Debug>(answer: Result<T, Fault>) -> u32 {
    answer.unwrap_err().code
}

/// `WSManPluginTransportManager.SendDataToClient` of PowerShell; `test_psrp_disconnected_commands` of pypsrp.
#[tokio::test]
async fn a_command_that_nobody_receives_from_stands_still_and_goes_on_after_one_receive() {
    let bench = bench(WinRm::default(), PowerShell::Simulated);
    let (a, b) = (bench.client("uuid:A"), bench.client("uuid:B"));
    let shell = a.create("", "").await.unwrap();
    let command = a.command(&shell, "Get-CsPersistentChatState").await;
    a.disconnect(&shell).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(bench.begun("Get-CsPersistentChatState"), 0);
    let listed = b.list("/Command", &shell).await;
    assert!(listed.contains("\"CommandState\"") && listed.contains("Running"), "{listed}");
    assert!(!listed.contains("(\"State\"") && !listed.contains("CommandState/"), "a bare word: {listed}");
    assert_eq!(code(a.receive(&shell, Some(&command)).await), faults::SHELL_DISCONNECTED);
    b.connect(&shell, "2.2").await.unwrap();
    // What the pool says to who connects.
    let (said, _) = b.receive(&shell, None).await.unwrap();
    assert_eq!(said[0].kind, kind::APPLICATION_PRIVATE_DATA);
    let (first, _) = b.receive(&shell, Some(&command)).await.unwrap();
    assert_eq!(first[0].kind, kind::PROGRESS_RECORD);
    // It goes on now, also if nobody receives any more; and is listed as ended when it has.
    b.disconnect(&shell).await;
    let deadline = Instant::now() + Duration::from_secs(10);
    while !a.list("/Command", &shell).await.contains("Done") {
        assert!(Instant::now() < deadline, "it does not go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    a.connect(&shell, "2.2").await.unwrap();
    let kinds = a.receives_to_the_end(&shell, &command).await;
    assert_eq!(kinds, [kind::PIPELINE_OUTPUT, kind::PIPELINE_STATE]);
    // What was handed out comes to nobody else.
    assert_eq!(code(a.receive(&shell, Some(&command)).await), faults::TIMED_OUT);
}

/// `[MS-WSMV]` 3.1.4.17; evil-winrm-py 3 and pypsrp 21 for what happens by itself.
#[tokio::test]
async fn a_shell_is_somebodys_until_it_is_left_or_nobody_has_asked_for_a_while() {
    let bench = bench(WinRm { disconnect_ms: 300, ..WinRm::default() }, PowerShell::Simulated);
    let (a, b) = (bench.client("uuid:A"), bench.client("uuid:B"));
    let shell = a.create("", "").await.unwrap();
    assert_eq!(code(b.connect(&shell, "2.2").await), faults::CONNECTED_ELSEWHERE);
    assert_eq!(code(a.connect(&shell, "2.2").await), faults::CONNECTED_ELSEWHERE);
    assert_eq!(code(b.receive(&shell, None).await), faults::SESSION_MISMATCH);
    a.receive(&shell, None).await.unwrap();
    // Who waits is there: longer than the host is patient.
    assert_eq!(code(a.receive(&shell, None).await), faults::TIMED_OUT);
    b.until_disconnected(&shell).await;
    assert_eq!(code(a.receive(&shell, None).await), faults::SHELL_DISCONNECTED);
    // That others ask for it is no sign of life of its client's.
    a.about(action::RECONNECT, &shell, "").await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while b.connect(&shell, "2.2").await.is_err() {
        assert!(Instant::now() < deadline, "who asks for it keeps it from being given");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    b.disconnect(&shell).await;
    a.connect(&shell, "2.2").await.unwrap();
    b.until_disconnected(&shell).await;
    // The same client goes back to it, another one connects to it.
    a.about(action::RECONNECT, &shell, "").await.unwrap();
    b.until_disconnected(&shell).await;
    b.connect(&shell, "2.2").await.unwrap();
    assert_eq!(code(a.about(action::RECONNECT, &shell, "").await), faults::SESSION_MISMATCH);
    a.about(action::DELETE, &shell, "").await.unwrap();
    assert_eq!(code(b.receive(&shell, None).await), faults::INVALID_SELECTORS);
    let count = bench.service.count();
    assert_eq!((count.open, count.most, count.created), (0, 1, 1));
}

/// `serverremotesession.cs` of PowerShell's first public source.
#[tokio::test]
async fn a_client_of_another_version_does_not_connect() {
    for (server, version, connects) in [
        (PowerShell::V4, "2.2", true),
        (PowerShell::V4, "2.3", false),
        (PowerShell::Simulated, "2.2", true),
        (PowerShell::Simulated, "2.3", true),
        (PowerShell::Simulated, "2.1", false),
    ] {
        let bench = bench(WinRm::default(), server);
        let a = bench.client("uuid:A");
        let shell = a.create("", "").await.unwrap();
        a.disconnect(&shell).await;
        let answer = a.connect(&shell, version).await;
        assert_eq!(answer.is_ok(), connects, "{server:?} {version}: {answer:?}");
        assert!(connects || code(answer) == faults::CONNECT_FAILED);
    }
}

/// WinRb's recorded quota fault, in the form of newer and of older hosts; `MaxConcurrentOperationsPerUser`.
#[tokio::test]
async fn there_are_so_many_shells_and_operations_and_no_more() {
    for server in [PowerShell::Simulated, PowerShell::V4] {
        let bench = bench(WinRm { shells: 2, operations: 2, ..WinRm::default() }, server);
        let a = bench.client("uuid:A");
        let shells = [a.create("", "").await.unwrap(), a.create("", "").await.unwrap()];
        let refused = a.create("", "").await.unwrap_err();
        assert_eq!((refused.code, refused.subcode.as_str()), (faults::MAX_SHELLS, "w:QuotaLimit"));
        let (first, second, third) =
            tokio::join!(a.receive(&shells[0], None), a.receive(&shells[1], None), async {
                tokio::task::yield_now().await;
                a.receive(&shells[0], None).await
            });
        drop((first, second, third));
        for shell in &shells {
            // What was there at once has been read; now both wait.
            let _ = a.receive(shell, None).await;
        }
        let (_, _, third) = tokio::join!(a.receive(&shells[0], None), a.receive(&shells[1], None), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            a.receive(&shells[0], None).await
        });
        assert_eq!(code(third), faults::MAX_OPERATIONS);
        a.about(action::DELETE, &shells[0], "").await.unwrap();
        a.create("", "").await.unwrap();
        let count = bench.service.count();
        assert_eq!((count.open, count.most, count.created), (2, 2, 3));
    }
}

/// `[MS-WSMV]` 3.1.4.15 and about_Remote_Disconnected_Sessions: the idle time-out counts from when a shell is left, and ends what runs.
#[tokio::test]
async fn a_shell_that_nobody_asks_for_longer_than_its_idle_timeout_is_gone_with_what_runs_in_it() {
    let scale = WinRm { disconnect_ms: 100, idle_second_ms: 5, ..WinRm::default() };
    let bench = bench(scale, PowerShell::Simulated);
    bench.world.now().scenario.cmdlet_ms = 60_000;
    let a = bench.client("uuid:A");
    assert_eq!(
        code(a.create("", "<rsp:IdleTimeOut>PT59.000S</rsp:IdleTimeOut>").await),
        faults::IDLE_TIMEOUT_OUT_OF_BOUNDS
    );
    let shell = a.create(" Name=\"n\"", "<rsp:IdleTimeOut>PT60.000S</rsp:IdleTimeOut>").await.unwrap();
    let command = a.command(&shell, "Get-CsPersistentChatState").await;
    a.receive(&shell, Some(&command)).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while bench.service.count().open > 0 {
        assert!(Instant::now() < deadline, "it stays");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let world = bench.world.now();
    let ended = world.journal.entries().iter().map(|e| e.outcome.clone()).next_back();
    assert_eq!(ended, Some(crate::world::journal::Outcome::Aborted));
}

/// `wsmerror.h`: the number of the quota is not that of an unknown configuration.
#[tokio::test]
async fn an_unknown_configuration_and_a_stopped_command_are_told_as_such() {
    let bench = bench(WinRm::default(), PowerShell::Simulated);
    let a = bench.client("uuid:A");
    let resource = format!("{}Other", wsman::CONFIGURATION);
    assert_eq!(code(a.ask(action::CREATE, &resource, None, "<rsp:Shell/>").await), faults::NO_CONFIGURATION);
    // Stopped before it has begun: it never begins.
    let shell = a.create("", "").await.unwrap();
    let command = a.command(&shell, "Get-CsPersistentChatState").await;
    let signal = format!(
        "<rsp:Signal CommandId=\"{command}\"><rsp:Code>{}</rsp:Code></rsp:Signal>",
        wsman::SIGNAL_STOP
    );
    a.about(action::SIGNAL, &shell, &signal).await.unwrap();
    let (said, done) = a.receive(&shell, Some(&command)).await.unwrap();
    let state = said.iter().rev().find(|m| m.kind == kind::PIPELINE_STATE).unwrap();
    let stopped = message::parse_pipeline_state(&state.body).unwrap().unwrap().0;
    assert!(done && stopped == message::PipelineState::Stopped);
    assert_eq!(bench.begun("Get-CsPersistentChatState"), 0);
}

/// [MS-WSMV] 3.1.4.8 and the type Shell (2.2.4.37): what Create was told as an attribute is listed as an element. What is listed besides
/// is recorded of Windows hosts (`test_psrp_disconnect_runspaces`), the DELETE by another session too.
#[tokio::test]
async fn a_shell_is_listed_under_the_name_that_its_client_gave_it_and_another_session_deletes_it() {
    let bench = bench(WinRm::default(), PowerShell::default());
    let (one, other) = (bench.client("one"), bench.client("other"));
    let named = one.create(" Name=\"whose it &lt;is&gt;\"", "").await.unwrap();
    let unnamed = one.create("", "").await.unwrap();
    let body = "<n:Enumerate xmlns:n=\"http://schemas.xmlsoap.org/ws/2004/09/enumeration\"/>";
    let listed = other.ask(action::ENUMERATE, wsman::SHELL, None, body).await.unwrap();
    let mut shells = Vec::new();
    listed.body.all("Shell", &mut shells);
    let text = |id: &str, name: &str| {
        let shell = shells.iter().find(|s| s.find("ShellId").unwrap().text == id).unwrap();
        shell.find(name).map(|e| e.text.clone())
    };
    assert_eq!(text(&named, "Name").as_deref(), Some("whose it <is>"));
    assert_eq!(text(&unnamed, "Name"), None);
    for id in [&named, &unnamed] {
        assert_eq!(text(id, "Owner").as_deref(), Some(crate::chat::SHELL_USER));
        assert_eq!(text(id, "State").as_deref(), Some("Connected"));
    }
    other.about(action::DELETE, &named, "").await.unwrap();
    let count = bench.service.count();
    assert_eq!((count.open, count.created), (1, 2));
}
