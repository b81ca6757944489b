//! Whatever a server sends is read or refused: without a panic, without an end, and without more memory than is stated.
//!
//! 10,000 executions: each takes a part of what real hosts were recorded to say, damages it by a seeded generator, and gives it to
//! every reader that it could come to. `PCF_FUZZ=n` does n times as many.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use psrp::clixml;
use psrp::fragment::Assembler;
use psrp::message::{self, Message};
use psrp::wsman::Envelope;

/// Executions.
const EXECUTIONS: u64 = 10_000;
/// Most KiB that this process may ever hold while it reads them: the recordings themselves, inputs of at most 120 KB, and what a `Ref`
/// copies, which is bounded by 16 MiB.
const MEMORY: u64 = 192 * 1024;
/// Longest that one may take, on a machine that does much else.
const TIME: Duration = Duration::from_secs(5);

/// A generator that gives the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap()
    }
}

/// What real hosts said: envelopes, and the bytes in them.
fn recorded() -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
    let (mut envelopes, mut payloads) = (vec![], vec![]);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recordings");
    let mut paths: Vec<_> = [folder.join("faults"), folder]
        .iter()
        .flat_map(|f| std::fs::read_dir(f).unwrap().map(|e| e.unwrap().path()))
        .collect();
    paths.sort();
    for path in paths.iter().filter(|p| p.is_file()) {
        let text = std::fs::read_to_string(path).unwrap();
        for start in text.match_indices("<s:Envelope").map(|(at, _)| at) {
            let rest = &text[start..];
            let Some(end) = rest.find("</s:Envelope>") else { continue };
            let envelope = rest[..end + 13].replace("\\\"", "\"");
            let Ok(read) = Envelope::read(&envelope) else { continue };
            for name in ["Stream", "creationXml", "connectResponseXml", "Arguments"] {
                let mut found = vec![];
                read.body.all(name, &mut found);
                payloads.extend(found.iter().filter_map(|e| BASE64.decode(e.text.trim()).ok()));
            }
            envelopes.push(envelope.into_bytes());
        }
    }
    (envelopes, payloads)
}

/// Does something bad to it.
fn damage(c: &mut Chance, bytes: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..=c.below(4) {
        let at = c.below(bytes.len());
        match c.below(6) {
            0 if !bytes.is_empty() => bytes[at] = u8::try_from(c.next() & 0xff).unwrap(),
            1 => bytes.truncate(at),
            2 => {
                // Something of its own again, as often as it fits.
                let part = bytes[at..(at + 1 + c.below(200)).min(bytes.len())].to_vec();
                for _ in 0..c.below(200) {
                    bytes.splice(at..at, part.iter().copied());
                }
            }
            3 => {
                let other = &others[c.below(others.len())];
                let from = c.below(other.len());
                bytes.splice(at..at, other[from..].iter().copied());
            }
            4 => {
                let to = (at + c.below(64)).min(bytes.len());
                bytes.drain(at..to);
            }
            // A length, an id, or a number in the text.
            _ => bytes.iter_mut().skip(at).take(8).for_each(|b| *b = 0xff),
        }
        bytes.truncate(120_000);
    }
}

/// Gives it to every reader.
fn read(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(envelope) = Envelope::read(&text) {
        let _ = envelope.fault();
    }
    for mut assembler in [Assembler::default(), Assembler::with_gaps()] {
        for whole in assembler.push(bytes).into_iter().flatten() {
            if let Ok(m) = Message::decode(&whole) {
                body(&m.body);
            }
        }
    }
    if let Ok(m) = Message::decode(bytes) {
        body(&m.body);
    }
    body(&text);
}

/// Most memory that this process ever had, in KiB, as Linux counts it.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn body(text: &str) {
    if let Ok(v) = clixml::read(text) {
        let _ = (v.shown(), psrp::error_record::ErrorRecord::from_value(&v));
    }
    let _ = message::parse_pipeline_state(text);
    let _ = message::parse_create_pipeline(text);
    let _ = message::record_text(text);
    let _ = message::protocol_version(text);
}

#[test]
fn whatever_is_sent_is_read_or_refused_within_bounds() {
    let (envelopes, payloads) = recorded();
    assert!(envelopes.len() > 200 && payloads.len() > 200, "{} {}", envelopes.len(), payloads.len());
    let all: Vec<Vec<u8>> = envelopes.into_iter().chain(payloads).collect();
    let times = std::env::var("PCF_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let mut slowest = Duration::ZERO;
    for n in 0..EXECUTIONS * times {
        let mut chance = Chance(0x9e37_79b9_7f4a_7c15 ^ (n + 1));
        for _ in 0..4 {
            chance.next();
        }
        let mut bytes = all[chance.below(all.len())].clone();
        damage(&mut chance, &mut bytes, &all);
        let began = Instant::now();
        read(&bytes);
        slowest = slowest.max(began.elapsed());
        assert!(slowest < TIME, "execution {n}: {slowest:?}");
    }
    let most = most_memory();
    println!("{} executions, slowest {slowest:?}, at most {most} KiB", EXECUTIONS * times);
    assert!(most < MEMORY, "{most} KiB");
}
