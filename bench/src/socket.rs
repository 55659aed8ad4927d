//! A lean WebSocket client of the platform: what RFC 6455 asks of a client that trusts its server, so that
//! ten thousand of them fit beside what they measure.
//!
//! It answers pings, takes whole messages only, and judges nothing of what they say.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, bail};
use bytes::{Buf as _, Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// How many are opened at the same time.
pub(crate) const AT_ONCE: usize = 64;

/// The source addresses, one after the other from 127.0.0.2 on: one alone has too few ports for some runs of
/// ten thousand, as those that were closed stay taken for a minute.
const SOURCES: u8 = 8;

/// Read at once: some messages.
const READ_BYTES: usize = 4 * 1024;

/// Files that a process needs besides its sockets.
const OTHER_FILES: usize = 500;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// A message.
    Text(Bytes),
    /// Goodbye, with its code and reason.
    Closed(u16, String),
}

/// An open socket.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    inbox: BytesMut,
    read_at: Instant,
}

impl Socket {
    /// Opens the `nth` socket to `address` and says whose it is.
    ///
    /// # Errors
    /// Anything but a socket that is open and known.
    pub(crate) async fn open(address: SocketAddr, nth: usize, key: &str) -> anyhow::Result<Self> {
        let stream = connect(address, nth).await.context("connecting")?;
        let mut socket = Self { stream, inbox: BytesMut::new(), read_at: Instant::now() };
        socket.upgrade(address).await?;
        socket.say(&json!({ "type": "authenticate", "key": key })).await?;
        socket.expect("authenticated").await?;
        Ok(socket)
    }

    /// Follows an execution from its beginning.
    ///
    /// # Errors
    /// It is refused.
    pub(crate) async fn subscribe(&mut self, id: &str, execution: &str) -> anyhow::Result<()> {
        self.say(&json!({ "type": "subscribe", "id": id, "execution": execution })).await?;
        self.expect("subscribed").await
    }

    /// When what was heard last came.
    pub(crate) fn read_at(&self) -> Instant {
        self.read_at
    }

    /// Waits for what comes next.
    ///
    /// # Errors
    /// A connection that broke, a frame that no server of ours sends.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Heard> {
        loop {
            if let Some(heard) = self.arrived().await? {
                return Ok(heard);
            }
            self.fill().await?;
        }
    }

    /// Waits for bytes. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// A connection that broke.
    pub(crate) async fn fill(&mut self) -> anyhow::Result<()> {
        self.inbox.reserve(READ_BYTES);
        let read = self.stream.read_buf(&mut self.inbox).await.context("reading")?;
        self.read_at = Instant::now();
        match read {
            0 => bail!("the server hung up"),
            _ => Ok(()),
        }
    }

    /// What has come already, without waiting for more. Pings are answered and left out.
    ///
    /// # Errors
    /// As [`Self::next`].
    pub(crate) async fn arrived(&mut self) -> anyhow::Result<Option<Heard>> {
        while let Some((opcode, payload)) = frame(&mut self.inbox)? {
            match opcode {
                TEXT => return Ok(Some(Heard::Text(payload))),
                PING => self.send(PONG, &payload).await?,
                PONG => {}
                CLOSE => {
                    let code = payload.get(..2).map_or(1005, |mut code| code.get_u16());
                    let reason = payload.get(2..).unwrap_or_default();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Ok(Some(Heard::Closed(code, reason)));
                }
                _ => bail!("a frame of kind {opcode} came"),
            }
        }
        Ok(None)
    }

    async fn upgrade(&mut self, address: SocketAddr) -> anyhow::Result<()> {
        let request = format!(
            "GET /v1/ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Protocol: stepstream.v1\r\n\r\n"
        );
        self.stream.write_all(request.as_bytes()).await.context("asking for a socket")?;
        let end = loop {
            let end = self.inbox.windows(4).position(|bytes| bytes == b"\r\n\r\n");
            match end {
                Some(end) => break end,
                None => self.fill().await?,
            }
        };
        let head = self.inbox.split_to(end + 4);
        if !head.starts_with(b"HTTP/1.1 101 ") {
            bail!("no socket is opened: {}", String::from_utf8_lossy(&head));
        }
        Ok(())
    }

    async fn expect(&mut self, kind: &str) -> anyhow::Result<()> {
        match self.next().await? {
            Heard::Text(text) => {
                let said: Value = serde_json::from_slice(&text).context("reading a message")?;
                if said["type"] != kind {
                    bail!("`{kind}` should come, and not {said}");
                }
                Ok(())
            }
            Heard::Closed(code, reason) => bail!("closed with {code} before `{kind}`: {reason}"),
        }
    }

    async fn say(&mut self, what: &Value) -> anyhow::Result<()> {
        self.send(TEXT, what.to_string().as_bytes()).await
    }

    /// Masked with zeros: the mask protects proxies, of which there are none here.
    async fn send(&mut self, opcode: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()).context("a client's message is short")? {
            short @ 0..=125 => frame.push(0x80 | short.to_le_bytes()[0]),
            longer => {
                frame.push(0x80 | 126);
                frame.extend(longer.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        self.stream.write_all(&frame).await.context("writing")
    }
}

/// Says so when a process may not have as many files open as a bench needs, before it is half done.
///
/// # Errors
/// The limit is too low, or can't be read.
pub(crate) fn check_open_files(sockets: usize) -> anyhow::Result<()> {
    let limits = fs::read_to_string("/proc/self/limits").context("reading our limits")?;
    let soft = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .and_then(|rest| rest.split_ascii_whitespace().next())
        .context("there is no `Max open files` in /proc/self/limits")?;
    let needed = sockets + OTHER_FILES;
    match soft.parse::<usize>() {
        Ok(most) if most < needed => {
            bail!(
                "{sockets} sockets need {needed} open files, and {most} are allowed: `ulimit -n {needed}`"
            )
        }
        // Else it is `unlimited`.
        _ => Ok(()),
    }
}

async fn connect(address: SocketAddr, nth: usize) -> std::io::Result<TcpStream> {
    let last = u8::try_from(nth % usize::from(SOURCES)).unwrap_or_default();
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((Ipv4Addr::new(127, 0, 0, 2 + last), 0)))?;
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Takes the first whole frame out of what was read.
fn frame(inbox: &mut BytesMut) -> anyhow::Result<Option<(u8, Bytes)>> {
    let [first, second, rest @ ..] = &inbox[..] else { return Ok(None) };
    let (first, second) = (*first, *second);
    if first & 0xf0 != 0x80 || second & 0x80 != 0 {
        bail!("a frame begins with {first:#x} {second:#x}: in parts, or masked");
    }
    let (length, head) = match (second, rest) {
        (126, [a, b, ..]) => (u64::from(u16::from_be_bytes([*a, *b])), 4),
        (127, length) if length.len() >= 8 => {
            let mut length = &length[..8];
            (length.get_u64(), 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, _) => (u64::from(short), 2),
    };
    let length = usize::try_from(length).context("a frame is longer than memory")?;
    if inbox.len() < head + length {
        return Ok(None);
    }
    inbox.advance(head);
    Ok(Some((first & 0x0f, inbox.split_to(length).freeze())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All frames in `bytes`, which come one at a time.
    fn frames(bytes: &[u8]) -> Vec<(u8, usize)> {
        let (mut inbox, mut found) = (BytesMut::new(), Vec::new());
        for byte in bytes {
            inbox.extend([*byte]);
            if let Some((opcode, payload)) = frame(&mut inbox).unwrap() {
                found.push((opcode, payload.len()));
            }
        }
        assert!(inbox.is_empty(), "{} bytes are left", inbox.len());
        found
    }

    #[test]
    fn frames_of_each_length_are_found_however_they_are_cut() {
        let mut bytes = vec![0x81, 5];
        bytes.extend(b"short");
        bytes.extend([0x89, 0]);
        bytes.extend([0x81, 126, 1, 0]);
        bytes.extend([b'x'; 256]);
        bytes.extend([0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
        bytes.extend([b'x'; 65_536]);
        assert_eq!(frames(&bytes), [(TEXT, 5), (PING, 0), (TEXT, 256), (TEXT, 65_536)]);
    }

    #[test]
    fn masked_frame_and_part_of_a_message_are_refused() {
        for begin in [[0x81, 0x80], [0x01, 0x00]] {
            assert!(frame(&mut BytesMut::from(&begin[..])).is_err());
        }
    }
}
