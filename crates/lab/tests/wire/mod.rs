//! A client that shows every token of an answer, with nothing made of it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use openssl::ssl::{SslConnector, SslMethod, SslStream, SslVerifyMode, SslVersion};

/// A connection whose TLS handshake hides inside PRELOGIN packets.
#[derive(Debug)]
struct Wrapped {
    tcp: TcpStream,
    handshake: bool,
    inbound: Vec<u8>,
    outbound: Vec<u8>,
}

impl Read for Wrapped {
    fn read(&mut self, to: &mut [u8]) -> std::io::Result<usize> {
        if self.handshake && self.inbound.is_empty() {
            self.flush()?;
            let mut header = [0u8; 8];
            self.tcp.read_exact(&mut header)?;
            self.inbound = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 8];
            self.tcp.read_exact(&mut self.inbound)?;
        }
        if self.inbound.is_empty() {
            return self.tcp.read(to);
        }
        let n = to.len().min(self.inbound.len());
        to[..n].copy_from_slice(&self.inbound[..n]);
        self.inbound.drain(..n);
        Ok(n)
    }
}

impl Write for Wrapped {
    fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
        if !self.handshake {
            return self.tcp.write(data);
        }
        self.outbound.extend(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        if !self.outbound.is_empty() {
            let data = std::mem::take(&mut self.outbound);
            self.tcp.write_all(&packet(18, 1, &data))?;
        }
        self.tcp.flush()
    }
}

fn packet(kind: u8, status: u8, data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len() + 8).unwrap().to_be_bytes();
    [&[kind, status, length[0], length[1], 0, 0, 1, 0], data].concat()
}

fn utf16(t: &str) -> Vec<u8> {
    t.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A message about something.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    pub error: bool,
    pub number: u32,
    pub class: u8,
    pub state: u8,
    pub line: u32,
    pub procedure: String,
    pub text: String,
}

/// A column: its name, its type as T-SQL writes it, whether it can be NULL, and whether its type on the wire has room for NULL.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    pub name: String,
    pub kind: String,
    pub nullable: bool,
    pub fixed: bool,
    wire: Wire,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Wire {
    Fixed(usize),
    Byte,
    Short,
    Max,
    Long,
}

/// One message of a server, taken apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// Every token, in a word.
    pub tokens: Vec<String>,
    pub said: Vec<Said>,
    /// The columns of each result set.
    pub sets: Vec<Vec<Column>>,
    /// Each row of the last of them; NULL is `None`.
    pub rows: Vec<Vec<Option<String>>>,
    pub returned: Option<i32>,
}

/// A session.
pub struct Client {
    stream: SslStream<Wrapped>,
}

/// A parameter of a call: name, value, whether it gives something back.
pub enum Value {
    Text(String),
    Narrow(String),
    Int(i32),
}

impl Client {
    /// Connects and logs in: the session, if it is let in, and what the server has said.
    pub fn log_in(port: u16, user: &str, password: &str, database: &str) -> (Option<Client>, Answer) {
        let mut tcp = TcpStream::connect(("127.0.0.1", port)).unwrap();
        tcp.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        tcp.write_all(&packet(18, 1, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 9, 0, 0, 0, 0, 0, 1])).unwrap();
        let mut header = [0u8; 8];
        tcp.read_exact(&mut header).unwrap();
        let mut rest = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 8];
        tcp.read_exact(&mut rest).unwrap();
        let mut tls = SslConnector::builder(SslMethod::tls_client()).unwrap();
        tls.set_verify(SslVerifyMode::NONE);
        tls.set_max_proto_version(Some(SslVersion::TLS1_2)).unwrap();
        let mut tls = tls.build().configure().unwrap();
        tls.set_verify_hostname(false);
        let wrapped = Wrapped { tcp, handshake: true, inbound: vec![], outbound: vec![] };
        let mut stream = tls.connect("127.0.0.1", wrapped).unwrap();
        stream.get_mut().flush().unwrap();
        stream.get_mut().handshake = false;
        let mut client = Client { stream };
        client.send(16, 1, &login(user, password, database));
        let answer = client.answer().unwrap();
        let let_in = !answer.said.iter().any(|s| s.error);
        (let_in.then_some(client), answer)
    }

    pub fn send(&mut self, kind: u8, status: u8, data: &[u8]) {
        let chunks: Vec<&[u8]> = data.chunks(4000).collect();
        let last = chunks.len().max(1) - 1;
        for (n, chunk) in chunks.iter().enumerate() {
            self.stream.write_all(&packet(kind, if n == last { status } else { 0 }, chunk)).unwrap();
        }
        if chunks.is_empty() {
            self.stream.write_all(&packet(kind, status, &[])).unwrap();
        }
    }

    /// Headers of every request: one about the transaction.
    fn headers(mut data: Vec<u8>) -> Vec<u8> {
        let mut all = [22u32.to_le_bytes(), 18u32.to_le_bytes()].concat();
        all.extend(2u16.to_le_bytes());
        all.extend([0; 8]);
        all.extend(1u32.to_le_bytes());
        all.append(&mut data);
        all
    }

    pub fn begin_batch(&mut self, text: &str) {
        self.send(1, 1, &Self::headers(utf16(text)));
    }

    pub fn batch(&mut self, text: &str) -> Answer {
        self.begin_batch(text);
        self.answer().unwrap_or_else(|| panic!("{text}: the server has closed the connection"))
    }

    pub fn call(&mut self, name: &str, parameters: &[(&str, Value, bool)]) -> Answer {
        self.send_call(name, parameters);
        self.answer().unwrap()
    }

    /// A statement as a call whose answer is not waited for.
    pub fn begin_call(&mut self, text: &str) {
        self.send_call("sp_executesql", &[("", Value::Text(text.into()), false)]);
    }

    fn send_call(&mut self, name: &str, parameters: &[(&str, Value, bool)]) {
        let mut data = match name {
            "sp_executesql" => vec![0xff, 0xff, 10, 0],
            "sp_prepexec" => vec![0xff, 0xff, 13, 0],
            _ => {
                let mut data = u16::try_from(name.encode_utf16().count()).unwrap().to_le_bytes().to_vec();
                data.extend(utf16(name));
                data
            }
        };
        data.extend([0, 0]);
        for (name, value, output) in parameters {
            data.push(u8::try_from(name.encode_utf16().count()).unwrap());
            data.extend(utf16(name));
            data.push(u8::from(*output));
            let collation = [9, 4, 0xd0, 0, 0x34];
            match value {
                Value::Int(n) => {
                    data.extend([0x26, 4, 4]);
                    data.extend(n.to_le_bytes());
                }
                Value::Text(t) => {
                    data.push(0xe7);
                    data.extend(8000u16.to_le_bytes());
                    data.extend(collation);
                    data.extend(u16::try_from(utf16(t).len()).unwrap().to_le_bytes());
                    data.extend(utf16(t));
                }
                Value::Narrow(t) => {
                    data.push(0xa7);
                    data.extend(8000u16.to_le_bytes());
                    data.extend(collation);
                    data.extend(u16::try_from(t.len()).unwrap().to_le_bytes());
                    data.extend(t.as_bytes());
                }
            }
        }
        self.send(3, 1, &Self::headers(data));
    }

    /// The next message; nothing if the server has closed the connection.
    pub fn answer(&mut self) -> Option<Answer> {
        let mut all = Vec::new();
        loop {
            let mut header = [0u8; 8];
            self.stream.read_exact(&mut header).ok()?;
            let mut data = vec![0; usize::from(u16::from_be_bytes([header[2], header[3]])) - 8];
            self.stream.read_exact(&mut data).ok()?;
            all.extend(data);
            if header[1] & 1 == 1 {
                return Some(taken_apart(&all));
            }
        }
    }
}

fn login(user: &str, password: &str, database: &str) -> Vec<u8> {
    let texts = ["client", user, password, "wire", "server", "", "", "", database];
    let mut fixed = vec![0u8; 94];
    fixed[4..8].copy_from_slice(&[4, 0, 0, 0x74]);
    fixed[8..12].copy_from_slice(&4096u32.to_le_bytes());
    let mut data = Vec::new();
    for (n, text) in texts.iter().enumerate() {
        let mut bytes = utf16(text);
        if n == 2 {
            bytes.iter_mut().for_each(|b| *b = b.rotate_left(4) ^ 0xa5);
        }
        let at = 36 + n * 4;
        fixed[at..at + 2].copy_from_slice(&u16::try_from(94 + data.len()).unwrap().to_le_bytes());
        fixed[at + 2..at + 4].copy_from_slice(&u16::try_from(bytes.len() / 2).unwrap().to_le_bytes());
        data.extend(bytes);
    }
    let length = u32::try_from(94 + data.len()).unwrap().to_le_bytes();
    fixed[..4].copy_from_slice(&length);
    [fixed, data].concat()
}

/// What is left of a message.
struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn take(&mut self, n: usize) -> &[u8] {
        let (a, b) = self.0.split_at(n);
        self.0 = b;
        a
    }
    fn u8(&mut self) -> u8 {
        self.take(1)[0]
    }
    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take(2).try_into().unwrap())
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }
    fn text(&mut self, characters: usize) -> String {
        let units: Vec<u16> =
            self.take(characters * 2).chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect();
        String::from_utf16_lossy(&units)
    }
    fn column(&mut self) -> Column {
        self.u32();
        let flags = self.u16();
        let (kind, wire, fixed) = self.kind();
        let n = self.u8().into();
        Column { name: self.text(n), kind, nullable: flags & 1 == 1, fixed, wire }
    }
    fn kind(&mut self) -> (String, Wire, bool) {
        let integer = |n| match n {
            1 => "tinyint",
            2 => "smallint",
            4 => "int",
            _ => "bigint",
        };
        let fixed = |name: &str, n| (name.to_string(), Wire::Fixed(n), true);
        match self.u8() {
            0x30 => fixed("tinyint", 1),
            0x34 => fixed("smallint", 2),
            0x38 => fixed("int", 4),
            0x7f => fixed("bigint", 8),
            0x32 => fixed("bit", 1),
            0x3d => fixed("datetime", 8),
            0x3e => fixed("float", 8),
            0x26 => (integer(self.u8()).into(), Wire::Byte, false),
            0x68 => {
                self.u8();
                ("bit".into(), Wire::Byte, false)
            }
            0x6d => {
                self.u8();
                ("float".into(), Wire::Byte, false)
            }
            0x6f => {
                self.u8();
                ("datetime".into(), Wire::Byte, false)
            }
            0x24 => {
                self.u8();
                ("uniqueidentifier".into(), Wire::Byte, false)
            }
            0x2a => (format!("datetime2({})", self.u8()), Wire::Byte, false),
            0x6a | 0x6c => {
                let length = self.u8();
                assert_eq!(length, 17);
                (format!("numeric({},{})", self.u8(), self.u8()), Wire::Byte, false)
            }
            0x62 => {
                self.u32();
                ("sql_variant".into(), Wire::Long, false)
            }
            token @ (0xe7 | 0xef | 0xa7 | 0xaf | 0xa5 | 0xad) => {
                let n = self.u16();
                if !matches!(token, 0xa5 | 0xad) {
                    self.take(5);
                }
                let (name, per) = match token {
                    0xe7 => ("nvarchar", 2),
                    0xef => ("nchar", 2),
                    0xa7 => ("varchar", 1),
                    0xaf => ("char", 1),
                    0xa5 => ("varbinary", 1),
                    _ => ("binary", 1),
                };
                if n == 0xffff {
                    (format!("{name}(max)"), Wire::Max, false)
                } else {
                    (format!("{name}({})", n / per), Wire::Short, false)
                }
            }
            other => panic!("type {other:#x}"),
        }
    }
    fn value(&mut self, of: &Column) -> Option<String> {
        let bytes = match of.wire {
            Wire::Fixed(n) => self.take(n).to_vec(),
            Wire::Byte => {
                let n = self.u8().into();
                if n == 0 {
                    return None;
                }
                self.take(n).to_vec()
            }
            Wire::Short => {
                let n = self.u16();
                if n == 0xffff {
                    return None;
                }
                self.take(n.into()).to_vec()
            }
            Wire::Max => {
                if self.take(8) == [0xff; 8] {
                    return None;
                }
                let mut all = Vec::new();
                loop {
                    let n = self.u32();
                    if n == 0 {
                        break;
                    }
                    all.extend(self.take(n as usize));
                }
                all
            }
            Wire::Long => {
                let n = self.u32();
                self.take(n as usize).to_vec()
            }
        };
        let number = |bytes: &[u8]| {
            let mut all = [0u8; 16];
            all[..bytes.len()].copy_from_slice(bytes);
            let negative = bytes.len() > 1 && bytes.last().unwrap() & 0x80 != 0;
            let n = i128::from_le_bytes(all);
            if negative { n - (1i128 << (8 * bytes.len())) } else { n }
        };
        Some(match of.kind.split('(').next().unwrap() {
            "tinyint" | "smallint" | "int" | "bigint" | "bit" => number(&bytes).to_string(),
            "numeric" => {
                let mut all = [0u8; 16];
                all[..bytes.len() - 1].copy_from_slice(&bytes[1..]);
                i128::from_le_bytes(all).to_string()
            }
            "nvarchar" | "nchar" => {
                let n = bytes.len() / 2;
                Rest(&bytes).text(n)
            }
            "varchar" | "char" => String::from_utf8_lossy(&bytes).into_owned(),
            _ => format!("{bytes:02x?}"),
        })
    }
}

fn taken_apart(all: &[u8]) -> Answer {
    let mut rest = Rest(all);
    let mut answer = Answer::default();
    let mut columns = Vec::new();
    while !rest.0.is_empty() {
        let token = rest.u8();
        let word = match token {
            0x81 => {
                let n = rest.u16();
                columns = (0..n).map(|_| rest.column()).collect();
                answer.sets.push(columns.clone());
                answer.rows.clear();
                "columns".into()
            }
            0xd1 => {
                let row = columns.iter().map(|c| rest.value(c)).collect();
                answer.rows.push(row);
                "row".into()
            }
            0xa9 => {
                let n = rest.u16() / 2;
                let by: Vec<String> = (0..n).map(|_| rest.u16().to_string()).collect();
                format!("order {}", by.join(","))
            }
            0xaa | 0xab => {
                let said = said(&mut rest, token == 0xaa);
                answer.said.push(said);
                if token == 0xaa { "error".into() } else { "info".into() }
            }
            0x79 => {
                let code = rest.u32().cast_signed();
                answer.returned = Some(code);
                format!("returned {code}")
            }
            0xac => output(&mut rest),
            0xe3 => {
                let n = rest.u16();
                let body = rest.take(n.into());
                format!("environment {}", body[0])
            }
            0xad => {
                let n = rest.u16();
                rest.take(n.into());
                "logged in".into()
            }
            0xfd..=0xff => {
                let (status, command) = (rest.u16(), rest.u16());
                let count = u64::from_le_bytes(rest.take(8).try_into().unwrap());
                let name = ["done", "done-procedure", "done-inside"][usize::from(token - 0xfd)];
                format!("{name} {status} {command} {count}")
            }
            other => panic!("token {other:#x}"),
        };
        answer.tokens.push(word);
    }
    answer
}

fn said(rest: &mut Rest<'_>, error: bool) -> Said {
    rest.u16();
    let (number, state, class) = (rest.u32(), rest.u8(), rest.u8());
    let n = rest.u16().into();
    let text = rest.text(n);
    let n = rest.u8().into();
    rest.text(n);
    let n = rest.u8().into();
    let procedure = rest.text(n);
    Said { error, number, class, state, line: rest.u32(), procedure, text }
}

fn output(rest: &mut Rest<'_>) -> String {
    rest.u16();
    let n = rest.u8().into();
    let name = rest.text(n);
    rest.u8();
    rest.u32();
    rest.u16();
    let (kind, wire, fixed) = rest.kind();
    let of = Column { name: String::new(), kind, nullable: true, fixed, wire };
    format!("output {name}={}", rest.value(&of).unwrap_or_else(|| "NULL".into()))
}
