//! Ports of this machine that stay ours, also while nothing listens on them.
//!
//! A port that is looked up and given back is somebody else's a moment later: a test beside us, or the local end of any
//! connection. So a socket stays bound to it for as long as it is wanted. It does not listen: whoever connects is refused, as by
//! a host whose service is down. Another socket may listen on the same port meanwhile, since both allow it (`SO_REUSEADDR`).

use tokio::net::{TcpListener, TcpSocket};

/// A port on 127.0.0.1.
#[derive(Debug)]
pub struct Reservation {
    /// The port.
    pub port: u16,
    _bound: TcpSocket,
}

fn bound(port: u16) -> Result<TcpSocket, String> {
    let told = |e: std::io::Error| format!("port {port}: {e}");
    let socket = TcpSocket::new_v4().map_err(told)?;
    socket.set_reuseaddr(true).map_err(told)?;
    socket.bind(([127, 0, 0, 1], port).into()).map_err(told)?;
    Ok(socket)
}

impl Reservation {
    /// Any free port.
    pub fn new() -> Result<Reservation, String> {
        let socket = bound(0)?;
        let port = socket.local_addr().map_err(|e| e.to_string())?.port();
        Ok(Reservation { port, _bound: socket })
    }

    /// Listens on it. Must be called within a runtime.
    pub fn listen(&self) -> Result<TcpListener, String> {
        bound(self.port)?.listen(1024).map_err(|e| format!("port {}: {e}", self.port))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_reserved_port_refuses_until_somebody_listens_and_is_never_given_away() {
        let r = Reservation::new().unwrap();
        let address = ("127.0.0.1", r.port);
        for _ in 0..3 {
            let refused = tokio::net::TcpStream::connect(address).await.unwrap_err();
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            let listener = r.listen().unwrap();
            let (client, server) = tokio::join!(tokio::net::TcpStream::connect(address), listener.accept());
            // The accepted end stays in TIME_WAIT or alive: neither may keep us from listening again.
            drop((client.unwrap(), server.unwrap(), listener));
        }
        // Others who ask for any port get other ones, however many they take.
        let others: Vec<Reservation> = (0..2000).map(|_| Reservation::new().unwrap()).collect();
        assert!(others.iter().all(|o| o.port != r.port));
    }
}
