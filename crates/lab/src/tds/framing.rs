//! Packets of TDS, and TLS within them.

use std::pin::Pin;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::PRELOGIN;

const PACKET: usize = 4096;

/// TLS of TDS 7.x hides inside PRELOGIN packets until the handshake has ended.
pub(super) struct Wrapped {
    tcp: TcpStream,
    handshake: bool,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

impl Wrapped {
    /// A connection whose handshake begins.
    pub(super) fn new(tcp: TcpStream) -> Self {
        Wrapped { tcp, handshake: true, inbound: Vec::new(), outbound: Vec::new() }
    }
    /// The handshake has ended: from here on TLS stands around the packets.
    pub(super) fn handshake_ended(&mut self) {
        self.handshake = false;
    }
}

impl AsyncRead for Wrapped {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        if !self.handshake && self.inbound.is_empty() {
            return Pin::new(&mut self.tcp).poll_read(cx, buf);
        }
        loop {
            if self.handshake && self.inbound.len() >= 8 {
                let length = usize::from(u16::from_be_bytes([self.inbound[2], self.inbound[3]]));
                if length >= 8 && self.inbound.len() > 8 {
                    let take = (self.inbound.len().min(length) - 8).min(buf.remaining());
                    buf.put_slice(&self.inbound[8..8 + take]);
                    self.inbound.drain(8..8 + take);
                    // What is left of the packet keeps a shortened header.
                    let rest = length - take;
                    if rest == 8 {
                        self.inbound.drain(..8);
                    } else {
                        let r = u16::try_from(rest).unwrap_or(8).to_be_bytes();
                        self.inbound[2] = r[0];
                        self.inbound[3] = r[1];
                    }
                    return std::task::Poll::Ready(Ok(()));
                }
            } else if !self.handshake {
                let take = self.inbound.len().min(buf.remaining());
                buf.put_slice(&self.inbound[..take]);
                self.inbound.drain(..take);
                return std::task::Poll::Ready(Ok(()));
            }
            let mut chunk = [0u8; 4096];
            let mut read = ReadBuf::new(&mut chunk);
            std::task::ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return std::task::Poll::Ready(Ok(()));
            }
            let filled = read.filled().to_vec();
            self.inbound.extend_from_slice(&filled);
        }
    }
}

impl AsyncWrite for Wrapped {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
        data: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        if !self.handshake {
            return Pin::new(&mut self.tcp).poll_write(cx, data);
        }
        self.outbound.extend_from_slice(data);
        std::task::Poll::Ready(Ok(data.len()))
    }
    fn poll_flush(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        let me = &mut *self;
        if me.handshake && !me.outbound.is_empty() && me.outbound.first() != Some(&PRELOGIN) {
            let framed = frame(PRELOGIN, 0, &me.outbound);
            me.outbound = framed;
        }
        while !me.outbound.is_empty() {
            let n = std::task::ready!(Pin::new(&mut me.tcp).poll_write(cx, &me.outbound))?;
            me.outbound.drain(..n);
        }
        Pin::new(&mut me.tcp).poll_flush(cx)
    }
    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

/// A message of a session in packets.
pub(super) fn frame(kind: u8, session: u32, payload: &[u8]) -> Vec<u8> {
    packets(kind, session, payload, true)
}

/// The beginning of a message whose rest does not come.
pub(super) fn frame_of_a_part(kind: u8, session: u32, payload: &[u8]) -> Vec<u8> {
    packets(kind, session, payload, false)
}

fn packets(kind: u8, session: u32, payload: &[u8], whole: bool) -> Vec<u8> {
    let spid = u16::try_from(session & 0xffff).unwrap_or(0).to_be_bytes();
    let mut out = Vec::new();
    let chunks: Vec<&[u8]> =
        if payload.is_empty() { vec![payload] } else { payload.chunks(PACKET - 8).collect() };
    let last = chunks.len() - 1;
    for (n, chunk) in chunks.iter().enumerate() {
        let length = u16::try_from(chunk.len() + 8).unwrap_or(u16::MAX).to_be_bytes();
        out.extend_from_slice(&[
            kind,
            u8::from(whole && n == last),
            length[0],
            length[1],
            spid[0],
            spid[1],
            ((n + 1) & 0xff) as u8,
            0,
        ]);
        out.extend_from_slice(chunk);
    }
    out
}

/// A message that a client has sent.
pub(super) struct Message {
    /// Its type.
    pub(super) kind: u8,
    /// What it carries.
    pub(super) payload: Vec<u8>,
    /// Whether the session is to be made like new before.
    pub(super) reset: bool,
    /// Whether it is not to be carried out.
    pub(super) ignore: bool,
}

/// The last packet of a message.
const LAST: u8 = 0x01;
const IGNORE: u8 = 0x02;
/// Make the session like new, without or with its transaction.
const RESET: u8 = 0x08 | 0x10;

/// The next message.
pub(super) async fn message<R: AsyncRead + Unpin>(r: &mut R) -> std::io::Result<Message> {
    let mut payload = Vec::new();
    let mut reset = false;
    loop {
        let mut header = [0u8; 8];
        r.read_exact(&mut header).await?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length < 8 || payload.len() > 16 * 1024 * 1024 {
            return Err(std::io::Error::other("a packet has an impossible length"));
        }
        let mut chunk = vec![0; length - 8];
        r.read_exact(&mut chunk).await?;
        payload.extend(chunk);
        reset |= header[1] & RESET != 0;
        if header[1] & LAST != 0 {
            let ignore = header[1] & IGNORE != 0;
            return Ok(Message { kind: header[0], payload, reset, ignore });
        }
    }
}
