//! The running lab: every server over one world, on loopback ports of its own.

pub mod demo;
mod faults;
pub mod held_file;
pub mod play;
mod story;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use openssl::ssl::{SslAcceptor, SslMethod, SslVersion};
use psrp::client::Endpoint;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::chat::{self, SHELL_PASSWORD, SHELL_USER};
use crate::ports::Reservation;
use crate::scenario::{Authentication, DataCenter, PowerShell, Scenario};
use crate::sql::{self, SQL_PASSWORD, SQL_USER};
use crate::world::answers;
use crate::world::breakpoints::{Arrival, Choice, Moment};
use crate::world::files::DirectoryFiles;
use crate::world::journal::Entry;
use crate::world::{SharedWorld, World};
use crate::{remoting, tds, winrm};

/// Ports that the resource names; where they really are is in `PCF_CONNECT_TO`.
const SQL_PORT: u16 = 1433;
const SHELL_PORT: u16 = 5986;
const SHELL_HTTP_PORT: u16 = 5985;
const FRONT_END_PORT: u16 = 5061;
const CHAT_PORT: u16 = 5041;

/// What the directory of a folder is called besides while its data centre is lost: nobody finds it.
const LOST: &str = ".lost";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Service {
    Sql,
    Shell,
    ShellHttp,
    Plain,
}

struct Place {
    host: String,
    port: u16,
    real: Arc<Reservation>,
    service: Service,
}

/// A running lab.
pub struct Lab {
    world: SharedWorld,
    scenario: Scenario,
    directory: PathBuf,
    places: Vec<Place>,
    tls: SslAcceptor,
    ca_pem: String,
    /// For each data centre: how to stop its servers, and their tasks.
    running: BTreeMap<String, (watch::Sender<bool>, JoinSet<()>)>,
    /// The Management Shells, by host.
    shells: BTreeMap<String, winrm::Service>,
    /// The Management Shells' engines, if they are real ones.
    engines: Option<winrm::engine::Engines>,
    /// What belongs to the lab as a whole: its clock, and who answers the engines.
    clock: JoinSet<()>,
}

/// A bundle of public roots that holds none.
const NO_ROOTS: &str = "no-roots.pem";

/// The volume of a data centre's backup share, and its directory.
fn logs(d: &DataCenter) -> String {
    format!("{}-logs", d.name)
}

/// The volume of a data centre's copy folder, and its directory.
fn copy(d: &DataCenter) -> String {
    format!("{}-copy", d.name)
}

fn certificates(hosts: &[String]) -> Result<(String, SslAcceptor), String> {
    let text = |e: rcgen::Error| e.to_string();
    let ca_key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(text)?;
    let mut ca = CertificateParams::new(Vec::<String>::new()).map_err(text)?;
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.distinguished_name.push(DnType::CommonName, "CA of the lab");
    let ca_pem = ca.self_signed(&ca_key).map_err(text)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let key = KeyPair::generate().map_err(text)?;
    let mut names = hosts.to_vec();
    names.extend(["localhost".to_string(), "127.0.0.1".into()]);
    let certificate = CertificateParams::new(names).and_then(|p| p.signed_by(&key, &issuer)).map_err(text)?;
    let bad = |e: openssl::error::ErrorStack| e.to_string();
    let mut acceptor = SslAcceptor::mozilla_intermediate(SslMethod::tls_server()).map_err(bad)?;
    acceptor.set_max_proto_version(Some(SslVersion::TLS1_2)).map_err(bad)?;
    let key = openssl::pkey::PKey::private_key_from_pem(key.serialize_pem().as_bytes()).map_err(bad)?;
    let certificate = openssl::x509::X509::from_pem(certificate.pem().as_bytes()).map_err(bad)?;
    acceptor.set_private_key(&key).map_err(bad)?;
    acceptor.set_certificate(&certificate).map_err(bad)?;
    Ok((ca_pem, acceptor.build()))
}

impl Lab {
    /// Starts a lab in a directory.
    pub async fn start(scenario: Scenario, directory: &Path) -> Result<Lab, String> {
        let scenario = scenario.in_dialect();
        let mut folders = Vec::new();
        for d in &scenario.data_centers {
            folders.push((d.backup_share.clone(), directory.join(logs(d))));
            folders.push((d.copy_folder.clone(), directory.join(copy(d))));
            folders.push((format!(r"\\{}\mirror", d.name), directory.join(format!("mirror-{}", d.name))));
        }
        for (_, path) in &folders {
            std::fs::create_dir_all(path).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        let mut services = Vec::new();
        for d in &scenario.data_centers {
            services.push((d.sql_server.clone(), SQL_PORT, Service::Sql));
            services.push((d.mirror.clone(), SQL_PORT, Service::Sql));
            services.push((d.management_shell.clone(), SHELL_PORT, Service::Shell));
            services.push((d.management_shell.clone(), SHELL_HTTP_PORT, Service::ShellHttp));
            for host in d.front_ends(scenario.dialect) {
                services.push((host, FRONT_END_PORT, Service::Plain));
            }
            services.extend(d.servers.iter().map(|s| (s.clone(), CHAT_PORT, Service::Plain)));
        }
        let hosts: Vec<String> = services.iter().map(|(h, _, _)| h.clone()).collect();
        let (ca_pem, tls) = certificates(&hosts)?;
        std::fs::write(directory.join("ca.crt"), &ca_pem).map_err(|e| e.to_string())?;
        std::fs::write(directory.join(NO_ROOTS), "").map_err(|e| e.to_string())?;
        let world = World::new(scenario.clone(), Box::new(DirectoryFiles::new(folders)), Timestamp::now())?;
        let mut lab = Lab {
            world: SharedWorld::new(world),
            scenario,
            directory: directory.into(),
            places: Vec::new(),
            tls,
            ca_pem,
            running: BTreeMap::new(),
            shells: BTreeMap::new(),
            engines: None,
            clock: JoinSet::new(),
        };
        if lab.scenario.dialect.power_shell == PowerShell::Engine {
            let (engines, answers) = winrm::engine::Engines::prepare(directory, lab.world.clone())?;
            lab.engines = Some(engines);
            lab.clock.spawn(answers);
        }
        for (host, port, service) in services {
            lab.places.push(Place { host, port, real: Arc::new(Reservation::new()?), service });
        }
        for name in lab.scenario.data_centers.iter().map(|d| d.name.clone()).collect::<Vec<_>>() {
            lab.listen(&name).await?;
        }
        let world = lab.world.clone();
        lab.clock.spawn(async move {
            // The world's clock: everything that is timed happens within this step of it.
            let mut tick = tokio::time::interval(Duration::from_millis(20));
            loop {
                tick.tick().await;
                drop(world.now());
            }
        });
        Ok(lab)
    }

    async fn listen(&mut self, data_center: &str) -> Result<(), String> {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for p in self.places.iter().filter(|p| self.scenario.data_center_of(&p.host) == Some(data_center)) {
            let listener = p.real.listen()?;
            let (world, host, tls, stopped) =
                (self.world.clone(), p.host.clone(), self.tls.clone(), stopped.clone());
            match p.service {
                Service::Sql => {
                    let port = (p.real.clone(), listener);
                    drop(tasks.spawn(tds::serve(world, host, port, tls, stopped)));
                }
                Service::Shell | Service::ShellHttp => {
                    let service = self
                        .shells
                        .entry(host.clone())
                        .or_insert_with(|| winrm::Service::new(world, &host, self.engines.clone()));
                    let transport = match p.service {
                        Service::Shell => winrm::Transport::Https(tls),
                        Service::ShellHttp | Service::Sql | Service::Plain => winrm::Transport::Http,
                    };
                    drop(tasks.spawn(service.clone().serve(listener, transport, stopped)));
                }
                Service::Plain => drop(tasks.spawn(plain(listener, stopped))),
            }
        }
        self.running.insert(data_center.into(), (stop, tasks));
        Ok(())
    }

    /// Cuts a data centre off: connections are cut, then refused.
    pub async fn lose(&mut self, data_center: &str) -> Result<(), String> {
        self.world.now().lose(data_center)?;
        self.world.announce();
        if let Some((stop, mut tasks)) = self.running.remove(data_center) {
            stop.send_replace(true);
            while tasks.join_next().await.is_some() {}
        }
        self.move_folders(data_center, "", LOST)
    }

    /// Gives a data centre its power back, on the same ports.
    pub async fn restore(&mut self, data_center: &str) -> Result<(), String> {
        self.move_folders(data_center, LOST, "")?;
        self.world.now().restore(data_center)?;
        if !self.running.contains_key(data_center) {
            self.listen(data_center).await?;
        }
        self.world.announce();
        Ok(())
    }

    /// The file server stands in the data centre: what is on it goes and comes back with it, for SQL Server and for the operator.
    fn move_folders(&self, data_center: &str, from: &str, to: &str) -> Result<(), String> {
        let found = self.scenario.data_centers.iter().filter(|d| d.name == data_center);
        for folder in found.flat_map(|d| [logs(d), copy(d)]) {
            let [from, to] = [from, to].map(|end| self.directory.join(format!("{folder}{end}")));
            if from.is_dir() {
                std::fs::rename(&from, &to).map_err(|e| format!("{}: {e}", from.display()))?;
            }
        }
        Ok(())
    }

    /// Moves the Central Management store, as its administrator does after a loss.
    pub fn fail_over_central_management(&self, data_center: &str) {
        chat::fail_over_central_management(&mut self.world.now(), data_center);
    }

    /// The world.
    pub fn world(&self) -> &SharedWorld {
        &self.world
    }
    /// What it was made from.
    pub fn scenario(&self) -> &Scenario {
        &self.scenario
    }
    /// For each data centre the share for the log backups that feed its copy: directories of this machine.
    pub fn backup_shares(&self) -> Vec<PathBuf> {
        self.scenario.data_centers.iter().map(|d| self.directory.join(logs(d))).collect()
    }
    /// For each data centre the folder that they are copied to: directories of this machine.
    pub fn copy_folders(&self) -> Vec<PathBuf> {
        self.scenario.data_centers.iter().map(|d| self.directory.join(copy(d))).collect()
    }
    /// Sets what is held from now on, and where; `None`: nothing more.
    pub fn break_at(&self, choice: Option<Choice>) {
        self.world.now().breakpoints.set(choice);
    }
    /// Sets what is answered otherwise than it should be from now on; `None`: nothing more.
    pub fn answer_by(&self, choice: Option<answers::Choice>) {
        self.world.now().answers.set(choice);
    }
    /// What is held at the moment. Whatever loses its client is not held any more.
    pub fn held(&self) -> Vec<(Moment, Arrival)> {
        self.world.now().breakpoints.held()
    }
    /// Lets everything that is held go on.
    pub fn release(&self) {
        self.world.now().breakpoints.release_all();
    }
    /// The journal so far.
    pub fn journal(&self) -> Vec<Entry> {
        self.world.now().journal.entries().to_vec()
    }
    /// What every server holds.
    pub fn state(&self) -> serde_json::Value {
        let shells: BTreeMap<&String, winrm::Count> =
            self.shells.iter().map(|(host, service)| (host, service.count())).collect();
        let w = self.world.now();
        let up: BTreeMap<&String, bool> =
            w.data_centers.iter().map(|(n, s)| (n, *s == crate::world::DataCenterState::Up)).collect();
        json!({"dataCenters": up, "sqlServers": sql::state(&w), "chat": chat::state(&w), "shells": shells})
    }

    /// How to start `pcf-operator` against this lab.
    pub fn operator_env(&self) -> BTreeMap<String, String> {
        let connect: Vec<String> =
            self.places.iter().map(|p| format!("{}:{}=127.0.0.1:{}", p.host, p.port, p.real.port)).collect();
        let folders = self.scenario.data_centers.iter().flat_map(|d| [logs(d), copy(d)]);
        let volumes: Vec<String> =
            folders.map(|f| format!("{f}={}", self.directory.join(&f).display())).collect();
        BTreeMap::from([
            ("PCF_CONNECT_TO".into(), connect.join(",")),
            ("PCF_VOLUMES".into(), volumes.join(",")),
            // None of the lab's servers is certified by a public root: OpenSSL would parse a whole bundle of them at each connection
            // (three quarters of what an operator computed), where it is not a folder by subjects' hashes as in the image.
            ("SSL_CERT_FILE".into(), self.directory.join(NO_ROOTS).display().to_string()),
            // The product waits 30 s before it takes a silent side for dead; a lab has no time for that.
            ("PCF_SILENCE".into(), "2s".into()),
            ("PCF_POLL".into(), "500ms".into()),
        ])
    }

    /// Where on this machine a port of a host really is.
    fn real(&self, host: &str, port: u16) -> Option<u16> {
        self.places.iter().find(|p| p.host == host && p.port == port).map(|p| p.real.port)
    }

    /// How a client logs on to the Management Shell of a data centre; none if there is no such data centre.
    pub fn management_shell(&self, data_center: &str) -> Option<Endpoint> {
        let host = &self.scenario.data_center(data_center)?.management_shell;
        Some(remoting::endpoint(self.ca_pem.clone().into(), host, self.real(host, SHELL_PORT)?))
    }

    /// A resource, and the Secrets that it needs, that fit this lab.
    pub fn resource(&self, name: &str) -> String {
        resource(&self.scenario, &self.ca_pem, name)
    }

    /// What a tool outside needs to know of this lab.
    pub fn description(
        &self,
        kubeconfig: Option<&Path>,
        resource: &Path,
        operator: &BTreeMap<String, String>,
    ) -> serde_json::Value {
        let real = |host: &str, port: u16| self.real(host, port).unwrap_or(0);
        let ca = self.directory.join("ca.crt");
        let centers: serde_json::Map<String, serde_json::Value> = self
            .scenario
            .data_centers
            .iter()
            .map(|d| {
                let sql = |h: &str| json!({"host": "127.0.0.1", "port": real(h, SQL_PORT), "user": SQL_USER, "password": SQL_PASSWORD, "caFile": ca});
                (
                    d.name.clone(),
                    json!({
                        "sqlServer": sql(&d.sql_server),
                        "mirror": sql(&d.mirror),
                        "managementShell": {"url": format!("https://127.0.0.1:{}/wsman", real(&d.management_shell, SHELL_PORT)),
                            "negotiateUrl": format!("http://127.0.0.1:{}/wsman", real(&d.management_shell, SHELL_HTTP_PORT)), "user": SHELL_USER,
                            "password": SHELL_PASSWORD, "configurationName": "PersistentChat.Failover", "caFile": ca},
                        "backupShare": self.directory.join(logs(d)),
                        "copyFolder": self.directory.join(copy(d)),
                    }),
                )
            })
            .collect();
        json!({"kubeconfig": kubeconfig, "resource": resource, "operator": {"env": operator, "args": ["run"]}, "dataCenters": centers})
    }
}

/// A resource, and the Secrets that it needs, that fit the lab of a scenario.
pub fn resource(scenario: &Scenario, ca_pem: &str, name: &str) -> String {
    let quote = |s: &str| serde_json::Value::String(s.into()).to_string();
    let mut text = String::new();
    let secret = |name: &str, user: &str, password: &str, hosts: &[&String]| {
        let hosts = hosts.iter().map(|h| h.as_str()).collect::<Vec<_>>().join(",");
        format!(
            "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {name}\n  annotations: {{persistentchat.dev/hosts: {}}}\ntype: kubernetes.io/basic-auth\nstringData:\n  username: {}\n  password: {}\n---\n",
            quote(&hosts),
            quote(user),
            quote(password)
        )
    };
    for d in &scenario.data_centers {
        text.push_str(&secret(
            &format!("{}-sql", d.name),
            SQL_USER,
            SQL_PASSWORD,
            &[&d.sql_server, &d.mirror],
        ));
        text.push_str(&secret(
            &format!("{}-shell", d.name),
            SHELL_USER,
            SHELL_PASSWORD,
            &[&d.management_shell],
        ));
    }
    text.push_str(&format!(
        "apiVersion: v1\nkind: Secret\nmetadata: {{name: corporate-ca}}\nstringData:\n  ca.crt: {}\n---\n",
        quote(ca_pem)
    ));
    text.push_str(&format!(
        "apiVersion: persistentchat.dev/v1alpha1\nkind: PersistentChatFailover\nmetadata: {{name: {name}}}\nspec:\n  pool: {}\n  activeDataCenter: {}\n  database: {}\n  dataCenters:\n",
        scenario.pool,
        scenario.active,
        scenario.database
    ));
    for (d, store) in scenario.data_centers.iter().zip(["Primary", "Backup"]) {
        let tls = "tls: {caRef: {name: corporate-ca}}";
        let shell = match scenario.authentication {
            Authentication::Basic => format!("port: {SHELL_PORT}, authentication: Basic"),
            Authentication::Negotiate => format!("port: {SHELL_HTTP_PORT}, authentication: Negotiate"),
        };
        let sql = |host: &str| {
            format!(
                "{{host: {host}, {}credentialsSecretRef: {{name: {}-sql}}, {tls}}}",
                if d.instance.is_empty() { String::new() } else { format!("instance: {}, ", d.instance) },
                d.name
            )
        };
        text.push_str(&format!(
            "  - name: {n}\n    store: {store}\n    sqlServer: {}\n    mirror: {}\n    mirrorFileShare: '\\\\{n}\\mirror'\n    managementShell: {{host: {}, {shell}, configurationName: PersistentChat.Failover, credentialsSecretRef: {{name: {n}-shell}}, {tls}}}\n    servers: [{}]\n    logShipping:\n      backupShare: {{unc: '{}', volume: {}}}\n      copyFolder: {{path: '{}', volume: {}}}\n",
            sql(&d.sql_server),
            sql(&d.mirror),
            d.management_shell,
            d.servers.join(", "),
            d.backup_share,
            logs(d),
            d.copy_folder,
            copy(d),
            n = d.name
        ));
    }
    text
}

/// A port that only listens: SIP of a Front End, Persistent Chat's own.
async fn plain(listener: TcpListener, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|s| *s) => return,
            accepted = listener.accept() => if let Err(e) = accepted { tracing::debug!(error = %e, "accept") },
        }
    }
}
