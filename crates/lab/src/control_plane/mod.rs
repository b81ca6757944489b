//! A real etcd, kube-apiserver and kubectl, built from pinned sources and started on loopback.

use std::io::{Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use sha2::{Digest, Sha256};

use crate::ports::Reservation;

/// Flags of the build; they are part of the cache's key.
const LDFLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.0 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";
const ADMIN_TOKEN: &str = "admin-of-the-lab";

/// A running control plane. Ends when it is dropped.
pub struct ControlPlane {
    directory: PathBuf,
    binaries: PathBuf,
    etcd: Mutex<Option<Child>>,
    api_server: Mutex<Option<Child>>,
    options: Options,
    /// Of etcd (clients, peers) and of the API server. They stay reserved while the API server is down.
    ports: [Reservation; 3],
}

/// What a control plane may have of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Bytes that etcd may store before it takes no more writes; absent: its default of 2 GiB.
    pub quota: Option<u64>,
}

/// How kubectl failed.
#[derive(Debug, thiserror::Error)]
#[error("kubectl {arguments}: {stderr}")]
pub struct KubectlError {
    /// What was asked.
    pub arguments: String,
    /// What it said.
    pub stderr: String,
}

fn module() -> PathBuf {
    std::env::var_os("PCF_CONTROL_PLANE_MODULE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/control-plane"),
        PathBuf::from,
    )
}

/// The folder with `etcd`, `kube-apiserver` and `kubectl`: `KUBEBUILDER_ASSETS`, or built once into a cache.
pub fn binaries() -> Result<PathBuf, String> {
    if let Some(assets) = std::env::var_os("KUBEBUILDER_ASSETS") {
        let assets = PathBuf::from(assets);
        for name in ["etcd", "kube-apiserver", "kubectl"] {
            if !assets.join(name).is_file() {
                return Err(format!(
                    "KUBEBUILDER_ASSETS is {}, but there is no {name} in it",
                    assets.display()
                ));
            }
        }
        return Ok(assets);
    }
    let module = module();
    let mut hash = Sha256::new();
    for file in ["go.mod", "go.sum"] {
        hash.update(
            std::fs::read(module.join(file)).map_err(|e| format!("{}: {e}", module.join(file).display()))?,
        );
    }
    hash.update(LDFLAGS);
    let key: String = hash.finalize().iter().take(8).map(|b| format!("{b:02x}")).collect();
    let cache = std::env::var_os("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache")))
        .ok_or("neither XDG_CACHE_HOME nor HOME is set")?
        .join("persistent-chat-failover");
    std::fs::create_dir_all(&cache).map_err(|e| format!("{}: {e}", cache.display()))?;
    let wanted = cache.join(format!("control-plane-{key}"));
    // Two processes must not build at the same time.
    let lock = std::fs::File::create(cache.join("lock")).map_err(|e| e.to_string())?;
    lock.lock().map_err(|e| format!("{}: {e}", cache.join("lock").display()))?;
    if wanted.join("etcd").is_file() {
        return Ok(wanted);
    }
    eprintln!("building etcd, kube-apiserver and kubectl once, about five minutes: {}", wanted.display());
    let building = cache.join(format!("building-{}", std::process::id()));
    std::fs::create_dir_all(&building).map_err(|e| e.to_string())?;
    let output = Command::new("go")
        .current_dir(&module)
        .env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .args(["build", "-trimpath", "-ldflags", LDFLAGS, "-o"])
        .arg(format!("{}/", building.display()))
        .arg("tool")
        .output()
        .map_err(|e| {
            format!(
                "cannot run go ({e}): install Go 1.26 or newer (https://go.dev/dl), or set KUBEBUILDER_ASSETS"
            )
        })?;
    if !output.status.success() {
        return Err(format!(
            "go build of the control plane failed:\n{}",
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    // etcd's program is called after its package.
    std::fs::rename(building.join("server"), building.join("etcd"))
        .map_err(|e| format!("there is no etcd among what go built: {e}"))?;
    std::fs::rename(&building, &wanted).map_err(|e| e.to_string())?;
    Ok(wanted)
}

/// Makes a child die with us, however we end.
#[allow(unsafe_code)]
pub fn die_with_us(c: &mut Command) -> &mut Command {
    // SAFETY: prctl and its constant argument are async-signal-safe; nothing is allocated between fork and exec.
    unsafe {
        c.pre_exec(|| {
            if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) == 0 {
                Ok(())
            } else {
                Err(std::io::Error::last_os_error())
            }
        })
    }
}

fn tail(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

/// Copies a folder of folders and files to where there is none yet.
fn copy_folder(from: &Path, to: &Path) -> Result<(), String> {
    let told = |e: std::io::Error| format!("{} to {}: {e}", from.display(), to.display());
    std::fs::create_dir(to).map_err(told)?;
    for entry in std::fs::read_dir(from).map_err(told)? {
        let entry = entry.map_err(told)?;
        let there = to.join(entry.file_name());
        match entry.file_type().map_err(told)?.is_dir() {
            true => copy_folder(&entry.path(), &there)?,
            false => std::fs::copy(entry.path(), there).map(drop).map_err(told)?,
        }
    }
    Ok(())
}

/// How long the API server may take until it is ready.
const READY: Duration = Duration::from_secs(60);

fn locked(child: &Mutex<Option<Child>>) -> MutexGuard<'_, Option<Child>> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ControlPlane {
    /// Starts one in a directory and waits until it is ready. Blocks; a first start builds the binaries.
    pub fn start(directory: &Path) -> Result<ControlPlane, String> {
        ControlPlane::start_with(directory, Options::default())
    }

    /// The same, with options.
    pub fn start_with(directory: &Path, options: Options) -> Result<ControlPlane, String> {
        let binaries = binaries()?;
        std::fs::create_dir_all(directory).map_err(|e| e.to_string())?;
        let text = |e: rcgen::Error| e.to_string();
        let ca_key = KeyPair::generate().map_err(text)?;
        let mut ca = CertificateParams::new(Vec::<String>::new()).map_err(text)?;
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "control plane of the lab");
        let ca_certificate = ca.self_signed(&ca_key).map_err(text)?;
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().map_err(text)?;
        let serving = CertificateParams::new(vec!["127.0.0.1".to_string(), "localhost".into()])
            .and_then(|p| p.signed_by(&key, &issuer))
            .map_err(text)?;
        let rsa = openssl::rsa::Rsa::generate(2048)
            .and_then(openssl::pkey::PKey::from_rsa)
            .and_then(|k| k.private_key_to_pem_pkcs8())
            .map_err(|e| e.to_string())?;
        let put = |name: &str, content: &[u8]| -> Result<(), String> {
            let path = directory.join(name);
            std::fs::write(&path, content).map_err(|e| format!("{}: {e}", path.display()))
        };
        put("ca.crt", ca_certificate.pem().as_bytes())?;
        put("serving.crt", serving.pem().as_bytes())?;
        put("serving.key", key.serialize_pem().as_bytes())?;
        put("service-account.key", &rsa)?;
        put("tokens.csv", format!("{ADMIN_TOKEN},admin,1,\"system:masters\"\n").as_bytes())?;
        put(
            "audit-policy.yaml",
            b"apiVersion: audit.k8s.io/v1\nkind: Policy\nrules:\n- level: Metadata\n  omitStages: [RequestReceived]\n",
        )?;
        let plane = ControlPlane {
            directory: directory.into(),
            binaries,
            etcd: Mutex::new(None),
            api_server: Mutex::new(None),
            options,
            ports: [Reservation::new()?, Reservation::new()?, Reservation::new()?],
        };
        plane.kubeconfig("admin", ADMIN_TOKEN)?;
        plane.start_etcd()?;
        plane.start_api_server()?;
        Ok(plane)
    }

    /// A log is appended to: what a server said before it was killed is wanted as well.
    fn log(&self, name: &str) -> Result<std::fs::File, String> {
        let path = self.directory.join(name);
        std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .map_err(|e| format!("{}: {e}", path.display()))
    }

    fn etcd_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0].port)
    }

    fn start_etcd(&self) -> Result<(), String> {
        let mut command = Command::new(self.binaries.join("etcd"));
        command
            .arg("--data-dir")
            .arg(self.etcd_data())
            .args(["--listen-client-urls", &self.etcd_url(), "--advertise-client-urls", &self.etcd_url()])
            .args(["--listen-peer-urls", &format!("http://127.0.0.1:{}", self.ports[1].port)])
            .args(["--unsafe-no-fsync", "--log-level", "error"]);
        if let Some(bytes) = self.options.quota {
            command.arg(format!("--quota-backend-bytes={bytes}"));
        }
        let child = die_with_us(command.stdout(Stdio::null()).stderr(self.log("etcd.log")?))
            .spawn()
            .map_err(|e| format!("etcd: {e}"))?;
        *locked(&self.etcd) = Some(child);
        Ok(())
    }

    /// Starts the API server, again if it was killed, on the port that it has always had; waits until it is ready.
    pub fn start_api_server(&self) -> Result<(), String> {
        let file = |name: &str| self.directory.join(name).display().to_string();
        let child = die_with_us(
            Command::new(self.binaries.join("kube-apiserver"))
                .arg(format!("--etcd-servers={}", self.etcd_url()))
                .args([
                    "--bind-address=127.0.0.1",
                    "--advertise-address=127.0.0.1",
                    "--endpoint-reconciler-type=none",
                ])
                .arg(format!("--secure-port={}", self.port()))
                .arg(format!("--tls-cert-file={}", file("serving.crt")))
                .arg(format!("--tls-private-key-file={}", file("serving.key")))
                .arg(format!("--client-ca-file={}", file("ca.crt")))
                .arg("--service-account-issuer=https://kubernetes.default.svc")
                .arg(format!("--service-account-key-file={}", file("service-account.key")))
                .arg(format!("--service-account-signing-key-file={}", file("service-account.key")))
                .args(["--service-cluster-ip-range=10.0.0.0/24", "--authorization-mode=RBAC"])
                .arg(format!("--token-auth-file={}", file("tokens.csv")))
                .args([
                    "--disable-admission-plugins=ServiceAccount",
                    "--allow-privileged=true",
                    "--enable-priority-and-fairness=false",
                ])
                .arg(format!("--audit-policy-file={}", file("audit-policy.yaml")))
                .arg(format!("--audit-log-path={}", file("audit.log")))
                .stdout(Stdio::null())
                .stderr(self.log("kube-apiserver.log")?),
        )
        .spawn()
        .map_err(|e| format!("kube-apiserver: {e}"))?;
        *locked(&self.api_server) = Some(child);
        let deadline = Instant::now() + READY;
        loop {
            if self.kubectl(&["get", "--raw", "/readyz"], None).is_ok_and(|out| out.trim() == "ok") {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "the control plane is not ready after {} s\netcd:\n{}\nkube-apiserver:\n{}",
                    READY.as_secs(),
                    tail(&self.directory.join("etcd.log")),
                    tail(&self.directory.join("kube-apiserver.log"))
                ));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// kill -9 of the API server; etcd stays.
    pub fn kill_api_server(&self) -> Result<(), String> {
        let Some(mut child) = locked(&self.api_server).take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(drop).map_err(|e| format!("kube-apiserver: {e}"))
    }

    /// kill -9 of both. What etcd has confirmed stands in its files.
    fn stop(&self) -> Result<(), String> {
        self.kill_api_server()?;
        let Some(mut child) = locked(&self.etcd).take() else { return Ok(()) };
        child.kill().and_then(|()| child.wait()).map(drop).map_err(|e| format!("etcd: {e}"))
    }

    fn etcd_data(&self) -> PathBuf {
        self.directory.join("etcd")
    }

    /// Does something to the files of etcd: everything is stopped for that, and starts again on its old ports.
    fn while_stopped(&self, f: impl FnOnce(&Path) -> Result<(), String>) -> Result<(), String> {
        self.stop()?;
        f(&self.etcd_data())?;
        self.start_etcd()?;
        self.start_api_server()
    }

    /// What etcd holds, copied into a folder that is not there yet. Everything starts anew for that.
    pub fn back_up(&self, into: &Path) -> Result<(), String> {
        self.while_stopped(|data| copy_folder(data, into))
    }

    /// Puts what a backup holds in the place of what etcd holds. Everything starts anew for that; the backup stays.
    pub fn restore(&self, backup: &Path) -> Result<(), String> {
        self.while_stopped(|data| {
            std::fs::remove_dir_all(data).map_err(|e| format!("{}: {e}", data.display()))?;
            copy_folder(backup, data)
        })
    }

    /// Process id of the API server, while it runs: for signals.
    pub fn api_server_pid(&self) -> Option<u32> {
        locked(&self.api_server).as_ref().map(Child::id)
    }

    /// Port of the API server.
    pub fn port(&self) -> u16 {
        self.ports[2].port
    }

    /// Asks etcd itself, through its JSON gateway (`/v3/kv/compaction`, `/v3/maintenance/alarm` …).
    pub fn etcd(&self, path: &str, body: &serde_json::Value) -> Result<serde_json::Value, String> {
        let told = |e: std::io::Error| format!("etcd {path}: {e}");
        let mut tcp = std::net::TcpStream::connect(("127.0.0.1", self.ports[0].port)).map_err(told)?;
        tcp.set_read_timeout(Some(Duration::from_secs(30))).map_err(told)?;
        let body = body.to_string();
        // HTTP/1.0: the answer ends with its connection and is not chunked.
        write!(
            tcp,
            "POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .map_err(told)?;
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).map_err(told)?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        if !head.lines().next().is_some_and(|l| l.contains(" 200 ")) {
            return Err(format!("etcd {path}: {answer}"));
        }
        serde_json::from_str(body).map_err(|e| format!("etcd {path}: {e}: {body}"))
    }

    /// Removes every older revision of every key from etcd: whoever watches from one of them is told 410 Gone.
    pub fn compact(&self) -> Result<(), String> {
        let status = self.etcd("/v3/maintenance/status", &serde_json::json!({}))?;
        let revision = status["header"]["revision"].as_str().ok_or("etcd tells no revision")?.to_string();
        self.etcd("/v3/kv/compaction", &serde_json::json!({"revision": revision, "physical": true})).map(drop)
    }

    fn kubeconfig(&self, name: &str, token: &str) -> Result<PathBuf, String> {
        let path = self.directory.join(format!("{name}.kubeconfig"));
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: lab\nclusters:\n- name: lab\n  cluster: {{server: \"{}\", certificate-authority: \"{}\"}}\nusers:\n- name: user\n  user: {{token: \"{token}\"}}\ncontexts:\n- name: lab\n  context: {{cluster: lab, user: user, namespace: default}}\n",
            format_args!("https://127.0.0.1:{}", self.port()),
            self.directory.join("ca.crt").display()
        );
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(path)
    }

    /// Kubeconfig of the administrator.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.directory.join("admin.kubeconfig")
    }

    /// Kubeconfig of a service account that exists, with a token of its own.
    pub fn service_account_kubeconfig(&self, namespace: &str, name: &str) -> Result<PathBuf, String> {
        let token = self
            .kubectl(&["create", "token", name, "-n", namespace, "--duration", "24h"], None)
            .map_err(|e| e.to_string())?;
        self.kubeconfig(&format!("{namespace}-{name}"), token.trim())
    }

    /// Path of kubectl.
    pub fn kubectl_path(&self) -> PathBuf {
        self.binaries.join("kubectl")
    }

    /// Every request that the API server has answered, one JSON object a line.
    pub fn audit_log(&self) -> String {
        std::fs::read_to_string(self.directory.join("audit.log")).unwrap_or_default()
    }

    /// Runs kubectl as the administrator.
    pub fn kubectl(&self, arguments: &[&str], stdin: Option<&str>) -> Result<String, KubectlError> {
        let fail = |stderr: String| KubectlError { arguments: arguments.join(" "), stderr };
        let mut child = Command::new(self.kubectl_path())
            .env("KUBECONFIG", self.admin_kubeconfig())
            .args(arguments)
            .stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(|e| fail(e.to_string()))?;
        if let (Some(text), Some(mut pipe)) = (stdin, child.stdin.take()) {
            pipe.write_all(text.as_bytes()).map_err(|e| fail(e.to_string()))?;
        }
        let out = child.wait_with_output().map_err(|e| fail(e.to_string()))?;
        if out.status.success() {
            Ok(String::from_utf8_lossy(&out.stdout).into_owned())
        } else {
            Err(fail(String::from_utf8_lossy(&out.stderr).into_owned()))
        }
    }
}

impl Drop for ControlPlane {
    fn drop(&mut self) {
        for slot in [&self.api_server, &self.etcd] {
            if let Some(mut child) = locked(slot).take() {
                // Already gone is as good; nothing of a lab is worth a graceful end.
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
}
