//! A way to a port of this machine that can be cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::scene::Scene;

/// A way to a port of this machine that can be cut.
pub struct Proxy {
    pub port: u16,
    open: tokio::sync::watch::Sender<bool>,
    turned_away: Arc<AtomicUsize>,
    _accepting: tokio::task::JoinSet<()>,
}

impl Proxy {
    pub async fn to(target: u16) -> Proxy {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (open, is_open) = tokio::sync::watch::channel(true);
        let turned_away: Arc<AtomicUsize> = Arc::default();
        let count = turned_away.clone();
        let mut accepting = tokio::task::JoinSet::new();
        accepting.spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                if !*is_open.borrow() {
                    count.fetch_add(1, Ordering::SeqCst);
                    continue;
                }
                let mut is_open = is_open.clone();
                connections.spawn(async move {
                    let through = async {
                        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", target)).await?;
                        tokio::io::copy_bidirectional(&mut client, &mut server).await
                    };
                    // Either way the connection ends; how does not matter to a proxy.
                    tokio::select! {
                        _ = through => {}
                        _ = is_open.wait_for(|open| !open) => {}
                    }
                });
            }
        });
        Proxy { port, open, turned_away, _accepting: accepting }
    }

    /// Cuts every connection; whoever connects is turned away from now on.
    pub fn cut(&self) {
        self.open.send_replace(false);
    }

    /// Lets connections through again.
    pub fn mend(&self) {
        self.open.send_replace(true);
    }

    /// How many were turned away so far.
    pub fn turned_away(&self) -> usize {
        self.turned_away.load(Ordering::SeqCst)
    }
}

/// Lets the operators to come of a scene reach the API server through a proxy only.
pub async fn behind_a_proxy(scene: &mut Scene) -> Proxy {
    let proxy = Proxy::to(scene.plane.port()).await;
    let text = std::fs::read_to_string(&scene.kubeconfig).unwrap();
    let straight = format!("https://127.0.0.1:{}", scene.plane.port());
    assert!(text.contains(&straight));
    scene.kubeconfig = scene.directory.path().join("proxied.kubeconfig");
    std::fs::write(&scene.kubeconfig, text.replace(&straight, &format!("https://127.0.0.1:{}", proxy.port)))
        .unwrap();
    proxy
}
